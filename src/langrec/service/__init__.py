"""The HTTP service and its store."""
