"""Nearest items by inner product behind one protocol: exact, inverted lists, Milvus."""
