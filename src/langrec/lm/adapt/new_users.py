"""The task recommend for users that training never met: a start for the head, learned over users by Reptile.

The encoder stays frozen and reads the candidates alone. A unit is what stands in `user_id`: a user, or a domain.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from torch import nn

from langrec.errors import DataError, SettingsError
from langrec.lm.adapt.examples import Choices, hold_out_choices, read_choices
from langrec.lm.adapt.job import Job, Result
from langrec.lm.adapt.kinds import Adapted
from langrec.lm.adapt.rows import read_rows
from langrec.lm.robust.reptile import Meta, Start, Unit, average, best, compare, reptile

# Rows of a unit besides those that it is adapted on: with fewer there is nothing to judge by.
JUDGED = 4


class NewUsers:
    """What is kept: the start, beside the frozen model."""

    def __init__(self, start: Start) -> None:
        self.start, self.heads = start, nn.ModuleDict()

    def save(self, folder: Path) -> None:
        """Writes the start beside the model."""
        self.start.save(folder)


def units_of(adapted: Adapted, rows: Choices, least: int, seed: int) -> tuple[list[Unit], list[np.ndarray]]:
    """The units with at least so many rows, and the places of their rows; the order of a unit's rows is drawn.

    Raises:
        DataError: no row says whose it is.
    """
    if rows.users is None:
        raise DataError("--meta reptile: needs a column user_id, or --events", field="meta")
    texts = list(dict.fromkeys(rows.candidates))
    place = {text: i for i, text in enumerate(texts)}
    vectors = adapted.vectors(adapted.feed(texts)).cpu().numpy()[[place[text] for text in rows.candidates]]
    rng, places = np.random.default_rng((seed, 19)), []
    for user in np.unique(rows.users):
        own = np.flatnonzero(rows.users == user)
        if len(own) >= least:
            places.append(rng.permutation(own))
    return [Unit(vectors[own], rows.labels[own]) for own in places], places


def run(job: Job) -> tuple[Result, NewUsers]:
    """Reads the rows, learns the start, and measures it on users of the test that training does not know.

    Raises:
        SettingsError: a kind that trains the encoder.
        DataError: too few users with rows enough.
    """
    settings = job.settings
    if settings.kind != "head":
        raise SettingsError(f"--meta reptile: learns a head on frozen vectors; use --kind head, not {settings.kind}")
    train, valid, test = read_rows(job, read_choices, lambda log, name: log.choices(name), hold_out_choices)
    met = {str(user) for user in (train.users if train.users is not None else ())}
    valid = _unmet(valid, met)
    if len(np.unique(valid.users)) < 5 if valid.users is not None else True:
        kept, held = hold_out_choices(train, settings.valid_share, settings.seed)
        train, valid = train.take(kept), train.take(held)
        job.notes.append("Validation had fewer than five new users: some of training were held out.")
    meta = Meta(steps=settings.meta_steps, rows=settings.meta_rows, seed=settings.seed)
    least = meta.rows + JUDGED
    job.told("read the texts", 0, 0)
    units, _ = units_of(job.adapted, train, least, settings.seed)
    judges, places = units_of(job.adapted, valid, least, settings.seed)
    if not units or not judges:
        raise DataError(
            f"--meta reptile: {len(units)} users of training and {len(judges)} of validation have {least} rows; "
            "set meta.rows lower, or give more rows a user",
            field="meta",
        )
    job.told("learn a start", 0, 0)
    starts = {"reptile": best(reptile, units, judges, meta), "average": best(average, units, judges, meta)}
    steps = tuple(dict.fromkeys((0, meta.steps, 4 * meta.steps)))
    told = {"valid": compare(starts, judges, meta.rows, steps)}
    counted = {"train": len(train), "valid": len(valid)}
    asked, measured = valid, judges
    if test is not None:
        new = _unmet(test, met | {str(user) for user in valid.users if valid.users is not None})
        found, own = units_of(job.adapted, new, least, settings.seed)
        counted["test"] = len(new)
        if found:
            asked, measured, places = new, found, own
            told["test"] = compare(starts, found, meta.rows, steps)
        else:
            job.notes.append(f"No user of the test is new and has {least} rows: measured on validation alone.")
    job.notes.append(
        f"A start was learned over {len(units)} users. {meta.rows} rows of each new user, drawn by the seed, adapt it; "
        f"the rest judge it, before (0) and after {' and '.join(map(str, steps[1:]))} steps."
    )
    job.notes.append("average is the same head trained on all users' rows together, and adapted by the same steps.")
    frames = [_lines(starts["reptile"], unit, asked, own, meta) for unit, own in zip(measured, places, strict=True)]
    return Result(told["valid"], told.get("test", {}), pl.concat(frames), None, counted), NewUsers(starts["reptile"])


def _unmet(rows: Choices, met: set[str]) -> Choices:
    """The rows of users that were not met."""
    if rows.users is None:
        return rows
    return rows.take(np.flatnonzero([str(user) not in met for user in rows.users]))


def _lines(start: Start, unit: Unit, rows: Choices, places: np.ndarray, meta: Meta) -> pl.DataFrame:
    """A line for each row that judges a unit."""
    own = start.adapted(unit.vectors[: meta.rows], unit.labels[: meta.rows], meta.steps)
    chance = 1 / (1 + np.exp(-own.logits(unit.vectors[meta.rows :])))
    return pl.DataFrame(
        {
            "row": rows.rows[places[meta.rows :]],
            "label": unit.labels[meta.rows :],
            "predicted": (chance >= 0.5).astype(int),
            "probability": chance.astype(np.float32),
        }
    )
