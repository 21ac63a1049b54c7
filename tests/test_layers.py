"""Imports run downward only, and importing langrec loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parents[1] / "src" / "langrec"

# module prefix -> (floor, whether modules of this floor may import one another across rooms)
FLOORS = {
    "types": 0,
    "protocols": 0,
    "errors": 0,
    "alone": 1,
    "client": 1,
    "settings": 1,
    "recipe": 1,
    "registry": 1,
    "sealed": 1,
    "steps": 1,
    "bounded": 1,
    "budget": 1,
    "ending": 1,
    "loops": 1,
    "data": 2,
    "evaluation.metrics": 2,
    "lm": 3,
    "encoders": 4,
    "towers": 4,
    "retrieval": 4,
    "ranking": 4,
    "classify": 4,
    "recommender": 5,
    "lists": 5,
    "large": 5,
    "selecting": 5,
    "finding": 5,
    "state": 5,
    "windows": 5,
    "bundle": 5,
    "releases": 5,
    "manifest": 5,
    "model_card": 5,
    "remote": 5,
    "explain": 5,
    "feedback": 5,
    "evaluation": 5,
    "adapting": 6,
    "asking": 6,
    "fusing": 6,
    "choosing": 6,
    "entering": 6,
    "reranking": 6,
    "following": 6,
    "training": 6,
    "frontier": 6,
    "tuning": 6,
    "scale": 7,
    "benching": 7,
    "apps": 7,
    "service.store": 8,
    "service.access": 9,
    "service.monitoring": 9,
    "service": 10,
    "service.routes": 11,
    "service.http": 12,
    "benching.serving": 13,
    "retraining": 13,
    "cli": 13,
}
# Floors whose rooms do not import one another: they meet through protocols.
SEPARATE = {2, 4, 7}


def room(module: str) -> str:
    """The longest entry of FLOORS that the module lies in."""
    rest = module.removeprefix("langrec.")
    found = [name for name in FLOORS if rest == name or rest.startswith(name + ".")]
    assert found, f"{module} stands on no floor; add it to FLOORS and to ARCHITECTURE.md"
    return max(found, key=len)


def imports(path: Path) -> set[str]:
    """langrec modules that a file imports, lazy imports within functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("langrec.")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("langrec."):
            found.add(node.module)
        elif isinstance(node, ast.ImportFrom) and node.module == "langrec":
            found |= {f"langrec.{alias.name}" for alias in node.names if not alias.name.startswith("__")}
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"{path}: write imports in full, so that they can be found")
    return found


def modules() -> list[tuple[str, Path]]:
    names = []
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name and name != "__main__":
            names.append((f"langrec.{name}", path))
    return names


def test_imports_run_downward_only():
    wrong = []
    for name, path in modules():
        here = room(name)
        for target in imports(path):
            there = room(target)
            if here == there:
                continue
            if FLOORS[there] > FLOORS[here]:
                wrong.append(f"{name} (floor {FLOORS[here]}) imports {target} (floor {FLOORS[there]})")
            elif FLOORS[there] == FLOORS[here] and FLOORS[here] in SEPARATE:
                wrong.append(f"{name} imports {target}: rooms of floor {FLOORS[here]} meet through protocols")
    assert not wrong, "\n".join(wrong)


def test_the_service_never_imports_training():
    wrong = [
        f"{name} imports {target}"
        for name, path in modules()
        if name.startswith("langrec.service")
        for target in imports(path)
        if target.startswith(("langrec.training", "langrec.choosing", "langrec.adapting"))
    ]
    assert not wrong, "\n".join(wrong)


def loaded(code, *names):
    """Which of these modules a new process holds when it has run the code."""
    code = f"import sys; {code}; print([name for name in {names!r} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return out.stdout.strip()


def test_importing_langrec_loads_nothing_heavy():
    heavy = ("torch", "transformers", "polars", "onnxruntime", "fastapi", "scipy")
    assert loaded("import langrec", *heavy) == "[]"


def test_the_command_line_loads_nothing_heavy_before_a_verb_runs():
    code = "import langrec.cli as cli; from langrec.cli import verbs; verbs.register(cli.app)"
    assert loaded(code, "torch", "polars", "onnxruntime", "fastapi", "scipy", "sqlalchemy", "uvicorn") == "[]"


def test_a_server_loads_no_part_of_scipy_that_only_a_training_needs():
    code = "from langrec.service.starting import load_code; load_code(); import langrec.retrieval.ease"
    training = ("scipy.optimize", "scipy.stats", "scipy.linalg", "scipy.special", "matplotlib", "torch", "numba")
    assert loaded(code, *training) == "[]"
