"""Scorers and retrievers over the whole catalogue, and their fusing."""
