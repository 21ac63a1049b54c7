"""The settings of scorers, towers, encoder and mix, judged by what `choosing.choose` finds on validation."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langrec.choosing import Chosen, choose
from langrec.data.dataset import Dataset
from langrec.data.splits import split_events
from langrec.errors import DataError, SettingsError
from langrec.evaluation.protocol import next_item
from langrec.protocols import Progress
from langrec.recipe import check_settings, from_dict, to_dict
from langrec.registry import find, kind_of
from langrec.settings import Settings
from langrec.training import MIX, TOWERS, read_texts
from langrec.tuning.study import Report

METRIC = "ndcg@10"
# What validation's score of scorers and mix depends on; a seed or the place of a cache is no setting to look for.
TUNABLE = ("encoder", "retrieval", "id_tower", "text_tower", "ranking")
OF_RANKING = ("extra_decays",)
LEFT_OUT = {"encoder": ("runtime", "token_budget", "threads", "cache"), "id_tower": ("seed",), "text_tower": ("seed",)}
# Sections that a recipe of the result does not repeat: they say where things are, and who may do what.
OWN = ("serve", "training")
# What validation's score may depend on; of [data] the data's own hash says all.
JUDGED = ("split", "encoder", "compress", "retrieval", "index", "id_tower", "text_tower", "ranking")
_EPOCH = re.compile(r"^train (\w+): .*NDCG@10 (-?[\d.]+)$")


class RecommenderSubject:
    """The recommender: its mix, or one scorer alone.

    The events of the test are cut off before anything else is done. Trials share the cache of finished steps: one
    fits again only what its settings change.
    """

    metric = METRIC

    def __init__(
        self,
        dataset: Dataset,
        settings: Settings,
        of: str = MIX,
        *,
        watched: str | None = None,
        steps: Path | None = None,
        told: Progress | None = None,
        files: Mapping[str, Path | None] | None = None,
    ) -> None:
        """Splits the log.

        Args:
            of: what is judged: mix, or the name of a scorer, which then is the only one that is fitted.
            watched: the tower whose epochs cut trials short; None = none.
            steps: where finished steps are kept; None = the cache folder.
            files: events, items and users, which the command that uses the best names.

        Raises:
            DataError: validation holds no question.
            SettingsError: there is no such scorer.
        """
        ranking = dataclasses.replace(settings.ranking, ranker="none")
        calibration = dataclasses.replace(settings.calibration, fit=False)
        self._full = settings
        settings = dataclasses.replace(settings, ranking=ranking, calibration=calibration)
        if of != MIX:
            find("scorers", kind_of(of)[0])
            settings = dataclasses.replace(settings, retrieval=dataclasses.replace(settings.retrieval, scorers=(of,)))
        split = split_events(dataset.events, len(dataset.users), settings.split)
        if not len(next_item(split.train, split.valid, len(dataset.users))):
            raise DataError("validation holds no item that is new to its user: there is nothing to tune by")
        # The test's events are emptied, not only left alone.
        self._split = dataclasses.replace(split, test=split.test.take(slice(0, 0)))
        self._dataset, self._settings, self._of = dataset, settings, of
        self._steps, self._told = steps, told or (lambda *_: None)
        self._watched, self._files = watched, files or {}
        self.name = "the mix" if of == MIX else of
        self.pruned = watched is not None
        self.note = (
            f"NDCG@10 of {self.name} for the next item of {len(self._split.valid):,} validation events; nothing of "
            f"the test was read. The best of many trials looks better there than it is: langrec train measures on the "
            f"test."
        )
        if of == MIX:
            self.note += " The mix is judged on users that its weights did not learn from, without trees over it."
        self.identity = {
            "data": dataset.hash(),
            "settings": {name: part for name, part in to_dict(settings).items() if name in JUDGED},
            "judged": of,
        }

    def check(self, name: str, value: str) -> None:
        section, dot, key = name.partition(".")
        known = {field.name for field in dataclasses.fields(Settings)}
        away = (section in known and section not in TUNABLE) or key in LEFT_OUT.get(section, ())
        if section == "ranking" and hasattr(self._settings.ranking, key):
            away = key not in OF_RANKING
        if not dot or away:
            raise SettingsError(
                f"--space {name}: cannot be tuned: validation's score does not depend on it, or must not; "
                f"what can be is section.key of {', '.join(TUNABLE)} (of ranking: {', '.join(OF_RANKING)})",
                field=name,
            )
        self._with({name: value})

    def whole(self, name: str) -> bool:
        section, _, key = name.partition(".")
        value = getattr(getattr(self._settings, section), key)
        first = value[0] if isinstance(value, tuple) and value else value
        return isinstance(first, int) and not isinstance(first, bool)

    def run(self, values: Mapping[str, str], report: Report, folder: Path) -> float:
        settings = self._with(values)

        def told(what: str, done: int = 0, total: int = 0) -> None:
            self._told(what, done, total)
            found = _EPOCH.match(what)
            if found and found[1] == self._watched:
                report(done, float(found[2]))

        chosen = self._chosen(settings, told)
        return float(chosen.mix_scores["linear"] if self._of == MIX else chosen.scores[self._of])

    def recipe(self, values: Mapping[str, str]) -> str:
        """Every setting that is not the default, with these values."""
        found = _changed(self._full, values)
        return toml({name: part for name, part in _beside_defaults(found).items() if name not in OWN})

    def command(self, out: Path, values: Mapping[str, str]) -> str:
        given = [word for name, path in self._files.items() if path for word in (f"--{name}", str(path))]
        return shlex.join(["langrec", "train", "--recipe", str(out / "best.toml"), *given])

    def _chosen(self, settings: Settings, told: Progress) -> Chosen:
        reading = read_texts(self._dataset, settings, told, self._split.train, self._steps)
        return choose(self._dataset, self._split, reading, settings, told, self._steps, mix=self._of == MIX)

    def _with(self, values: Mapping[str, str]) -> Settings:
        return _changed(self._settings, values)


def watched_tower(space: Mapping[str, Any], settings: Settings, of: str = MIX) -> str | None:
    """The tower by whose epochs trials are cut short: the first that the space changes and that is judged."""
    among = settings.retrieval.scorers if of == MIX else TOWERS if of == "two_towers" else (of,)
    sections = {name.partition(".")[0] for name in space}
    return next((name for name in among if name in sections), None)


def _changed(settings: Settings, values: Mapping[str, str]) -> Settings:
    """The settings with `section.key` values laid over them."""
    tables = to_dict(settings)
    for name, value in values.items():
        section, _, key = name.partition(".")
        tables.setdefault(section, {})[key] = value
    found = from_dict(tables, "--space")
    check_settings(found)
    return found


def _beside_defaults(settings: Settings) -> dict[str, dict[str, Any]]:
    defaults = to_dict(Settings())
    changed = {
        section: {key: value for key, value in table.items() if value != defaults[section][key]}
        for section, table in to_dict(settings).items()
    }
    return {section: table for section, table in changed.items() if table}


def toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables of plain values as TOML."""
    return "\n".join(
        "".join([f"[{section}]\n", *(f"{key} = {_toml_value(value)}\n" for key, value in table.items())])
        for section, table in tables.items()
    )


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_toml_value(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_value(one) for one in value)}]"
    # JSON's strings, numbers and truth values are TOML's; a DEL is the one character that TOML wants escaped beside.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
