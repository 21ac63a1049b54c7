"""A model made cheaper, step by step: fewer layers, fewer units, narrower vectors, int8, sign codes, a token table."""
