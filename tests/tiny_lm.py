"""A language model for tests: two layers, random weights under a seed, its own tokenizer, made in a folder."""

from __future__ import annotations

import json
from pathlib import Path

from quick_export import share_tables

WORDS = (
    "the a of in and to cat cats dog dogs kitten bird fish sits sat runs ran eats sleeps on mat red blue "
    "green house river winter summer film movie story comedy drama love war space train robot music piano "
    "city island"
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tiny_lm(folder: Path, *, dim: int = 32, layers: int = 2, seed: int = 0, pooling: str = "mean") -> Path:
    """Writes a two-layer BERT in the layout of sentence-transformers and returns its folder."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    share_tables()
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [str(n) for n in range(10)]
    pieces = (
        SPECIAL + letters + [f"##{letter}" for letter in letters] + WORDS.split() + list("漢字映画") + list(".,:;!?")
    )
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "model_max_length": 64, **names})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=dim,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=2 * dim,
            max_position_embeddings=64,
            # Wide weights: with the usual 0.02 all texts of a random model would lie on one spot.
            initializer_range=0.3,
        )
        BertModel(config, add_pooling_layer=False).eval().save_pretrained(folder)
    kinds = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds)
    ]
    _write(folder / "modules.json", modules)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    flag = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}[pooling]
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dim, f"pooling_mode_{flag}": True})
    return folder


def _write(file: Path, values: object) -> None:
    file.write_text(json.dumps(values), "utf-8")
