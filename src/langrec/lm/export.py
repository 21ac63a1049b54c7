"""A transformer with its pooling as one torch module, and that module as an ONNX file (needs the extra lm)."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from langrec.data.cache import remove_left
from langrec.errors import MissingExtra, SettingsError
from langrec.lm import exported, slim
from langrec.lm.exported import Exported
from langrec.lm.model import TextModel, read_json
from langrec.lm.pooling import pool
from langrec.lm.tokens import Tokens
from langrec.lm.traced import IDS, MASK, write_onnx

log = logging.getLogger(__name__)


def export(model: TextModel, folder: Path) -> Exported:
    """Writes the fp32 ONNX file, the tokenizer, the token table and encoder.json into `folder`.

    The folder appears whole or not at all: it is written beside its place and renamed.

    Raises:
        MissingExtra: torch or transformers is not installed.
    """
    module = load_torch(model)
    tokens = Tokens.of_model(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_left(folder.parent, ".export-*")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as place:
        here = Path(place) / "model"
        here.mkdir()
        write_onnx(module, model.pooling, here / exported.FP32)
        dim = _dim(module)
        tokens.save(here / exported.TOKENIZER)
        _write_table(module, here / exported.TABLE)
        pad, special = _special(model)
        found = Exported(
            identity=f"{model.space}/{dim}",
            dim=dim,
            max_tokens=model.max_tokens,
            pad_id=pad,
            special=special,
            prompts=dict(model.prompts),
            int8_method=exported.INT8_METHOD,
        )
        found.save(here)
        if folder.exists():
            shutil.rmtree(folder)
        try:
            here.replace(folder)
        except OSError:
            if not (folder / exported.CONFIG).exists():  # another process was first: its export is as good
                raise
    return found


def load_torch(model: TextModel) -> Any:
    """A torch module: (b, t) ids and mask -> (b, d) float32 unit rows, evaluation mode, fp32 weights."""
    try:
        import torch
        from transformers import AutoModel
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        raise MissingExtra("lm", f"reading the model {model.name}") from error
    transformers_logging.disable_progress_bar()
    slim.know(model.folder)
    # "eager" attention exports to the plainest graph, which runs fastest.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # weights that the folder lacks (a pooler that nobody asks) are drawn: the same each time
        core = AutoModel.from_pretrained(str(model.folder), attn_implementation="eager", dtype=torch.float32).eval()
    if has_decoder(core):
        core = core.get_encoder()
    return with_parts(core, model)


def has_decoder(core: Any) -> bool:
    """Whether a transformer is an encoder with a decoder.

    A T5 saved as an encoder alone says that it has none, and is loaded with one all the same.
    """
    return bool(getattr(core.config, "is_encoder_decoder", False)) or (
        hasattr(core, "encoder") and hasattr(core, "decoder")
    )


def with_parts(core: Any, model: TextModel) -> Any:
    """As `pooled`, with the adapters or the side network that an adapted model's folder holds beside its weights."""
    from langrec.lm.adapt import adapters, side

    saved = adapters.read(model.folder)
    if saved:
        adapters.put_back(core, saved)
    module = pooled(core, model)
    beside = side.read(model.folder)
    return side.Beside(module, model.pooling, side.Side.of(beside)).eval() if beside else module.eval()


def pooled(core: Any, model: TextModel) -> Any:
    """The transformer `core` followed by the model's pooling, dense layers and unit length."""
    import torch

    dense = [_dense(folder) for folder in model.dense]

    class Pooled(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.core = core
            self.dense = torch.nn.Sequential(*dense)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            states = self.core(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
            vectors = pool(states, attention_mask, model.pooling)
            return torch.nn.functional.normalize(self.dense(vectors), p=2.0, dim=1)

    return Pooled().eval()


def _dense(folder: Path) -> Any:
    """A linear layer and its activation from a sentence-transformers Dense folder."""
    import torch
    from safetensors.torch import load_file

    config = read_json(folder / "config.json")
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    activations = {"Tanh": torch.nn.Tanh, "Identity": torch.nn.Identity, "ReLU": torch.nn.ReLU, "GELU": torch.nn.GELU}
    if name not in activations:
        raise SettingsError(f"{folder}: activation {name} is not one of {', '.join(activations)}")
    layer = torch.nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    weights = load_file(folder / "model.safetensors")
    layer.load_state_dict({key.removeprefix("linear."): value for key, value in weights.items()})
    return torch.nn.Sequential(layer, activations[name]())


def _dim(module: Any) -> int:
    import torch

    with torch.no_grad():
        return int(module(torch.from_numpy(IDS), torch.from_numpy(MASK)).shape[1])


def _write_table(module: Any, file: Path) -> None:
    from safetensors.numpy import save_file

    table = module.core.get_input_embeddings().weight.detach().float().numpy()
    save_file({"tokens": table.astype(np.float16)}, file)


def _special(model: TextModel) -> tuple[int, tuple[int, ...]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model.folder), use_fast=True)
    pad = tokenizer.pad_token_id
    return (0 if pad is None else int(pad)), tuple(sorted(int(one) for one in tokenizer.all_special_ids))
