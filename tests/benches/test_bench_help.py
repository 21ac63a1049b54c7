"""Every bench says what it does and how it is called, and being asked for help runs none."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHES = sorted([*ROOT.glob("benches/bench_*.py"), ROOT / "benches/peers/run.py", ROOT / "benches/peers/epochs.py"])


def called(path: Path) -> str:
    name = path.relative_to(ROOT).with_suffix("")
    return f"python -m {'.'.join(name.parts)}" if "peers" in name.parts else f"python {name}.py"


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: path.stem)
def test_a_bench_shows_how_it_is_called_and_says_what_each_option_is(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert called(path) in (ast.get_docstring(tree) or "")
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    assert [ast.unparse(one) for one in calls if one.func.attr == "parser"] == ["common.parser(__doc__)"]
    options = [one for one in calls if one.func.attr == "add_argument"]
    silent = [ast.unparse(one.args[0]) for one in options if "help" not in {word.arg for word in one.keywords}]
    assert not silent, f"{path.name}: {silent} have no help"


# Those without options of their own: they would take minutes, and write their results.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["bench_demo", "bench_sizes", "bench_towers", "readme_tables"])
def test_asking_for_help_runs_nothing(name):
    written = {path: path.stat().st_mtime for path in (ROOT / "benches/results").iterdir()}
    command = [sys.executable, str(ROOT / f"benches/{name}.py"), "--help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    assert done.stdout.startswith("usage: ")
    assert {path: path.stat().st_mtime for path in (ROOT / "benches/results").iterdir()} == written
