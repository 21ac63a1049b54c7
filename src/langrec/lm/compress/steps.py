"""The steps that a command names: `drop:2,prune:0.5,project:128,quantise` as values, and which may follow which."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from langrec.errors import SettingsError

# What a step gives: weights that further steps can work on, or a saved encoder that is only read with.
WEIGHTS, SAVED = "weights", "saved"

# Words, or the least and the most of a number.
Allowed = tuple[str, ...] | tuple[float, float]
SHARE = (0.0, 0.95)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of step.

    Attributes:
        says: what it does, and what stands after the colon.
        gives: WEIGHTS or SAVED.
        module: where its `run` is.
        options: names that may stand as `name=value`, with the words or the range of numbers that the value may be.
        value: the same of what stands after the colon alone.
        before: words that may stand before that number, or in its place.
        hurts: whether it leaves damage that healing repairs.
    """

    says: str
    gives: str
    module: str
    options: Mapping[str, Allowed] = field(default_factory=dict)
    value: Allowed = ()
    before: tuple[str, ...] = ()
    hurts: bool = False


KINDS: Mapping[str, Kind] = {
    "drop": Kind(
        "keeps every so-many-th layer; first3 = the first three, best3 = those three that are missed most, best = half",
        WEIGHTS,
        "drop",
        {},
        (1, 1_000),
        ("first", "best"),
        hurts=True,
    ),
    "prune": Kind(
        "leaves out this share of the feed-forward units and attention heads; units=0.5/heads=0.25 apart",
        WEIGHTS,
        "prune",
        {"units": SHARE, "heads": SHARE},
        SHARE,
        hurts=True,
    ),
    "distil": Kind(
        "trains the model towards the vectors of the one the chain began with; the number of epochs",
        WEIGHTS,
        "distil",
        {"rate": (1e-8, 1.0), "minutes": (0.0, 1e6)},
        (1, 1_000),
    ),
    "teach": Kind(
        "trains the model towards the order of a cross-encoder: kl or margin", WEIGHTS, "teach", {}, ("kl", "margin")
    ),
    "project": Kind(
        "narrows the vectors to this width; by=pca or by=truncate",
        WEIGHTS,
        "project",
        {"by": ("pca", "truncate")},
        (1, 65_536),
    ),
    "quantise": Kind(
        "int8: static (default), dynamic or weights",
        SAVED,
        "quantise",
        {"table": ("int8", "float")},
        ("static", "dynamic", "weights"),
    ),
    "static": Kind(
        "a table of token vectors of this width that is averaged", SAVED, "static", {"fit": ("yes", "no")}, (1, 65_536)
    ),
    "binary": Kind("sign codes of the texts' vectors with this rescoring factor", SAVED, "binary", {}, (1, 1_000)),
}
HEAL = "heal"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a chain.

    Attributes:
        kind: one of KINDS, or HEAL, which the chain puts in by itself.
        value: what stood after the colon; empty = the kind's own default.
        options: what stood as name=value.
    """

    kind: str
    value: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [part for part in (self.value, *(f"{k}={v}" for k, v in self.options.items())) if part]
        return self.kind + (":" + "/".join(parts) if parts else "")


def parse_steps(text: str) -> tuple[Step, ...]:
    """The steps of a command, in order.

    Raises:
        SettingsError: a kind, an option or a value that does not exist, or a step that cannot stand where it stands.
    """
    steps = tuple(_step(part.strip()) for part in text.split(",") if part.strip())
    if not steps:
        raise SettingsError(f"--steps {text!r}: names no step; the kinds are {', '.join(KINDS)}", field="steps")
    for before, after in pairwise(steps):
        if KINDS[before.kind].gives == SAVED and after.kind != "binary":
            raise SettingsError(
                f"--steps {text}: {after.kind} cannot follow {before.kind}, which leaves no weights to work on; "
                f"put {before.kind} last",
                field="steps",
            )
    return steps


def with_healing(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps with healing after each run of steps that hurt, unless distillation follows there anyway."""
    found: list[Step] = []
    for place, step in enumerate(steps):
        found.append(step)
        after = steps[place + 1].kind if place + 1 < len(steps) else ""
        if KINDS[step.kind].hurts and after != "distil" and not (after and KINDS[after].hurts):
            found.append(Step(HEAL))
    return tuple(found)


def number(step: Step, text: str, low: float, high: float) -> float:
    """The number in a step's value or option.

    Raises:
        SettingsError: it is not a number from `low` to `high`.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise SettingsError(f"--steps {step}: {text!r} is not a number from {low:g} to {high:g}", field="steps")
    return value


def whole(step: Step, text: str, low: int, high: int) -> int:
    """The whole number in a step's value.

    Raises:
        SettingsError: it is not one from `low` to `high`.
    """
    value = number(step, text, low, high)
    if value != int(value):
        raise SettingsError(f"--steps {step}: {text!r} is not a whole number", field="steps")
    return int(value)


def _step(text: str) -> Step:
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        near = "".join(f"; did you mean {name}?" for name in difflib.get_close_matches(kind, KINDS, n=1))
        raise SettingsError(f"--steps {text}: {kind} is not one of {', '.join(KINDS)}{near}", field="steps")
    value, options = "", {}
    for part in filter(None, rest.split("/")):
        name, equals, given = part.partition("=")
        if name in options or (value and not equals):
            raise SettingsError(f"--steps {text}: says {name if equals else 'its value'} twice", field="steps")
        if not equals:
            value = part
        elif name in KINDS[kind].options:
            options[name] = given
        else:
            known = ", ".join(KINDS[kind].options) or "none"
            raise SettingsError(f"--steps {text}: {kind} has no option {name}; it has {known}", field="steps")
    step = Step(kind, value, options)
    word = next((word for word in KINDS[kind].before if value.startswith(word)), "")
    for given, allowed in (
        (value.removeprefix(word), KINDS[kind].value),
        *((options[name], KINDS[kind].options[name]) for name in options),
    ):
        _check(step, given, allowed)
    return step


def _check(step: Step, given: str, allowed: Allowed) -> None:
    """Raises SettingsError where a value can be none of the step, whatever the model is."""
    if not given or not allowed:
        return
    low, *rest = allowed
    if isinstance(low, str):
        if given not in allowed:
            raise SettingsError(f"--steps {step}: {given} is not one of {', '.join(map(str, allowed))}", field="steps")
    else:
        number(step, given, low, float(rest[0]))
