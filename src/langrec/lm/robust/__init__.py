"""Training that holds where data differ: altered texts, shifted embeddings, what must not be forgotten, transfer."""
