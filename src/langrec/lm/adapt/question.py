"""A history and a candidate as the one text that a cross-encoder reads, in training and in serving."""

from __future__ import annotations

from collections.abc import Sequence

# Items of a history that are read, the newest: what is further back would be cut at the end of the text anyway.
LATEST = 10
# The value of `reads` in a head's file that says its model reads such texts.
QUESTION = "question"


def question(candidate: str, liked: Sequence[str], disliked: Sequence[str] = ()) -> str:
    """The question whether someone will like the candidate, as one text.

    The candidate comes first, because what is too long is cut at its end; then the newest of the history.

    Args:
        candidate: the candidate's text.
        liked: texts of the history, oldest first.
        disliked: the same of what was not liked.
    """
    past = "; ".join(reversed(liked)) or "nothing"
    away = "; ".join(reversed(disliked)) or "nothing"
    return f"{candidate}? Liked: {past}. Disliked: {away}."
