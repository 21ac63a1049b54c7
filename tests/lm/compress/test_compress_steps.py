"""A chain is read as it is written; what cannot work is refused before any work."""

from __future__ import annotations

import pytest

from langrec.errors import SettingsError
from langrec.lm.compress.steps import KINDS, Step, parse_steps, whole, with_healing


def test_a_chain_is_read_in_order_with_values_and_options():
    found = parse_steps("drop:2, prune:units=0.5/heads=0.25,project:128/by=pca,quantise")
    assert [step.kind for step in found] == ["drop", "prune", "project", "quantise"]
    assert found[0] == Step("drop", "2")
    assert found[1].options == {"units": "0.5", "heads": "0.25"}
    assert ",".join(map(str, found)) == "drop:2,prune:units=0.5/heads=0.25,project:128/by=pca,quantise"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shrink", "shrink is not one of"),
        ("quantize", "did you mean quantise"),
        ("prune:0.5/0.25", "says its value twice"),
        ("prune:units=0.5/units=0.25", "says units twice"),
        ("drop:best3:4", "'3:4' is not a number"),
        ("drop:last3", "'last3' is not a number"),
        ("", "names no step"),
        ("drop:2/speed=3", "has no option speed"),
        ("quantise,drop:2", "put quantise last"),
        ("static,project:8", "put static last"),
        ("drop:2,quantise:int9", "int9 is not one of static, dynamic, weights"),
        ("static:16/fit=maybe", "maybe is not one of yes, no"),
        ("prune:units=2", "'2' is not a number from 0 to 0.95"),
        ("drop:2,distil:0", "'0' is not a number from 1 to 1000"),
        ("distil:rate=fast", "'fast' is not a number"),
    ],
)
def test_a_chain_that_cannot_work_is_refused_with_a_way_out(text, said):
    with pytest.raises(SettingsError, match=said):
        parse_steps(text)


def test_layers_are_dropped_by_number_or_by_word():
    assert [step.value for step in parse_steps("drop:2,drop:first3,drop:best3,drop:best,drop")] == [
        "2",
        "first3",
        "best3",
        "best",
        "",
    ]


def test_half_a_dimension_is_refused():
    assert whole(Step("project", "2"), "2", 1, 8) == 2
    with pytest.raises(SettingsError, match="is not a whole number"):
        whole(Step("project", "2.5"), "2.5", 1, 8)


def test_sign_codes_may_follow_a_saved_encoder():
    assert [step.kind for step in parse_steps("static,binary")] == ["static", "binary"]


def test_healing_comes_once_after_a_run_of_steps_that_hurt():
    kinds = [step.kind for step in with_healing(parse_steps("drop:2,prune:0.5,project:8,quantise"))]
    assert kinds == ["drop", "prune", "heal", "project", "quantise"]


def test_distillation_after_a_step_that_hurts_is_healing_enough():
    kinds = [step.kind for step in with_healing(parse_steps("drop:2,distil:3,quantise"))]
    assert kinds == ["drop", "distil", "quantise"]


def test_every_kind_has_its_module_and_says_what_it_does():
    import importlib

    for name, kind in KINDS.items():
        assert callable(importlib.import_module(f"langrec.lm.compress.{kind.module}").run), name
        assert len(kind.says) > 10
