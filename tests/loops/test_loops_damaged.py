"""Compiled code that a crash damaged on the disk is compiled again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba")

LOOP = """
from langrec.loops.compiling import compiled, i

@compiled((i,))
def twice(a):
    return 2 * a

print(twice(21), sum(twice.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_code_that_cannot_be_read_is_compiled_again_and_kept(tmp_path):
    (tmp_path / "loop.py").write_text(LOOP)

    def printed():
        environ = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept")}
        done = subprocess.run(
            [sys.executable, "loop.py"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split(), done.stderr

    assert printed()[0] == ["42", "0"]
    assert printed()[0] == ["42", "1"]
    for end in ("nbi", "nbc"):
        for damage in (lambda data: b"", lambda data: data[: len(data) // 2], lambda data: bytes(len(data))):
            for file in (tmp_path / "kept").rglob(f"*.{end}"):
                file.write_bytes(damage(file.read_bytes()))
            out, error = printed()
            assert out == ["42", "0"] and "is compiled again" in error
            assert printed()[0] == ["42", "1"]
