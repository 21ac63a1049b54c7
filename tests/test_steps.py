"""Steps: computed once per name and inputs, kept whole, and computed again where anything else was asked."""

from __future__ import annotations

import pytest

from langrec.steps import Steps, step_hash


class Counter:
    def __init__(self, value=1):
        self.value, self.calls = value, 0

    def __call__(self):
        self.calls += 1
        return self.value


def test_a_step_is_computed_once_for_the_same_inputs(tmp_path):
    compute = Counter({"ndcg": 0.5, "fit": {"reg": 3}})
    for _ in range(3):
        assert Steps(tmp_path).run("tune", {"data": "x", "k": [1, 2]}, compute) == {"ndcg": 0.5, "fit": {"reg": 3}}
    assert compute.calls == 1


@pytest.mark.parametrize(("name", "inputs"), [("other", {"a": 1}), ("tune", {"a": 2}), ("tune", {"a": 1, "b": 0})])
def test_another_name_or_other_inputs_are_another_step(tmp_path, name, inputs):
    compute = Counter()
    Steps(tmp_path).run("tune", {"a": 1}, compute)
    Steps(tmp_path).run(name, inputs, compute)
    assert compute.calls == 2


def test_the_order_of_the_inputs_does_not_matter():
    assert step_hash("tune", {"a": 1, "b": 2}) == step_hash("tune", {"b": 2, "a": 1})


def test_another_version_of_langrec_computes_again(tmp_path, monkeypatch):
    compute = Counter()
    Steps(tmp_path).run("tune", {}, compute)
    monkeypatch.setattr("langrec.steps.__version__", "99.0")
    Steps(tmp_path).run("tune", {}, compute)
    assert compute.calls == 2


def test_without_a_folder_nothing_is_kept():
    compute = Counter()
    for _ in range(2):
        Steps(None).run("tune", {}, compute)
    assert compute.calls == 2


def test_the_first_run_and_the_second_see_the_same_value(tmp_path):
    """What JSON changes (tuples, number keys) it changes at once, not only from the second run on."""
    values = [Steps(tmp_path).run("tune", {}, Counter({"pair": (1, 2), 3: "x"})) for _ in range(2)]
    assert values[0] == values[1] == {"pair": [1, 2], "3": "x"}


def test_a_step_that_fails_leaves_nothing_and_runs_again(tmp_path):
    def broken():
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        Steps(tmp_path).run("tune", {}, broken)
    assert not list(tmp_path.iterdir())
    assert Steps(tmp_path).run("tune", {}, Counter(7)) == 7


def test_a_value_that_is_no_json_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        Steps(tmp_path).run("tune", {}, Counter(object()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "damage", [b"", b'{"half": ', b"\xff\xfe", b"[2, 1]", b"7", b'{"value": [2, 1], "sha256": "0"}']
)
def test_a_damaged_file_is_computed_again_and_mended(tmp_path, damage):
    Steps(tmp_path).run("tune", {}, Counter([1, 2]))
    (path,) = tmp_path.iterdir()
    right = path.read_bytes()
    path.write_bytes(damage)
    compute = Counter([1, 2])
    assert Steps(tmp_path).run("tune", {}, compute) == [1, 2]
    assert compute.calls == 1
    assert path.read_bytes() == right


def test_a_step_that_says_nothing_is_kept_too(tmp_path):
    compute = Counter(None)
    for _ in range(2):
        assert Steps(tmp_path).run("tune", {}, compute) is None
    assert compute.calls == 1


def test_a_kept_value_that_lacks_what_belongs_to_it_is_computed_again(tmp_path):
    compute = Counter({"trees": True})
    for there in (True, False, True):
        Steps(tmp_path).run("mix", {}, compute, whole=lambda value, there=there: there or not value["trees"])
    assert compute.calls == 2
