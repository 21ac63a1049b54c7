"""Hostile texts, ids and values over HTTP: what is stored comes back as it was sent, and nothing fails on our side."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import hostile
from langrec.service.bodies import clean_json

pytestmark = pytest.mark.slow

POST = {"Content-Type": "application/json"}


def drawn(kind, n=hostile.CASES):
    return list(itertools.islice(kind(np.random.default_rng(11)), n))


def test_hostile_texts_come_back_as_they_were_sent(live):
    texts = drawn(hostile.texts)
    items = [
        {"ItemId": f"h{i}", "Comment": text, "Labels": {"description": text, "tag": [text]}}
        for i, text in enumerate(texts)
    ]
    for start in range(0, len(items), 100):
        body = json.dumps(items[start : start + 100])
        assert live.client.post("/api/items", content=body, headers=POST).status_code == 200
        # The next list reads what came: megabytes at once would take one request longer than a client waits.
        assert live.get("/api/search", q="ship", k=1)["items"]
    found, cursor = {}, ""
    while True:
        page = live.get("/api/items", n=1000, cursor=cursor)
        found |= {one["ItemId"]: one for one in page["Items"]}
        cursor = page["Cursor"]
        if not cursor:
            break
    for i, text in enumerate(texts):
        clean = clean_json(json.loads(json.dumps(text)))  # halves of a pair that meet become one character
        assert found[f"h{i}"]["Comment"] == clean, text
        assert found[f"h{i}"]["Labels"] == {"description": clean, "tag": [clean]}, text
    for text in texts[:: max(len(texts) // 40, 1)]:
        for path, params in (
            ("/api/search", {"q": text[:4000], "k": 5}),
            ("/api/items/suggest", {"q": text[:200]}),
            ("/api/catalogue", {"q": text[:200], "sort": text[:200], "category": text[:4000]}),
        ):
            params = {
                name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
                for name, value in params.items()
            }
            answer = live.client.get(path, params=params)
            assert answer.status_code in (200, 400), (path, text, answer.text)
            assert answer.headers["content-type"] == "application/json"
    assert live.recommended("sea-u0"), "lists are made as before"
    assert not Path("/tmp/langrec-was-here").exists()


def test_hostile_ids_are_kept_whole_or_refused(live):
    for name in dict.fromkeys(drawn(hostile.ids, hostile.CASES // 2)):
        event = json.dumps([{"FeedbackType": "click", "UserId": name, "ItemId": name}])
        answer = live.client.post("/api/feedback", content=event, headers=POST)
        assert answer.status_code in (200, 400), (name[:80], answer.text[:200])
        if answer.status_code == 400:
            assert len(answer.text) < 3000, "a megabyte is not sent back"
            continue
        address = "".join(f"%{byte:02X}" for byte in name.encode())
        got = live.client.get(f"/api/user/{address}/feedback")
        if name in (".", ".."):
            continue  # clients resolve these before they ask
        assert got.status_code == 200 and [one["UserId"] for one in got.json()] == [name], name[:80]
        assert live.client.get(f"/api/recommend/{address}?n=2").status_code == 200, name[:80]


def test_hostile_values_in_bodies_are_taken_or_refused(live):
    for value in drawn(hostile.values):
        text = json.dumps(value)
        where = f'[{{"field": "price", "op": "ge", "value": {text}}}]'
        event = f'{{"UserId": "v", "ItemId": "v", "FeedbackType": "click", "Timestamp": {text}, "Value": {text}}}'
        bodies = {
            "/api/item": f'{{"ItemId": "v", "Labels": {text}, "Fields": {{"price": {text}}}}}',
            "/api/user": f'{{"UserId": "v", "Labels": {text}}}',
            "/api/feedback": f"[{event}]",
            "/api/recommend": f'{{"user": {text}, "filters": {{"where": {where}}}}}',
            "/api/search": f'{{"q": {text}, "k": {text}}}',
        }
        for path, body in bodies.items():
            answer = live.client.post(path, content=body, headers=POST)
            assert answer.status_code in (200, 400), (path, text[:200], answer.text[:300])
        for path in ("/api/item/v", "/api/user/v"):
            assert live.client.get(path).status_code in (200, 404), text[:200]
    assert live.client.get("/api/catalogue?sort=price").status_code == 200
    answer = live.client.post(
        "/api/recommend", json={"filters": {"where": [{"field": "price", "op": "ge", "value": 0}]}}
    )
    assert answer.status_code == 200


def test_bodies_that_nest_without_end_are_refused(live):
    for levels in (1_000, 100_000, 1_000_000):
        for open_, close in (("[", "]"), ('{"a":', "}")):
            body = open_ * levels + "1" + close * levels
            for path in ("/api/item", "/api/feedback", "/api/recommend"):
                answer = live.client.post(path, content=body, headers=POST)
                assert answer.status_code == 400 and answer.json()["code"] == "bad_request", (levels, path)
    within = '{"ItemId": "deep", "Labels": ' + "[" * 900 + "]" * 900 + "}"
    assert live.client.post("/api/item", content=within, headers=POST).status_code in (200, 400)
    assert live.client.get("/api/items?n=1000").status_code == 200
