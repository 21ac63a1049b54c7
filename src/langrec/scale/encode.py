"""A catalogue read in blocks, by this process or by several workers; a block that was read is not read again.

Texts go to the workers (`langrec.scale.blocks`), vectors come back, and this process alone writes: no disk needs to be
shared, and what is done is known from the files alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from langrec.data.cache import remove_left
from langrec.encoders.cache import read_here
from langrec.errors import UNREADABLE, BundleError
from langrec.protocols import Encoder, Progress, Role
from langrec.scale.blocks import read_blocks
from langrec.scale.cluster import Cluster
from langrec.types import FloatMatrix

# Texts of a block: some seconds of work, which is what an interruption can lose of each worker.
BLOCK = 4_096
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
    asked = [(digest, texts[start : start + block]) for digest, start in wanted.items()]
    times = {digest: sum(n for other, n in blocks if other == digest) for digest in wanted}
    read = read_blocks(encoder, cluster, asked, role) if cluster else read_here(encoder, asked, role)
    for digest, vectors in read:
        _write(_file(out, digest), vectors)
        done += times[digest]
        if progress:
            progress("encode", done, len(texts))
    _finish(out, encoder, role, ids, blocks)
    return Encoded(out, encoder.identity, encoder.dim, tuple(blocks), len(wanted))


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
