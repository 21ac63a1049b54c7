"""The language model's look at the best few: it reads history and candidate together and says how well they fit."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from langrec.budget import stage
from langrec.data.items import Items
from langrec.errors import UNREADABLE, BundleError
from langrec.lm.adapt.head import Head
from langrec.lm.adapt.question import LATEST, question
from langrec.lm.exported import TABLE
from langrec.protocols import Encoder
from langrec.ranking.scored import Scored
from langrec.ranking.select import top_k
from langrec.types import FloatVector, IntVector, Mask, Stage

# The name of the stage, and of what it adds among the parts of a score.
RERANK = "rerank"
CONFIG = "rerank.json"


@dataclass(frozen=True, slots=True, eq=False)
class Cross:
    """Reads the best `top` items of a list beside the newest of the history.

    Attributes:
        encoder: an `Encoder` that can be saved; it reads the questions (`lm.adapt.question`).
        head: what their vectors say.
        top: items that are read.
        weight: what a unit of the model's log-odds counts in the score.
        past: what items of the history are read by: texts or titles.
    """

    encoder: Any
    head: Head
    top: int
    weight: float
    past: str = "texts"

    def logits(self, history: Sequence[str], candidates: Sequence[str]) -> FloatVector:
        """(len(candidates),) log-odds that someone with this history, oldest first, likes each.

        Args:
            history: texts or titles, as `past` says.
            candidates: texts.
        """
        vectors = self.encoder.encode([question(text, history[-LATEST:]) for text in candidates])
        return np.asarray(vectors @ self.head.weight[0] + self.head.bias[0], dtype=np.float32)

    def added(self, logits: FloatVector) -> tuple[FloatVector, float]:
        """(n,) what is added to the score of each item that was read, and what to one that was not asked about.

        All are lifted by one number, so that none falls below what was not looked at.
        """
        value = np.float32(self.weight) * (logits - logits.mean())
        lift = max(0.0, -float(value.min()))
        return value + np.float32(lift), lift

    def save(self, folder: Path) -> None:
        """Writes the encoder, the head and the numbers."""
        self.encoder.save(folder / "encoder")
        (folder / "encoder" / TABLE).unlink(missing_ok=True)  # nobody averages tokens here, and it is large
        self.head.save(folder)
        told = {"top": self.top, "weight": self.weight, "past": self.past}
        (folder / CONFIG).write_text(json.dumps(told, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self:
        """Reads what `save` wrote.

        Args:
            encoder: that of `folder / "encoder"`.

        Raises:
            BundleError: a file is missing or damaged.
        """
        file = folder / CONFIG
        try:
            told = json.loads(file.read_text("utf-8"))
            return cls(encoder, Head.load(folder), int(told["top"]), float(told["weight"]), str(told["past"]))
        except UNREADABLE as error:
            raise BundleError(f"{file}: cannot be read ({error})") from error


@dataclass(frozen=True, slots=True, eq=False)
class Again:
    """A scored query after the look.

    Attributes:
        scored: with what was added, as a part of its own.
        read: how many items were read.
        ms: what it took.
        skipped: whether there was no time for it.
    """

    scored: Scored
    read: int
    ms: float
    skipped: bool = False

    def stages(self, n_in: int) -> tuple[Stage, ...]:
        """The step in a trace, where something was read."""
        return (Stage(RERANK, n_in, self.read, self.ms),) if self.read else ()


def look_again(
    cross: Cross, scored: Scored, mask: Mask, items: Items, fields: Sequence[str], nums: IntVector | None = None
) -> Again:
    """The query with its best allowed items read beside the history, where there is time for that.

    A wish in words is no history and someone of whom nothing is known has none: nothing is read then. Nor are items
    of the history that may be shown again: they keep their place among the others.

    Args:
        mask: (n,) what may be shown.
        fields: item fields that make up an item's text.
        nums: numbers of the n items; None = all of the catalogue.
    """
    clock = time.perf_counter()
    history = scored.asked.history
    if scored.spoken or not len(history):
        return Again(scored, 0, 0.0)
    part, read, skipped = np.zeros(len(scored.scores), dtype=np.float32), 0, False
    if not scored.silent:
        own = np.zeros(len(mask), dtype=np.bool_)
        if nums is None:
            own[history] = True
        else:
            own = np.isin(nums, history)
        allowed = np.where(mask & (scored.scores > 0), scored.scores, np.nan)
        best = top_k(np.where(own, np.nan, allowed), cross.top)
        if len(best) > 1:
            with stage(RERANK) as has_room:
                skipped = not has_room
                if has_room:
                    newest = history[-LATEST:]
                    past = [items.title(num) for num in newest.tolist()] if cross.past == "titles" else None
                    past = items.texts(newest, fields) if past is None else past
                    logits = cross.logits(past, items.texts(best if nums is None else nums[best], fields))
                    part[best], lift = cross.added(logits)
                    part[own & (allowed >= scored.scores[best[-1]])] = lift
                    read = len(best)
    scores = np.asarray(scored.scores + part, dtype=np.float32)
    parts = {**scored.parts, RERANK: part}
    again = replace(scored, parts=parts, table=None, scores=scores)
    return Again(again, read, 1000 * (time.perf_counter() - clock), skipped)
