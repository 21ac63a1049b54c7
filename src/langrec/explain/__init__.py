"""Why an item stands in a list."""
