"""What is measured beside the models: controls of a model, and bounds that look at the answer.

Neither is ever the best, the reference or the chosen one, and both are shown apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from langrec.evaluation import metrics
from langrec.evaluation.compare import Difference
from langrec.evaluation.lists import TopLists
from langrec.evaluation.metrics import judge
from langrec.evaluation.protocol import Targets

if TYPE_CHECKING:
    from langrec.evaluation.report import Row


@dataclass(frozen=True, slots=True)
class Control:
    """The same model with one thing spoilt: what it loses is what that thing is worth.

    Attributes:
        of: the model that it is compared with.
        says: what was spoilt, in words that follow a colon.
    """

    of: str
    says: str

    @property
    def kind(self) -> str:
        return "control"


@dataclass(frozen=True, slots=True)
class Bound:
    """For each question the better list of some models, picked by looking at the answer: their headroom.

    Attributes:
        of: the models.
    """

    of: tuple[str, ...]

    @property
    def says(self) -> str:
        return f"per question the better list of {' and '.join(self.of)}, picked by the answer; no choice gives more"

    @property
    def kind(self) -> str:
        return "bound"


@dataclass(frozen=True, slots=True)
class Beside:
    """What a report holds of controls and bounds.

    Attributes:
        what: each by its name, in the order of the report.
        rows: their numbers.
        differences: controls against what they are controls of, bounds against the model in use; paired.
    """

    what: Mapping[str, Control | Bound] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    differences: tuple[Difference, ...] = ()


def better_lists(answers: Sequence[TopLists], targets: Targets, k: int) -> TopLists:
    """For each question the answer of the highest NDCG@k; of equal ones that which ranks the targets better.

    Args:
        answers: each model's answers to all questions; the earlier of equals is taken.
        targets: the questions.
        k: list length.
    """
    values = [metrics.ndcg(judge(one.nums, targets.offsets, targets.items), k) for one in answers]
    per_question = np.maximum(np.diff(targets.offsets), 1)
    owners = np.repeat(np.arange(len(targets)), np.diff(targets.offsets))
    means = [np.bincount(owners, one.places, len(targets)) / per_question for one in answers]
    # lexsort keeps the order of equals, so the first of each column is the earliest of the best.
    order = np.lexsort((np.stack(means), -np.nan_to_num(np.stack(values))), axis=0)
    best = order[0]
    question, target = np.arange(len(targets)), np.arange(len(owners))
    return TopLists(
        nums=np.stack([one.nums for one in answers])[best, question],
        scores=np.stack([one.scores for one in answers])[best, question],
        ranks=np.stack([one.ranks for one in answers])[best[owners], target],
        places=np.stack([one.places for one in answers])[best[owners], target],
        candidates=answers[0].candidates,
    )
