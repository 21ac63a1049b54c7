"""BERT with fewer attention heads than its width would make: a model type of its own, known wherever it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langrec.lm.model import OFFSET_POSITIONS, read_json

MODEL_TYPE = "bert-slim"
POSITIONS = "embeddings.position_embeddings.weight"


def register() -> Any:
    """Makes transformers know the model type; returns the model's class. May be called often."""
    import transformers

    known = getattr(transformers, "_langrec_slim", None)
    if known is not None:
        return known

    class SlimConfig(transformers.BertConfig):  # type: ignore[misc]
        model_type = MODEL_TYPE

        def __init__(self, slim_heads: int = 0, **rest: Any) -> None:
            super().__init__(**rest)
            self.slim_heads = slim_heads

    class SlimModel(transformers.BertModel):  # type: ignore[misc]
        config_class = SlimConfig

        def __init__(self, config: Any, add_pooling_layer: bool = True) -> None:
            super().__init__(config, add_pooling_layer=add_pooling_layer)
            if config.slim_heads:
                for layer in self.encoder.layer:
                    _narrow(layer.attention, config.slim_heads, config.hidden_size)

    transformers.AutoConfig.register(MODEL_TYPE, SlimConfig)
    transformers.AutoModel.register(SlimConfig, SlimModel)
    transformers._langrec_slim = SlimModel
    return SlimModel


def know(folder: Path) -> None:
    """Makes transformers know the model type where a folder's configuration names it."""
    if read_json(folder / "config.json").get("model_type") == MODEL_TYPE:
        register()


def with_heads(core: Any, heads: int) -> Any:
    """A pruned BERT or RoBERTa as a model of this type: the same weights, and how many heads are left."""
    model = register()
    values, weights = core.config.to_dict(), core.state_dict()
    if core.config.model_type in OFFSET_POSITIONS:
        # BERT counts from zero: what stands before the first position of a text is cut off.
        first = int(core.config.pad_token_id) + 1
        weights[POSITIONS] = weights[POSITIONS][first:]
        values["max_position_embeddings"] -= first
    for name in ("model_type", "slim_heads", "architectures", "transformers_version"):
        values.pop(name, None)
    config = model.config_class(slim_heads=heads, **values)
    config._attn_implementation = "eager"
    found = model(config).eval()
    found.load_state_dict(weights)
    return found


def _narrow(attention: Any, heads: int, width: int) -> None:
    import torch

    inner = attention.self
    size = inner.attention_head_size
    inner.num_attention_heads, inner.all_head_size = heads, heads * size
    for name in ("query", "key", "value"):
        setattr(inner, name, torch.nn.Linear(width, heads * size))
    attention.output.dense = torch.nn.Linear(heads * size, width)
