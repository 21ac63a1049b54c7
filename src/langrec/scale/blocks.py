"""Blocks of texts read by workers that hold the encoder: Ray Data carries texts there and vectors back.

A block is cut into pieces, so that no worker is idle while another has the last block; the pieces come back in any
order, and a block is given when it is whole. A worker that is lost is made anew by Ray and reads its pieces again.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from langrec.encoders import load_saved
from langrec.encoders.cache import READ_BY, Blocks, read_here
from langrec.errors import LangrecError, SettingsError
from langrec.protocols import Encoder, Role
from langrec.scale.cluster import RESTARTS, Cluster, as_raised, silenced
from langrec.types import FloatMatrix

# Texts of a piece at most, and pieces for each worker at least: little is waited for at the end.
PIECE, PIECES = 512, 4
# Pieces that are under way at a worker, so that it has the next one while an answer travels.
AHEAD = 2
# Texts that are handed to Ray at once: what lies in its memory, or in its files beside it, is bounded.
STRETCH = 1 << 18
# Fewer texts for each worker are read by this process: they are read before workers are up.
FEWEST = 64


def read_blocks(encoder: Encoder, cluster: Cluster, asked: Blocks, role: Role) -> Iterator[tuple[str, FloatMatrix]]:
    """Name and (n, dim) float32 unit rows of each block, as they come in.

    Args:
        encoder: is handed to the workers by the files that it saves.
        asked: name and texts of each block; names differ, and no block is empty.

    Raises:
        SettingsError: the encoder cannot be handed on, or workers were lost more than twice each.
        LangrecError: as the encoder raised it.
    """
    if not asked:
        return
    import ray
    import ray.data  # before it is silenced: it sets up its own words when it is imported

    files = ray.put(_files_of(encoder))
    # In steps, for each of which the workers are made anew.
    ends = [total // STRETCH for total in accumulate(len(texts) for _, texts in asked)]
    for stretch in sorted(set(ends)):
        part = [block for block, end in zip(asked, ends, strict=True) if end == stretch]
        starts = ray.remote(num_cpus=0)(_Starts).remote(cluster.workers * (1 + RESTARTS))
        held = _Held({"files": files, "starts": starts}, encoder.identity, encoder.dim, cluster.cores)
        with silenced():
            yield from _whole(part, _rows(held, cluster, part, role), encoder.dim)


@contextmanager
def read_by(cluster: Cluster) -> Iterator[None]:
    """While the block runs, the vector cache has texts read by the workers of the cluster."""

    def read(encoder: Encoder, asked: Blocks, role: Role) -> Iterator[tuple[str, FloatMatrix]]:
        from langrec.encoders.transformer import TransformerEncoder

        # Word tables and hashes are read faster than they are sent; a handful of texts is too.
        few = sum(len(texts) for _, texts in asked) < cluster.workers * FEWEST
        if few or not isinstance(encoder, TransformerEncoder):
            return read_here(encoder, asked, role)
        return read_blocks(encoder, cluster, asked, role)

    token = READ_BY.set(read)
    try:
        yield
    finally:
        READ_BY.reset(token)


def _rows(held: _Held, cluster: Cluster, asked: Blocks, role: Role) -> Iterator[Any]:
    """Arrow tables of `block`, `at` and `vector`: what the workers answered, piece by piece."""
    import ray.data
    from ray.data import ActorPoolStrategy, DataContext
    from ray.exceptions import RayError

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    with DataContext.current(context):
        pieces = _pieces(asked, cluster.workers)
        found = ray.data.from_blocks(pieces).map_batches(
            _Reader,
            fn_kwargs={"held": held, "role": role},
            compute=ActorPoolStrategy(size=min(cluster.workers, len(pieces)), max_tasks_in_flight_per_actor=AHEAD),
            batch_size=None,
            batch_format="pyarrow",
            **cluster.needs,
        )
        try:
            for table in found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                refused = table["refused"][0].as_py()
                if refused is not None:
                    raise as_raised(*json.loads(refused))
                yield table
        except RayError as error:
            line = str(error).strip().splitlines()
            raise SettingsError(
                f"--workers: a worker was lost while it read texts ({line[-1] if line else error}); what was read is "
                "kept, and a second run goes on",
                field="workers",
            ) from error


def _pieces(asked: Blocks, workers: int) -> list[Any]:
    """Arrow tables of `block`, `at` and `text`; a text is UTF-8, with whatever else a string may hold."""
    import pyarrow as pa

    texts_in_all = sum(len(texts) for _, texts in asked)
    size = max(1, min(PIECE, math.ceil(texts_in_all / (workers * PIECES))))
    return [
        pa.table(
            {
                "block": [name] * len(part),
                "at": np.arange(start, start + len(part)),
                "text": pa.array([text.encode("utf-8", "surrogatepass") for text in part], pa.large_binary()),
            }
        )
        for name, texts in asked
        for start in range(0, len(texts), size)
        for part in [texts[start : start + size]]
    ]


def _whole(asked: Blocks, tables: Iterator[Any], dim: int) -> Iterator[tuple[str, FloatMatrix]]:
    """Each block when the last of its rows is there."""
    sizes = {name: len(texts) for name, texts in asked}
    begun: dict[str, FloatMatrix] = {}
    left = dict(sizes)
    for table in tables:
        names = table["block"].to_numpy()
        at, vectors = table["at"].to_numpy(), table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, dim)
        for name in dict.fromkeys(names.tolist()):
            rows = names == name
            begun.setdefault(name, np.zeros((sizes[name], dim), dtype=np.float32))[at[rows]] = vectors[rows]
            left[name] -= int(rows.sum())
            if not left[name]:
                yield name, begun.pop(name)


@dataclass(frozen=True, slots=True)
class _Held:
    """An encoder as it is handed on: references to its files and to who counts starts, its space, and its threads."""

    shared: dict[str, Any]
    identity: str
    dim: int
    threads: int


class _Starts:
    """Counts how often workers began: Ray would begin them again for ever where a text is the death of each."""

    def __init__(self, most: int) -> None:
        self._left = most

    def begin(self) -> bool:
        """Whether one more may begin."""
        self._left -= 1
        return self._left >= 0


class _Reader:
    """What runs in a worker: the encoder, made from the files of the one that was handed on."""

    def __init__(self) -> None:
        self._encoder: Encoder | None = None

    def __call__(self, table: Any, held: _Held, role: Role) -> Any:
        """The rows of an Arrow table with `vector` in place of `text`, or `refused`: an error of ours as JSON."""
        import pyarrow as pa

        texts = [data.decode("utf-8", "surrogatepass") for data in table["text"].to_pylist()]
        vectors, refused = np.zeros((len(texts), held.dim), dtype=np.float32), None
        try:
            if self._encoder is None:
                self._encoder = _loaded(held)
            vectors = np.ascontiguousarray(self._encoder.encode(texts, role), dtype=np.float32)
        except LangrecError as error:
            refused = json.dumps([type(error).__name__, error.message, error.field])
        return pa.table(
            {
                "block": table["block"],
                "at": table["at"],
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), held.dim),
                "refused": pa.array([refused] * len(texts), pa.string()),
            }
        )


def _loaded(held: _Held) -> Encoder:
    import ray

    if not ray.get(held.shared["starts"].begin.remote()):
        raise SettingsError(
            "--workers: workers were lost again and again while they read texts; what was read is kept, and a second "
            "run goes on. Where it ends there again, encode without --workers, which shows why",
            field="workers",
        )
    files: dict[str, bytes] = ray.get(held.shared["files"])
    with tempfile.TemporaryDirectory(prefix="langrec-") as name:
        folder = Path(name)
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        encoder = load_saved(folder, threads=held.threads)
    if encoder.identity != held.identity:
        raise SettingsError(
            f"--workers: a worker reads {encoder.identity}, not {held.identity}; install the same versions there",
            field="workers",
        )
    return encoder


def _files_of(encoder: Any) -> dict[str, bytes]:
    """The content of every file that the encoder saves, by its path."""
    if not hasattr(encoder, "save"):
        raise SettingsError(
            f"--workers: {type(encoder).__name__} cannot be saved, so it cannot be handed to workers; leave it out",
            field="workers",
        )
    with tempfile.TemporaryDirectory(prefix="langrec-") as name:
        folder = Path(name)
        encoder.save(folder)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
