"""Small questions with known answers for the tests of this folder."""

from __future__ import annotations

import numpy as np

from langrec.evaluation.protocol import Targets
from langrec.types import QueryBlock


def offsets(rows):
    return np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)


def flat(rows, dtype=np.int32):
    return np.array([value for row in rows for value in row], dtype=dtype)


def questions(targets, histories=None, users=None, single=False):
    """Targets from plain lists: one list of target items and one history per question."""
    histories = histories or [[] for _ in targets]
    q = len(targets)
    at = np.arange(q, dtype=np.int64) * 1000
    block = QueryBlock(
        users=np.arange(q, dtype=np.int32) if users is None else np.array(users, dtype=np.int32),
        offsets=offsets(histories),
        items=flat(histories),
        times=np.zeros(sum(map(len, histories)), dtype=np.int64),
        at=at,
        texts=(None,) * q,
    )
    events = np.arange(q, dtype=np.int64) + 100 if single else np.full(q, -1, dtype=np.int64)
    return Targets("next item" if single else "per user", block, offsets(targets), flat(targets), events)


def padded(lists, width):
    nums = np.full((len(lists), width), -1, dtype=np.int32)
    for row, items in zip(nums, lists, strict=True):
        row[: len(items)] = items[:width]
    return nums
