"""Names and rates of the ways to alter a text, as settings write them."""

from __future__ import annotations

import difflib

from langrec.errors import SettingsError

WAYS = ("synonyms", "delete", "swap", "translate")


def parse(text: str) -> dict[str, float]:
    """Ways and their rates, in the order named: `synonyms:0.1,delete:0.1`; nothing of a blank text.

    Raises:
        SettingsError: an unknown way, one named twice, or a rate that is not in (0, 1].
    """
    found: dict[str, float] = {}
    for part in (part.strip() for part in text.split(",") if part.strip()):
        name, _, rate = (piece.strip() for piece in part.partition(":"))
        if name not in WAYS or name in found:
            near = difflib.get_close_matches(name, WAYS, n=1)
            hint = f"did you mean {near[0]}?" if near and name not in WAYS else f"known, each once: {', '.join(WAYS)}"
            raise SettingsError(f"adapt.augment {part}: no way to alter a text ({hint})", field="adapt.augment")
        try:
            found[name] = float(rate or 0.1)
        except ValueError:
            found[name] = float("nan")
        if not 0 < found[name] <= 1:
            raise SettingsError(
                f"adapt.augment {part}: the rate must lie above 0 and up to 1, as in {name}:0.1", field="adapt.augment"
            )
    return found
