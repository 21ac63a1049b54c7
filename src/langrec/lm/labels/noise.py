"""Labels that look wrong: the nearest labelled texts say something else (Zhu et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from langrec.types import FloatMatrix


@dataclass(frozen=True, slots=True)
class Flag:
    """A label that its neighbours do not share.

    Attributes:
        row: number of the text.
        label: its label.
        suggested: the label that most of the neighbourhood has.
        share: of the neighbourhood's weight, what its own label has.
        share_suggested: what the suggested one has.
        why: one sentence.
    """

    row: int
    label: str
    suggested: str
    share: float
    share_suggested: float
    why: str


def flags(
    vectors: FloatMatrix, labels: Sequence[str], neighbours: int = 10, least: float = 0.5, block: int = 1024
) -> list[Flag]:
    """Rows whose neighbours disagree with their label, the surest first.

    A neighbour's vote weighs its cosine, where that is above 0. A row is flagged where another label has at least
    `least` of the votes and more than its own.

    Args:
        vectors: (m, d) unit rows.
        labels: m labels.
        neighbours: nearest other texts that vote.
        least: share of the votes from which a label is suggested.
        block: rows compared at once.
    """
    names = sorted(set(labels))
    place = {name: i for i, name in enumerate(names)}
    own = np.array([place[label] for label in labels], dtype=np.int64)
    voting = min(neighbours, len(own) - 1)
    found: list[Flag] = []
    if voting < 1:
        return found
    for start in range(0, len(own), block):
        likeness = vectors[start : start + block] @ vectors.T
        here = np.arange(len(likeness))
        likeness[here, start + here] = -np.inf  # nobody votes on itself
        near = np.argpartition(-likeness, voting - 1, axis=1)[:, :voting]
        weight = np.maximum(np.take_along_axis(likeness, near, axis=1), 0).astype(np.float64)
        votes = np.zeros((len(likeness), len(names)))
        np.add.at(votes, (here[:, None], own[near]), weight)
        total = votes.sum(axis=1)
        shares = np.divide(votes, total[:, None], out=np.zeros_like(votes), where=total[:, None] > 0)
        best = shares.argmax(axis=1)
        mine, theirs = shares[here, own[start + here]], shares[here, best]
        for i in np.flatnonzero((best != own[start + here]) & (theirs >= least) & (theirs > mine)):
            count = int((own[near[i]] == best[i]).sum())
            why = f"{count} of its {voting} nearest labelled texts are {names[best[i]]}"
            row = int(start + i)
            found.append(Flag(row, labels[row], names[best[i]], float(mine[i]), float(theirs[i]), why))
    return sorted(found, key=lambda flag: (flag.share - flag.share_suggested, flag.row))


def contradictions(texts: Sequence[str], labels: Sequence[str]) -> list[Flag]:
    """Rows whose very text stands elsewhere with another label; the label that most of them have is suggested."""
    by_text: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        by_text.setdefault(text.strip(), []).append(row)
    found = []
    for rows in by_text.values():
        counts = {label: sum(labels[row] == label for row in rows) for label in sorted({labels[row] for row in rows})}
        if len(counts) < 2:
            continue
        most = max(counts, key=lambda label: counts[label])
        for row in rows:
            others = ", ".join(label for label in counts if label != labels[row])
            share = counts[labels[row]] / len(rows)
            why = f"the same text is also labelled {others}"
            found.append(Flag(row, labels[row], most, share, counts[most] / len(rows), why))
    return sorted(found, key=lambda flag: flag.row)
