"""When a call is made again, and after which pause."""

from __future__ import annotations

import random
from dataclasses import dataclass

from langrec.client.errors import NotReached, ServerError
from langrec.errors import SettingsError

# A proxy that lost its server says 502 or 504: whether the call was done is unknown, as after a lost connection.
_MAY_BE_DONE = {502, 504}
_NOT_DONE = {429, 503}


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how patiently calls are repeated.

    Attributes:
        most: repeats after the first try; 0 for none.
        first: seconds of the first pause; each pause is twice the one before.
        longest: seconds of the longest pause of our own; a server may ask for more with Retry-After.
        within: seconds after which no repeat begins, counted from the first try.
    """

    most: int = 4
    first: float = 0.1
    longest: float = 5.0
    within: float = 60.0

    def __post_init__(self) -> None:
        for name in ("most", "first", "longest", "within"):
            if not getattr(self, name) >= 0:
                raise SettingsError(f"Retries.{name}: {getattr(self, name)} must not be negative", field=name)

    def pause(
        self, error: ServerError, *, tried: int, passed: float, repeatable: bool, rng: random.Random
    ) -> float | None:
        """Seconds to wait before the next try; None where there should be none.

        Half of each pause is drawn, so that clients which failed together do not come back together.

        Args:
            error: of the last try.
            tried: how often it was tried.
            passed: seconds since the first try.
            repeatable: doing the call twice is the same as doing it once.
            rng: draws the pause.
        """
        sent_nothing = isinstance(error, NotReached) and error.code == "not_connected"
        if not (sent_nothing or error.status == 429 or repeatable):
            return None
        if not (isinstance(error, NotReached) or error.status in _MAY_BE_DONE | _NOT_DONE):
            return None
        if tried > self.most:
            return None
        own = min(self.longest, self.first * 2 ** (tried - 1))
        pause = max(own * (0.5 + rng.random() / 2), error.retry_after or 0.0)
        return pause if passed + pause <= self.within else None
