"""Requests drawn from the description of the API: whatever fits it, or nearly, gets an answer that it describes.

`LANGREC_FUZZ=20` draws twenty times as many for each operation.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

import hypothesis
import pytest
import schemathesis
from live_server import PATIENCE, wait_until
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = pytest.mark.slow

TIMES = int(os.environ.get("LANGREC_FUZZ", "1"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# Rolling back checks every file of a release: few draws name one, the others are told so at once.
EXAMPLES = 4


@schemathesis.serializer("application/x-ndjson")
def lines(_: Any, value: Any) -> bytes:
    """A body of lines: text as it was drawn, anything else as one line of JSON."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def described(shared: Any) -> Any:
    wait_until(lambda: shared.client.get("/api/health/ready").status_code == 200)
    return schemathesis.openapi.from_url(f"{shared.url}/openapi.json")


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_drawn_requests_get_answers_that_the_description_knows(described, shared, mode):
    """All operations in one test: the server and the description are made once."""
    wrong: list[str] = []
    seen: Counter[int] = Counter()
    for found in described.get_all_operations():
        operation = found.ok()
        strategy = operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode))

        @hypothesis.settings(
            max_examples=EXAMPLES * TIMES,
            deadline=None,
            derandomize=TIMES == 1,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=strategy)
        def ask(case):
            seen[case.call_and_validate(checks=CHECKS, timeout=PATIENCE).status_code // 100] += 1

        try:
            ask()
        except hypothesis.errors.Unsatisfiable:
            continue  # nothing can be drawn, such as a wrong body where there is none
        except Exception as error:
            wrong.append(f"{operation.label}: {error}")
    assert not wrong, "\n\n".join(wrong)
    assert seen.total() > 200 and set(seen) <= {2, 4} and seen[2 if mode == "positive" else 4] > 50, seen
    assert shared.client.get("/api/health/ready").status_code == 200
