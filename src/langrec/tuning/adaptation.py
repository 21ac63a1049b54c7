"""The settings of an adaptation, judged by its task's own score on validation; no test file is ever opened."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langrec.data.sources.opening import hash_of
from langrec.errors import DataError, SettingsError
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.settings import AdaptSettings, with_overrides
from langrec.lm.model import find_model
from langrec.protocols import Progress
from langrec.tuning.recommender import toml
from langrec.tuning.study import Report

# They say what is learned and judged, not how: trials that differ in them could not be compared.
LEFT_OUT = ("task", "seed", "shots", "valid_share", "precision")
# What a task is judged by: in words, and the number of validation that is the same where no epoch was judged.
JUDGED = {
    "classify": ("minus log loss", ""),
    "recommend": ("AUC", "auc"),
    "pairs": ("mean reciprocal rank", "mrr"),
    "pretrain": ("minus loss", ""),
}
_EPOCH = re.compile(r"^epoch \d+ judged: (-?[\d.e+-]+)$")


class AdaptationSubject:
    """One task on one model and its files."""

    pruned = True

    def __init__(
        self, model: str, settings: AdaptSettings, files: Files, metric: str = "", told: Progress | None = None
    ) -> None:
        """Checks files and model.

        Args:
            metric: a number of validation in metrics.json, such as accuracy; empty = the score by which the task itself
                chooses its epochs.

        Raises:
            SettingsError: there is no such model.
            DataError: a file cannot be read.
        """
        if settings.task not in JUDGED:
            raise SettingsError(f"--task {settings.task}: cannot be tuned; choose {', '.join(JUDGED)}", field="task")
        self._model, self._settings = model, settings
        self._files = dataclasses.replace(files, test=None)
        self._metric, self._told = metric, told or (lambda *_: None)
        self.metric = metric or JUDGED[settings.task][0]
        self.name = f"{settings.task} on {model}"
        held = "the validation file" if files.valid else "training rows that were held out"
        self.note = (
            f"{self.metric} on {held}, of the epoch that is best there; no test file was read. The best of many "
            "trials looks better on validation than it is: measure it on a test with langrec adapt --test."
        )
        self.identity = {
            "settings": dataclasses.asdict(settings),
            "model": find_model(model, settings.max_tokens).hash,
            "files": {name: hash_of(path) for name, path in self._files.named().items()},
            "judged": self.metric,
        }

    def check(self, name: str, value: str) -> None:
        key = name.removeprefix("adapt.")
        if key in LEFT_OUT:
            raise SettingsError(
                f"--space {name}: cannot be tuned: trials that differ in it could not be compared", field=name
            )
        with_overrides(self._settings, [f"{name}={value}"])

    def whole(self, name: str) -> bool:
        return typing.get_type_hints(AdaptSettings).get(_key(name)) is int

    def run(self, values: Mapping[str, str], report: Report, folder: Path) -> float:
        from langrec.lm.adapt.run import adapt

        def told(what: str, done: int = 0, total: int = 0) -> None:
            self._told(what, done, total)
            found = _EPOCH.match(what)
            if found:
                report(done, float(found[1]))

        settings = with_overrides(self._settings, [f"{name}={value}" for name, value in values.items()])
        # A trial that was interrupted goes on after its last epoch.
        summary = adapt(self._model, settings, self._files, folder, resume=True, told=told)
        shutil.rmtree(folder, ignore_errors=True)
        return self._value(summary)

    def recipe(self, values: Mapping[str, str]) -> str:
        now, defaults = with_overrides(self._settings, _texts(values)), AdaptSettings()
        changed = {
            field.name: getattr(now, field.name)
            for field in dataclasses.fields(now)
            if getattr(now, field.name) != getattr(defaults, field.name)
        }
        return toml({"adapt": {"task": now.task, **changed}})

    def command(self, out: Path, values: Mapping[str, str]) -> str:
        now, defaults = with_overrides(self._settings, _texts(values)), AdaptSettings()
        words = ["langrec", "adapt", "--task", now.task, "--model", self._model, "--kind", now.kind]
        for part in ("train", "valid", "events", "items"):
            path = getattr(self._files, part)
            words += [f"--{part}", str(path)] if path else []
        for part in ("text", "label"):
            column = str(getattr(self._files, part))
            words += [f"--{part}", column] if column != part else []
        for field in dataclasses.fields(now):
            value = getattr(now, field.name)
            if field.name in ("task", "kind") or value == getattr(defaults, field.name):
                continue
            if field.name in ("seed", "shots"):
                words += [f"--{field.name}", str(value)]
            else:
                words += ["--set", f"{field.name}={str(value).lower() if isinstance(value, bool) else value}"]
        return shlex.join([*words, "--out", str(out / "best")])

    def _value(self, summary: Mapping[str, Any]) -> float:
        """The number that is judged, of the epoch that was kept."""
        valid: Any = summary["valid"]
        if self._metric:
            for name in (self._metric,) if self._metric in valid else self._metric.split("."):
                valid = valid.get(name) if isinstance(valid, Mapping) else None
            numbers = [name for name, one in summary["valid"].items() if isinstance(one, float)]
            if not isinstance(valid, int | float):
                raise SettingsError(
                    f"--metric {self._metric}: validation has {', '.join(numbers) or 'no numbers'}", field="metric"
                )
            return float(valid)
        scores = [row["score"] for row in summary["epochs"] if row["score"] is not None]
        if scores:
            return float(max(scores))
        found = valid.get(JUDGED[summary["task"]][1])
        if found is None:
            known = ", ".join(name for name, one in valid.items() if isinstance(one, float))
            way = f"choose --metric among {known}" if known else "nothing was held out; give --valid"
            raise DataError(f"no epoch was judged on validation: {way}", field="metric")
        return float(found)


def _key(name: str) -> str:
    return name.removeprefix("adapt.").replace(".", "_")


def _texts(values: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]
