"""Errors of the system are recognised however a library words them."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from langrec.errors import is_disk_full, is_forbidden


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_an_array_that_does_not_fit_on_the_disk_says_so():
    with pytest.raises(OSError, match="requested") as error, Path("/dev/full").open("wb") as file:
        np.zeros(100_000).tofile(file)
    assert error.value.errno is None and is_disk_full(error.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_so_do_tensors():
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as error:
        torch.save(torch.zeros(100_000), "/dev/full")
    assert is_disk_full(error.value)
    assert not is_disk_full(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize(
    ("number", "full", "forbidden"),
    [(errno.ENOSPC, True, False), (errno.EACCES, False, True), (errno.EROFS, False, True), (errno.EIO, False, False)],
)
def test_a_copied_folder_says_why_it_could_not_be(tmp_path, number, full, forbidden):
    def copy(_, to):
        raise OSError(number, os.strerror(number), to)

    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a").touch()
    with pytest.raises(shutil.Error) as error:
        shutil.copytree(tmp_path / "from", tmp_path / "to", copy_function=copy)
    assert (is_disk_full(error.value), is_forbidden(error.value)) == (full, forbidden)
