"""How a loop is compiled: for one set of types, once on a machine, without the interpreter's lock."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_log = logging.getLogger("langrec.loops")
F = TypeVar("F", bound=Callable[..., Any])


def _array(kind: Any, dims: int, is_read: bool) -> Any:
    return types.Array(kind, dims, "C", readonly=is_read)


# Arrays that are read, possibly mapped from disk, and arrays that are written; `i1` is a vector, `f2` a matrix.
b1, i1, u1, l1 = (_array(kind, 1, True) for kind in (types.boolean, types.int32, types.uint32, types.int64))
f1, d1, f2 = _array(types.float32, 1, True), _array(types.float64, 1, True), _array(types.float32, 2, True)
wi1, wf1, wf2 = _array(types.int32, 1, False), _array(types.float32, 1, False), _array(types.float32, 2, False)
i, f = types.int64, types.float64

# What numba lets through of a file of its cache that a crash cut short or left empty.
DAMAGED = (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, MemoryError)
# Bytes of a cache line.
LINE = 64


def compiled(signature: tuple[Any, ...]) -> Callable[[F], F]:
    """A decorator: the function for arguments of these types.

    They are said in advance: a request never waits for a compiler.
    """

    def made(function: F) -> F:
        how: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}
        try:
            return cast(F, numba.njit([signature], **how)(function))
        except DAMAGED as error:
            _log.warning("the kept code of %s is damaged (%r); it is compiled again", function.__name__, error)
            numba.njit(**how)(function)._cache.flush()
            return cast(F, numba.njit([signature], **how)(function))

    return made


def inlined(function: F) -> F:
    """A function that only loops call."""
    return cast(F, numba.njit(nogil=True, error_model="numpy")(function))


def in_any_order(function: F) -> F:
    """The same, whose sums are added in any order: eight or sixteen at a time. NaN and infinity stay what they are."""
    return cast(F, numba.njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})(function))


def _asked_for(_typing: Any, _address: Any) -> Any:
    """Asks the processor for the cache line at an address."""

    def made(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        place = builder.inttoptr(arguments[0], pointer)
        builder.call(call, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(types.uintp), made


_fetch: Any = intrinsic(_asked_for)


@inlined
def fetch(array: Any, at: Any) -> None:
    """Has an entry of a vector on its way from memory before it is read: most of a loop's time is waiting for it."""
    _fetch(array.ctypes.data + at * array.itemsize)


@inlined
def fetch_row(rows: Any, at: Any) -> None:
    """The same of a row of a matrix."""
    size = rows.shape[1] * rows.itemsize
    start = rows.ctypes.data + at * size
    for line in range(0, size, LINE):
        _fetch(start + line)
