"""A cross-encoder for tests: one layer, one label, random weights under a seed, the tokenizer of a tiny model."""

from __future__ import annotations

from pathlib import Path


def tiny_cross(folder: Path, model: Path, seed: int = 1) -> Path:
    """Writes a sequence classifier that reads with the tokenizer of `model` and returns its folder."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            num_labels=1,
            initializer_range=0.3,
        )
        BertForSequenceClassification(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
