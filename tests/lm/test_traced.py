"""Of models that differ in their weights alone the graph is traced once, and the file is what tracing writes.

Also by another process, which finds it in the cache folder.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxscript")

from langrec.lm import traced  # noqa: E402
from langrec.lm.export import load_torch  # noqa: E402
from langrec.lm.model import find_model  # noqa: E402
from tiny_lm import tiny_lm  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Graphs of other tests are not found, and those of a BERT are not written down."""
    monkeypatch.setenv("LANGREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(traced, "write_bert", lambda *_: False)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A module, its file as bytes, and what is kept after it was written."""
    folder = tmp_path_factory.mktemp("first")
    module = load_torch(find_model(str(tiny_lm(folder / "model", layers=1, seed=1)), 64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traced, "_kept", OrderedDict())
        patch.setattr(traced, "write_bert", lambda *_: False)
        patch.setenv("LANGREC_CACHE", str(folder / "cache"))
        traced.write_onnx(module, "mean", folder / "first.onnx")
        return module, (folder / "first.onnx").read_bytes(), traced._kept


@pytest.fixture
def second(tmp_path):
    """Another module of its shape."""
    return load_torch(find_model(str(tiny_lm(tmp_path / "second", layers=1, seed=2)), 64))


@pytest.fixture
def written(first, tmp_path, monkeypatch):
    """Writes a module after the first one; gives the file's bytes and how often a graph was traced so far."""
    count, plain = [], traced._trace
    monkeypatch.setattr(traced, "_trace", lambda *given: (count.append(1), plain(*given)))
    monkeypatch.setattr(traced, "_kept", first[2].copy())

    def write(module):
        traced.write_onnx(module, "mean", tmp_path / "written.onnx")
        return (tmp_path / "written.onnx").read_bytes(), len(count)

    return write


def test_a_second_model_of_one_shape_gets_the_file_that_tracing_writes(first, second, written, tmp_path):
    found, n_traced = written(second)
    assert n_traced == 0 and found != first[1]
    traced._trace(second, tmp_path / "anew.onnx")
    assert found == (tmp_path / "anew.onnx").read_bytes()


def test_where_other_weights_are_equal_the_graph_is_another(second, written):
    # In a new model all biases are zero, and the graph holds one for all of them.
    with torch.no_grad():
        second.core.encoder.layer[0].attention.self.query.bias += 0.5
    assert written(second)[1] == 1


def test_a_graph_that_does_not_agree_with_the_module_is_traced_anew(first, written):
    module, right, kept = first
    assert written(module) == (right, 0)
    [(key, graph)] = kept.items()
    (one, a), (other, b) = [
        place for place in graph.places.items() if place[1][0].endswith(("query.weight", "key.weight"))
    ]
    traced._kept[key] = replace(graph, places={**graph.places, one: b, other: a})
    assert written(module) == (right, 1)
    assert written(module) == (right, 1), "what was wrong is not kept"


@pytest.fixture
def kept(first, monkeypatch):
    """The file of the first module's graph, as a process finds it that has traced nothing yet; and its key."""
    [(key, graph)] = first[2].items()
    traced._write(key, graph)
    monkeypatch.setattr(traced, "_kept", OrderedDict())
    [file] = traced._folder().iterdir()
    return file, key


def test_another_process_finds_the_graph_in_the_cache_folder(second, written, kept, monkeypatch):
    found, n_traced = written(second)
    assert n_traced == 0 and kept[0].stat().st_size < len(found), "without weights"
    monkeypatch.setattr(traced, "_kept", OrderedDict())
    kept[0].unlink()
    assert written(second) == (found, 1)


def test_a_damaged_graph_is_traced_anew_and_replaced(first, written, kept):
    file, key = kept
    right = file.read_bytes()
    for damaged in (b"", b"no graph", right[:-50]):
        file.write_bytes(damaged)
        assert traced._read(key) is None
    assert written(first[0]) == (first[1], 1)
    assert file.read_bytes() == right


@pytest.mark.parametrize("old, new", [(b"MatMul", b"MatMuI"), (b'"core.', b'"bore.')])
def test_a_kept_graph_of_other_bytes_is_traced_anew(first, written, kept, old, new):
    file, _ = kept
    right = file.read_bytes()
    assert old in right
    file.write_bytes(right.replace(old, new))
    assert written(first[0]) == (first[1], 1)
    assert file.read_bytes() == right


def test_the_cache_folder_holds_few_graphs_and_may_be_missing(first, kept, tmp_path, monkeypatch):
    file, key = kept
    graph = first[2][key]
    for n in range(3):
        (file.parent / f"{n}.onnx").write_bytes(b"")
        os.utime(file.parent / f"{n}.onnx", (n, n))
    monkeypatch.setattr(traced, "MOST_FILES", 2)
    traced._write(key, graph)
    assert {one.name for one in file.parent.iterdir()} == {file.name, "2.onnx"}
    assert traced._read(key) == graph
    (tmp_path / "none").write_text("no folder")
    monkeypatch.setenv("LANGREC_CACHE", str(tmp_path / "none"))
    traced._write(key, graph)
    assert traced._read(key) is None
