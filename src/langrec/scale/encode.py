"""A catalogue read in blocks, by this process or by several workers; a block that was read is not read again.

Each worker holds the encoder once and computes with its own cores. Texts go to it, vectors come back, and this process
alone writes: no disk needs to be shared.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np

from langrec import errors
from langrec.data.cache import remove_left
from langrec.encoders import load_saved
from langrec.encoders.cache import READ_BY
from langrec.errors import UNREADABLE, BundleError, LangrecError, SettingsError
from langrec.protocols import Encoder, Progress, Role
from langrec.scale.cluster import Cluster
from langrec.types import FloatMatrix

# Texts of a block: some seconds of work, which is what an interruption can lose of each worker.
BLOCK = 4_096
# Blocks that wait at each worker, so that none is idle while its answer is written.
AHEAD = 2
MANIFEST, FORMAT = "encoded.json", 1


@dataclass(frozen=True, slots=True)
class Encoded:
    """A folder of vectors that `encode_catalogue` wrote.

    Attributes:
        folder: where it is.
        identity: of the encoder: the space of the vectors.
        dim: width of a vector.
        blocks: hash and number of rows of each block, in the order of the items.
        read: blocks that the call read; the others were there. 0 where the folder was only opened.
    """

    folder: Path
    identity: str
    dim: int
    blocks: tuple[tuple[str, int], ...]
    read: int = 0

    def __len__(self) -> int:
        return sum(n for _, n in self.blocks)

    def ids(self) -> list[str]:
        """The items' ids, a row of `vectors` each."""
        import polars as pl

        return pl.read_parquet(self.folder / "items.parquet")["item_id"].to_list()

    def parts(self) -> Iterator[FloatMatrix]:
        """(rows, dim) float32 of each block, from the disk as they are needed."""
        for digest, _ in self.blocks:
            yield np.load(_file(self.folder, digest), mmap_mode="r", allow_pickle=False)

    def vectors(self) -> FloatMatrix:
        """(n, dim) float32 unit rows, all at once."""
        return np.concatenate([np.zeros((0, self.dim), dtype=np.float32), *self.parts()])

    @classmethod
    def open(cls, folder: Path) -> Self:
        """What a finished run left.

        Raises:
            BundleError: the folder holds none, or it is damaged.
        """
        file = folder / MANIFEST
        try:
            told = json.loads(file.read_text("utf-8"))
            if told["format"] != FORMAT:
                raise BundleError(f"{file}: format {told['format']} is not {FORMAT}; encode again")
            blocks = tuple((str(digest), int(n)) for digest, n in told["blocks"])
            found = cls(folder, told["identity"], int(told["dim"]), blocks)
        except UNREADABLE as error:
            raise BundleError(f"{file}: cannot be read ({error}); encode again") from error
        lacks = next((digest for digest, n in blocks if not _whole(folder, digest, n, found.dim)), None)
        if lacks is not None:
            raise BundleError(f"{_file(folder, lacks)}: missing or damaged; encode again")
        return found


def encode_catalogue(
    encoder: Encoder,
    ids: Sequence[str],
    texts: Sequence[str],
    out: Path,
    cluster: Cluster | None = None,
    *,
    block: int = BLOCK,
    role: Role = "item",
    progress: Progress | None = None,
) -> Encoded:
    """Writes the vector of every text into `out`; a second call reads only the blocks that are not there.

    A block is a file under the hash of the encoder's identity and the block's texts, written in one motion. Texts that
    come later, or that change, cost the blocks that they stand in. `encoded.json` comes last: a folder that holds it is
    whole.

    Args:
        ids: n ids, kept beside the vectors in items.parquet.
        texts: n texts; a blank one gets a zero row.
        cluster: the workers; None reads in this process, with the encoder as it is.
        block: texts of a block.
        progress: is told ("encode", texts done, n).

    Raises:
        SettingsError: the encoder cannot be handed to workers, or a worker failed.
    """
    (out / "blocks").mkdir(parents=True, exist_ok=True)
    starts = range(0, len(texts), block)
    blocks = [
        (_digest(encoder.identity, role, texts[start : start + block]), min(block, len(texts) - start))
        for start in starts
    ]
    wanted: dict[str, int] = {}
    for (digest, n), start in zip(blocks, starts, strict=True):
        if not _whole(out, digest, n, encoder.dim):
            wanted.setdefault(digest, start)
    done = len(texts) - sum(n for digest, n in blocks if digest in wanted)
    if progress:
        progress("encode", done, len(texts))
    asked = ((digest, texts[start : start + block]) for digest, start in wanted.items())
    times = {digest: sum(n for other, n in blocks if other == digest) for digest in wanted}
    with spread(encoder, cluster) if cluster and wanted else _here(encoder) as readers:
        for digest, vectors in readers.blocks(asked, role):
            _write(_file(out, digest), vectors)
            done += times[digest]
            if progress:
                progress("encode", done, len(texts))
    _finish(out, encoder, role, ids, blocks)
    return Encoded(out, encoder.identity, encoder.dim, tuple(blocks), len(wanted))


@contextmanager
def spread(encoder: Encoder, cluster: Cluster) -> Iterator[Readers]:
    """Workers that hold the encoder while the block runs.

    Raises:
        SettingsError: the encoder has no folder to hand on, or no worker could hold it.
    """
    readers = Readers(encoder, cluster)
    try:
        yield readers
    finally:
        readers.close()


@contextmanager
def read_by(cluster: Cluster) -> Iterator[None]:
    """While the block runs, the vector cache has texts read by the workers of the cluster."""

    @contextmanager
    def spread_out(encoder: Encoder, texts: int) -> Iterator[tuple[Encoder, int]]:
        from langrec.encoders.transformer import TransformerEncoder

        # Word tables and hashes are read faster than they are sent; a handful of texts is too.
        if texts < cluster.workers * 64 or not isinstance(encoder, TransformerEncoder):
            yield encoder, 1
            return
        with spread(encoder, cluster) as readers:
            yield readers, cluster.workers

    token = READ_BY.set(spread_out)
    try:
        yield
    finally:
        READ_BY.reset(token)


class Readers:
    """Workers with one encoder each; itself an encoder of the same space."""

    def __init__(self, encoder: Encoder, cluster: Cluster) -> None:
        import ray

        # Named with every block, and read once by each worker: one that was lost and is made anew reads it again.
        self._held = _Held({"files": ray.put(_files_of(encoder))}, encoder.identity, cluster.cores)
        self._ray, self._encoder = ray, encoder
        actor = ray.remote(max_restarts=2, max_task_retries=2, **cluster.needs)(_Reader)
        self._actors = [actor.remote() for _ in range(cluster.workers)]

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self._encoder.dim

    @property
    def identity(self) -> str:
        """Names the space."""
        return self._encoder.identity

    def encode(self, texts: Sequence[str], role: Role = "item") -> FloatMatrix:
        """(len(texts), dim) float32 unit rows in the order of the texts."""
        out = np.zeros((len(texts), self.dim), dtype=np.float32)
        size = max(1, min(BLOCK, -(-len(texts) // (len(self._actors) * AHEAD))))
        parts = ((str(start), texts[start : start + size]) for start in range(0, len(texts), size))
        for start, vectors in self.blocks(parts, role):
            out[int(start) : int(start) + len(vectors)] = vectors
        return out

    def blocks(self, asked: Iterable[tuple[str, Sequence[str]]], role: Role) -> Iterator[tuple[str, FloatMatrix]]:
        """Name and vectors of each block, as they come in; few blocks are under way at a time."""
        rest = iter(asked)
        under_way: dict[Any, tuple[str, Any]] = {}

        def send(actor: Any, n: int) -> None:
            for name, texts in islice(rest, n):
                under_way[actor.read.remote(self._held, list(texts), role)] = name, actor

        for _ in range(AHEAD):
            for actor in self._actors:
                send(actor, 1)
        while under_way:
            (ref, *_), _ = self._ray.wait(list(under_way), num_returns=1)
            name, actor = under_way.pop(ref)
            vectors = self._got(ref)
            send(actor, 1)
            yield name, vectors

    def _got(self, ref: Any) -> FloatMatrix:
        """What a worker answered; its errors are raised as ours."""
        try:
            vectors, refused = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            line = str(error).strip().splitlines()
            raise SettingsError(
                f"--workers: a worker was lost while it read texts ({line[-1] if line else error}); what was read is "
                "kept, and a second run goes on",
                field="workers",
            ) from error
        if refused is not None:
            raise getattr(errors, refused[0], LangrecError)(refused[1])
        found: FloatMatrix = vectors
        return found

    def close(self) -> None:
        """Ends the workers."""
        for actor in self._actors:
            self._ray.kill(actor)


@dataclass(frozen=True, slots=True)
class _Held:
    """An encoder as it is handed on: a reference to its files, its identity, and the threads that it may use."""

    files: dict[str, Any]
    identity: str
    threads: int


class _Reader:
    """What runs in a worker: the encoder, made from the files of the one that was handed on."""

    def __init__(self) -> None:
        self._encoder: Encoder | None = None

    def read(self, held: _Held, texts: list[str], role: Role) -> tuple[FloatMatrix | None, tuple[str, str] | None]:
        """The vectors, or the name and message of an error of ours."""
        try:
            if self._encoder is None:
                self._encoder = _loaded(held)
            return self._encoder.encode(texts, role), None
        except LangrecError as error:
            return None, (type(error).__name__, error.message)


def _loaded(held: _Held) -> Encoder:
    import ray

    files: dict[str, bytes] = ray.get(held.files["files"])
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


class _Alone:
    """The encoder of this process, asked as workers are."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def blocks(self, asked: Iterable[tuple[str, Sequence[str]]], role: Role) -> Iterator[tuple[str, FloatMatrix]]:
        for name, texts in asked:
            yield name, self._encoder.encode(texts, role)


@contextmanager
def _here(encoder: Encoder) -> Iterator[_Alone]:
    yield _Alone(encoder)


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


def _digest(identity: str, role: Role, texts: Sequence[str]) -> str:
    digest = hashlib.blake2b(f"{identity}\n{role}\n{len(texts)}\n".encode(), digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "replace")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _file(out: Path, digest: str) -> Path:
    return out / "blocks" / f"{digest}.npy"


def _whole(out: Path, digest: str, n: int, dim: int) -> bool:
    """Whether a block's file is there with all of its rows."""
    try:
        found = np.load(_file(out, digest), mmap_mode="r", allow_pickle=False)
    except UNREADABLE:
        return False
    return bool(found.shape == (n, dim) and found.dtype == np.float32)


def _write(file: Path, vectors: FloatMatrix) -> None:
    half = file.with_name(f"{file.stem}.{os.getpid()}.half")
    with half.open("wb") as stream:
        np.save(stream, np.ascontiguousarray(vectors, dtype=np.float32), allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())
    try:
        half.replace(file)
    except FileNotFoundError:
        if not file.exists():  # else a run beside this one read the same texts, ended, and cleared up
            raise


def _finish(out: Path, encoder: Encoder, role: Role, ids: Sequence[str], blocks: Sequence[tuple[str, int]]) -> None:
    """The ids, then the list of blocks; an earlier list goes first, so that no list stands beside other ids."""
    import polars as pl

    manifest, items = out / MANIFEST, out / "items.parquet"
    manifest.unlink(missing_ok=True)
    half = items.with_name(f"items.{os.getpid()}.half")
    pl.DataFrame({"item_id": list(ids)}, schema={"item_id": pl.String}).write_parquet(half)
    half.replace(items)
    told = {
        "format": FORMAT,
        "identity": encoder.identity,
        "role": role,
        "dim": encoder.dim,
        "items": len(ids),
        "blocks": [[digest, n] for digest, n in blocks],
    }
    half = manifest.with_name(f"encoded.{os.getpid()}.half")
    half.write_text(json.dumps(told) + "\n", "utf-8")
    half.replace(manifest)
    for left in (out / "blocks").glob("*.half"):
        left.unlink(missing_ok=True)
    for name in ("items", "encoded"):
        remove_left(out, f"{name}.*.half")
