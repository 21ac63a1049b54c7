"""Lists of many users as columns, beside what a request of each gives."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

import langrec.lists as lists_module
from langrec import Recommender
from langrec.lists import Histories, best_rows, lists_of
from langrec.ranking.calibration import Calibration
from langrec.ranking.select import top_k
from langrec.settings import ExploreSettings, RankingSettings
from langrec.types import Query
from small_release import NOW, N, history, release

# Known users out of order and one twice, one whom nobody knows, and one who saw all but two items.
ASKED = ["u7", "u0", "nobody", "u59", "u0", "glutton", "u23", "u31"]


@pytest.fixture(scope="module")
def recommender(tmp_path_factory):
    return replace(Recommender.load(release(tmp_path_factory.mktemp("shop"))), calibration=Calibration(1.0, 0.5))


def log():
    """What they did, oldest first; u7 hid an item, and u0 saw one that the catalogue does not hold."""
    rows = [
        (name, item, at, "click") for name in sorted({*ASKED} - {"nobody", "glutton"}) for item, at in events_of(name)
    ]
    rows += [("glutton", f"i{num}", NOW - 1000 + num, "click") for num in range(N - 2)]
    rows += [("u7", "i9", NOW - 5, "hide"), ("u0", "gone", NOW - 4, "click"), ("stranger", "i1", NOW - 3, "click")]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "at", "type"], orient="row").sort("at", maintain_order=True)


def events_of(name):
    ids, at = history(int(name[1:]))
    return zip(ids, at, strict=True)


def asked_alone(recommender, k, monkeypatch):
    """Each user's answer to a request of their own."""
    monkeypatch.setattr("langrec.data.asked.now", lambda: NOW)
    # A draw depends on the whole history that was told; many are drawn by what the catalogue holds of theirs.
    frame = log().filter(pl.col("item_id") != "gone") if recommender.exploring.places else log()
    out = []
    for name in ASKED:
        own = frame.filter(pl.col("user_id") == name)
        query = Query(
            user=name,
            history=tuple(own["item_id"]),
            history_at=tuple(own["at"]),
            history_types=tuple(own["type"]),
            k=k,
        )
        out.append(recommender.recommend([query])[0])
    return out


@pytest.mark.parametrize("k", [1, 5, 12, 80])
@pytest.mark.parametrize("changed", ["plain", "hides", "explores", "differs"])
def test_a_user_among_many_gets_the_list_of_a_request(recommender, k, changed, monkeypatch):
    monkeypatch.setattr(lists_module, "TOGETHER", 3)
    monkeypatch.setattr("langrec.windows.WINDOW", 5)
    changes = {
        "plain": {},
        "hides": {"unsaying": frozenset({"hide"})},
        "explores": {"exploring": ExploreSettings(places=2, among=4)},
        "differs": {"ranking": RankingSettings(diversity=0.5)},
    }
    recommender = replace(recommender, **changes[changed])
    histories = Histories.of(recommender, ASKED, log())
    parts = list(lists_of(recommender, histories, k, NOW, rated=True, threads=2))
    assert [len(part.lengths) for part in parts] == [5, 3]
    found = lists_module.Lists.joined(parts)
    ends = np.cumsum(found.lengths)
    assert found.ranks()[: found.lengths[0]].tolist() == list(range(1, found.lengths[0] + 1))
    chances = found.probabilities(recommender.calibration)
    for answer, end, length in zip(asked_alone(recommender, k, monkeypatch), ends, found.lengths, strict=True):
        own = slice(end - length, end)
        assert recommender.items.ids.take(found.items[own]) == answer.ids
        np.testing.assert_allclose(found.scores[own], answer.items.scores, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(chances[own], recommender.probabilities(answer), rtol=1e-3, atol=1e-6)
        drawn = np.ones(length) if answer.propensities is None else answer.propensities
        np.testing.assert_array_equal(found.propensities[own], drawn)


def test_nobody_asked_gets_no_lists(recommender):
    assert list(lists_of(recommender, Histories.of(recommender, [], log()), 5, NOW)) == []


def test_users_whom_the_release_does_not_know_get_the_list_of_a_new_visitor(recommender):
    (part,) = lists_of(recommender, Histories.of(recommender, ["a stranger", "another"], log()), 5, NOW)
    answer = recommender.recommend([Query(user="a stranger", k=5, at=datetime.fromtimestamp(NOW / 1000, UTC))])[0]
    assert part.lengths.tolist() == [5, 5]
    assert recommender.items.ids.take(part.items) == answer.ids * 2


def test_the_best_of_each_row_are_those_of_one_row_ties_by_number():
    rng = np.random.default_rng(0)
    scores = rng.integers(-2, 6, (20, 30)).astype(np.float32)
    scores[3] = 0.0
    for k in (1, 4, 30, 50):
        lengths, nums, values = best_rows(scores, k)
        ends = np.cumsum(lengths)
        for row, end, length in zip(scores, ends, lengths, strict=True):
            best = top_k(np.where(row > 0, row, np.nan), k)
            np.testing.assert_array_equal(nums[end - length : end], best)
            np.testing.assert_array_equal(values[end - length : end], row[best])
