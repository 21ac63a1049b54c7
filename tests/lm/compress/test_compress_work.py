"""What the teacher read is kept, and a run that was stopped while it read goes on."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from langrec.lm.compress import work as module


def test_a_disk_that_was_full_while_the_teacher_read_stops_no_later_run(work, monkeypatch):
    read: list[str] = []

    def encode(texts):
        read.extend(texts)
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    write = Path.write_text

    monkeypatch.setattr(module, "PIECE", 2)
    monkeypatch.setattr(module.Work, "saved_teacher", lambda _: None)
    work = dataclasses.replace(work, open=lambda *_: SimpleNamespace(dim=2, encode=encode))
    texts = [letter * (i + 1) for i, letter in enumerate("abcdefg")]
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):

        def emptied(path, text, *rest):
            # What a full disk makes of a file that is written anew: it is empty.
            path.open("w").close()
            if text == "4":
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, text, *rest)

        patch.setattr(Path, "write_text", emptied)
        work.vectors(texts)
    assert work.vectors(texts)[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert read.count("a") == 1
    left = sorted(path.suffix for path in work.kept.glob("teacher-*") if path.suffix != ".half")
    assert left == [".npy", ".sha256"]


@pytest.mark.parametrize("damaged", [b"", b"\x93NUMPY", bytes(200)])
@pytest.mark.parametrize("name", [".npy", ".part", ".count"])
def test_what_a_crash_damaged_is_read_again(work, monkeypatch, name, damaged):
    def encode(texts):
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    monkeypatch.setattr(module, "PIECE", 2)
    monkeypatch.setattr(module.Work, "saved_teacher", lambda _: None)
    work = dataclasses.replace(work, open=lambda *_: SimpleNamespace(dim=2, encode=encode))
    texts = ["a", "aa", "aaa"]
    right = work.vectors(texts)
    (file,) = work.kept.glob("teacher-*.npy")
    if name != ".npy":
        file.rename(file.with_suffix(".part"))
        file.with_suffix(".count").write_text("2")
    file.with_suffix(name).write_bytes(damaged)
    np.testing.assert_array_equal(work.vectors(texts), right)
