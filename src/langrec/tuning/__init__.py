"""Settings looked for by trial on validation: the space, the study, and what can be tuned."""

from __future__ import annotations

from langrec.tuning.space import Range, Space, parse_space
from langrec.tuning.study import Subject, Tuned, tune

__all__ = ["Range", "Space", "Subject", "Tuned", "parse_space", "tune"]
