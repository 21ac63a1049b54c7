"""A pretrained language model tuned for a task, with all or few of its parameters: `langrec adapt`."""
