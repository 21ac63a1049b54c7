"""From candidates to a list: filters, mixing, selection."""
