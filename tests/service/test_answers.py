"""How answers become bytes."""

import json

import pytest

from langrec.service.routes.answers import Answered

CONTENTS = [
    {"items": [{"id": "é", "score": 0.02623642422258854, "n": -0.0}], "more": None, "ok": True},
    {"text": '<script>"\\\u2028\n\x00', "list": [1, 2**70, 1e-7, 1e22], "3": {}},
]


@pytest.mark.parametrize("content", CONTENTS)
def test_the_bytes_say_what_was_meant(content):
    body = Answered(content).body
    assert json.loads(body) == content
    assert b": " not in body


def test_half_of_a_surrogate_pair_fails_no_answer():
    assert json.loads(Answered({"id": "a\ud800b", "n": 1}).body) == {"id": "a?b", "n": 1}


def test_what_is_not_a_number_is_null():
    assert Answered({"score": float("nan"), "other": float("inf")}).body == b'{"score":null,"other":null}'
