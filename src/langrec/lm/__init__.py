"""The language model itself, whoever uses it: loading, tokens, batches, export, runtimes."""
