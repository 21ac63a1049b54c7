"""The cursor of a search: which items its pages have shown, in a text that fits an address."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

from langrec.errors import DataError

# Items that a cursor knows by name: it stays below the 8 KB that proxies allow for an address.
REMEMBERED = 750

_VERSION = 1
_HASH = 6
_SUM = 4
_HEAD = struct.Struct(">B6sqI")  # version, digest of what was asked, revision, items shown but forgotten
_LONGEST = 4 * (_HEAD.size + REMEMBERED * _HASH + _SUM) // 3 + 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a walk through the pages of a search stands.

    Attributes:
        query: (6 bytes) digest of what was asked.
        revision: of the store at the first page; items made later are not part of these pages.
        forgotten: how many items were shown before the remembered ones.
        shown: (6 bytes each) hashes of the last shown items, at most `REMEMBERED`, oldest first.
    """

    query: bytes
    revision: int
    forgotten: int = 0
    shown: tuple[bytes, ...] = ()

    @property
    def place(self) -> int:
        """How many items the pages so far held."""
        return self.forgotten + len(self.shown)

    def after(self, item_ids: Sequence[str]) -> Cursor:
        """The cursor when these items were shown too."""
        shown = (*self.shown, *map(item_hash, item_ids))
        over = max(len(shown) - REMEMBERED, 0)
        return replace(self, forgotten=self.forgotten + over, shown=shown[over:])

    def text(self) -> str:
        """The cursor in letters, digits, `-` and `_`; at most about 6,000 of them."""
        data = _HEAD.pack(_VERSION, self.query, self.revision, self.forgotten) + b"".join(self.shown)
        return base64.urlsafe_b64encode(data + _digest(data, _SUM)).decode().rstrip("=")


def parse_cursor(text: str) -> Cursor:
    """The cursor that a text says.

    Raises:
        DataError: it is cut, changed, or no cursor at all.
    """
    wrong = DataError(
        "cursor: is not one that a search gave; send it back whole, or start again without it", field="cursor"
    )
    if len(text) > _LONGEST or not text.isascii():
        raise wrong
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong from error
    data, check = whole[:-_SUM], whole[-_SUM:]
    if len(data) < _HEAD.size or (len(data) - _HEAD.size) % _HASH or _digest(data, _SUM) != check:
        raise wrong
    version, query, revision, forgotten = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise wrong
    hashes = data[_HEAD.size :]
    shown = tuple(hashes[i : i + _HASH] for i in range(0, len(hashes), _HASH))
    return Cursor(query, revision, forgotten, shown)


def item_hash(item_id: str) -> bytes:
    """An item's id in 6 bytes: with 100,000 items, one is taken for one of 750 shown in one walk of four million."""
    return _digest(item_id.encode("utf-8", "surrogatepass"), _HASH)


def query_digest(asked: str) -> bytes:
    """What was asked, in 6 bytes."""
    return _digest(asked.encode("utf-8", "replace"), 6)


def _digest(data: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()
