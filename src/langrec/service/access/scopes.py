"""What a key may do: acts (read < write < admin) in areas of the API, as `area:act`."""

from __future__ import annotations

import re

from langrec.errors import SettingsError

ACTS = ("read", "write", "admin")
AREAS = {
    "lists": "recommendations, searches, neighbours and explanations",
    "items": "the catalogue",
    "users": "users and what is known of them",
    "feedback": "events",
    "impressions": "lists that were shown",
    "releases": "releases and their measures",
    "audit": "who did what",
    "operate": "metrics, statistics and the rest",
}
# The first that fits a path counts.
_RULES = tuple(
    (re.compile(rule), area)
    for rule, area in (
        (r"/api/(bulk/)?feedback\b|/api/(user|item)/\{\w+\}/feedback\b|/api/user/\{\w+\}/history$", "feedback"),
        (r"/api/impressions?\b", "impressions"),
        (r"/api/audit\b", "audit"),
        (r"/api/(releases?|measure)\b", "releases"),
        (r"/api/(user|item)/\{\w+\}/(neighbors|audience)\b|/api/(user-to-user|item-to-item)\b", "lists"),
        (r"/api/(recommend|session|search|explain|onboarding|popular|latest|non-personalized)\b|/rerank$", "lists"),
        (r"/api/(users?|receipts|bulk/users)\b", "users"),
        (r"/api/(items?|bulk/items|catalogue|categories)\b", "items"),
    )
)


def area_of(path: str) -> str:
    """The area of a route.

    Args:
        path: the route's, with the names of its parameters in braces.
    """
    return next((area for rule, area in _RULES if rule.match(path)), "operate")


def check_scopes(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """The scopes, each once, in order.

    Raises:
        SettingsError: one is not `area:act`.
    """
    for scope in scopes:
        area, _, act = scope.partition(":")
        if area not in AREAS or act not in ACTS:
            raise SettingsError(
                f"scope: {scope!r} is not area:act with an area of {', '.join(AREAS)} and read, write or admin",
                field="scope",
            )
    return tuple(sorted(set(scopes)))
