"""What of a history is read, and history and candidate as the one text of a cross-encoder, in training and serving."""

from __future__ import annotations

from collections.abc import Sequence

# A rating above this share of the highest one is a like: above 3 of 5.
LIKED = 0.6
# Items of a history that are read, the newest: what is further back would be cut at the end of the text anyway.
LATEST = 10
# The value of `reads` in a head's file that says its model reads such texts.
QUESTION = "question"
# Characters of a text that are read: of long candidates a model of 128 tokens would see no history at all.
LONGEST = 240


def question(candidate: str, liked: Sequence[str], disliked: Sequence[str] = (), longest: int | None = LONGEST) -> str:
    """The question whether someone will like the candidate, as one text.

    The candidate comes first, because what is too long is cut at its end; then the newest of the history.

    Args:
        candidate: the candidate's text.
        liked: texts of the history, oldest first.
        disliked: the same of what was not liked.
        longest: characters that are read of each text, to the last whole word; None = all.
    """
    past = "; ".join(short(text, longest) for text in reversed(liked)) or "nothing"
    away = "; ".join(short(text, longest) for text in reversed(disliked)) or "nothing"
    return f"{short(candidate, longest)}? Liked: {past}. Disliked: {away}."


def short(text: str, longest: int | None) -> str:
    """The text's beginning, to the last whole word."""
    if longest is None or len(text) <= longest:
        return text
    cut = text[:longest]
    return cut.rpartition(" ")[0] or cut
