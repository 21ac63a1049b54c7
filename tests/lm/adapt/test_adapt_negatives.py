"""Hard negatives of pairs: found by simple scorers from training alone, never what the user is known to like."""

from __future__ import annotations

import numpy as np
import pytest

from langrec.errors import DataError
from langrec.lm.adapt.from_log import FromLog
from langrec.lm.adapt.job import Files
from langrec.lm.adapt.kinds import Adapted
from langrec.lm.adapt.negatives import of_file
from langrec.lm.adapt.pairs import Pairs, PairsTask, read_pairs
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings
from langrec.lm.model import find_model
from small_shop import write_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_shop(tmp_path_factory.mktemp("shop"))


def rows(users, anchors, positives, negatives=None):
    negatives = negatives or ("",) * len(anchors)
    return Pairs(tuple(anchors), tuple(positives), tuple(negatives), np.array(users), np.arange(len(anchors)))


def crowd():
    """Two groups of users; each user of a group likes four of the group's five things."""
    users, anchors, positives = [], [], []
    for user in range(20):
        group = user % 2
        for thing in range(5):
            if thing != user // 2 % 5:
                users.append(f"u{user}")
                anchors.append("what comes next")
                positives.append(f"group {'ab'[group]} thing {'vwxyz'[thing]}")
    return rows(users, anchors, positives)


def test_bm25_finds_what_shares_words_with_the_anchor_and_is_not_liked():
    texts = ["a red cat", "a red dog", "a red bird", "music in winter", "a train to the city"]
    pairs = rows([f"u{i}" for i in range(5)], ["the red cat film"] * 1 + ["winter"] * 4, texts)
    found = of_file(pairs, "bm25", 0, "rows.csv")
    assert found.negatives[0] in ("a red dog", "a red bird")
    assert found.positives == pairs.positives


def test_ease_finds_the_one_thing_of_the_group_that_the_user_has_not():
    pairs = crowd()
    found = of_file(pairs, "ease", 0, "rows.csv")
    has = {}
    for user, text in zip(pairs.users, pairs.positives, strict=True):
        has.setdefault(user, set()).add(text)
    given = [(user, text) for user, text in zip(found.users, found.negatives, strict=True) if text]
    assert len(given) > 70
    assert not any(text in has[user] for user, text in given)
    same = np.mean([text.startswith("group a") == (int(user[1:]) % 2 == 0) for user, text in given])
    assert same > 0.95  # what others of the group like is hard; what the other group likes is not


def test_a_negative_of_the_file_stays():
    pairs = crowd()
    own = ("mine", *pairs.negatives[1:])
    assert of_file(rows(pairs.users, pairs.anchors, pairs.positives, own), "ease", 0, "x").negatives[0] == "mine"


def test_ease_without_users_names_the_way_out(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("anchor,positive\na cat,a dog\na film,a movie\n", "utf-8")
    with pytest.raises(DataError, match="no user_id has two rows; use bm25"):
        of_file(read_pairs(path), "ease", 0, path)


def test_a_hard_negative_that_another_user_likes_is_left_out_of_that_users_rows(tiny):
    pairs = rows(list("uvv"), ["a cat", "a film", "music"], ["a dog", "a movie", "a piano"], ["a piano", "", ""])
    task = PairsTask(Adapted(find_model(str(tiny), 64), AdaptSettings(task="pairs", kind="side")), pairs, pairs)
    both = np.arange(2)  # the row in which v likes the piano is not in the batch
    wanted = np.unique([*task.positive[both], task.negative[0]])
    piano = [task.texts[i] for i in wanted].index("a piano")
    assert task._false(both, wanted)[:, piano].tolist() == [False, True]


@pytest.mark.parametrize("hard", ["bm25", "ease"])
def test_a_log_gives_each_row_a_negative_that_training_does_not_know_as_met(shop, hard):
    log = FromLog(*shop, seed=0)
    pairs = log.pairs("train", hard)
    names = {text: i for i, text in enumerate(log.texts)}
    met = set(zip(log.train.users.tolist(), log.train.items.tolist(), strict=True))
    given = [(user, names[text]) for user, text in zip(pairs.users, pairs.negatives, strict=True) if text]
    assert given
    number = {name: i for i, name in enumerate(log.dataset.users.names)}
    assert not any((number[user], item) in met for user, item in given)


def test_an_adaptation_says_how_many_it_found(tiny, shop, tmp_path):
    settings = AdaptSettings(task="pairs", kind="side", epochs=1, precision="fp32", width=8, hard_negatives="bm25")
    told = adapt(str(tiny), settings, Files(None, events=shop[0], items=shop[1]), tmp_path)
    assert any(note.startswith("Hard negatives by bm25, from training alone") for note in told["notes"])
