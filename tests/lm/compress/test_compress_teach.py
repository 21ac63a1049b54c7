"""What a cross-encoder teaches: a bi-encoder, and a formula over cheap features, its order."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from langrec.errors import SettingsError
from langrec.lm.compress import teach
from langrec.lm.compress.cross import CrossEncoder, load_cross
from langrec.lm.compress.light import Items, LightReranked, LightStudent
from langrec.lm.compress.light import teach as teach_light
from langrec.lm.compress.read import read_torch
from langrec.lm.compress.steps import Step
from tiny_cross import tiny_cross
from tiny_question import tiny_question
from worlds import queries


@pytest.fixture(scope="module")
def cross(four_layers, tmp_path_factory):
    return tiny_cross(tmp_path_factory.mktemp("cross") / "cross", four_layers)


def test_a_cross_encoder_gives_one_score_per_pair(cross):
    encoder = CrossEncoder.load(cross, 64)
    scores = encoder.score(["a cat", "a cat"], ["a dog runs", "a blue house"])
    assert scores.shape == (2,) and scores[0] != scores[1]
    assert encoder.score([], []).shape == (0,) and encoder.megabytes > 0


def test_a_folder_without_a_classifier_is_refused(four_layers, tmp_path):
    with pytest.raises(SettingsError, match="holds no sequence classifier"):
        load_cross(tmp_path)
    # Transformers reads an encoder alone as a classifier, with a head that it draws at random.
    with pytest.raises(SettingsError, match=r"holds no sequence classifier \(it lacks "):
        load_cross(four_layers)


def test_the_model_of_recommend_that_reads_questions_is_a_cross_encoder(tmp_path):
    from langrec.lm.adapt.head import Head
    from langrec.lm.export import load_torch
    from langrec.lm.model import find_model

    folder = tiny_question(tmp_path / "judge")
    cross, model, head = load_cross(folder, 64), find_model(str(folder), 64), Head.load(folder)
    texts = ["red bird? Liked: a cat. Disliked: nothing.", "blue fish? Liked: a cat. Disliked: nothing."]
    wanted = read_torch(load_torch(model), model, texts) @ head.weight[0] + head.bias[0]
    np.testing.assert_allclose(cross.score(["a cat"] * 2, ["red bird", "blue fish"]), wanted, atol=1e-4)
    assert cross.megabytes > 0 and cross.score([], []).shape == (0,)


def test_a_model_that_reads_the_candidate_alone_is_no_cross_encoder(tmp_path):
    with pytest.raises(SettingsError, match="reads=question"):
        load_cross(tiny_question(tmp_path / "title", reads="title"))


def test_both_losses_are_least_at_the_teachers_own_order():
    import torch

    wanted = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0]])
    for loss in (teach.margin_mse, teach.listwise_kl):
        # A constant on top of all scores of a list says nothing about its order.
        assert abs(float(loss(wanted + 3, wanted))) < 1e-5 < float(loss(wanted.flip(1), wanted))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["kl", "margin"])
def test_a_taught_model_orders_more_like_its_teacher(work, cross, tmp_path, way):
    healing = dataclasses.replace(work.healing, epochs=10)
    given = dataclasses.replace(work, cross=cross, healing=healing)
    made, note = teach.run(work.teacher, Step("teach", way), tmp_path / way, given)
    before, after = (float(part.split()[-1]) for part in note.rsplit("held-out lists ", 1)[1].split(" to "))
    assert after > before, note
    assert made.folder.exists()


def test_teaching_without_a_cross_encoder_is_refused(work, tmp_path):
    with pytest.raises(SettingsError, match="give its folder with --cross"):
        teach.run(work.teacher, Step("teach"), tmp_path / "never", work)


class _ByWords:
    """A teacher whose order is that of shared words: one of the features, so that it can be learned."""

    def score(self, asked, candidates):
        pairs = zip(asked, candidates, strict=True)
        return np.array([len(set(a.split()) & set(b.split())) for a, b in pairs], dtype=np.float32)


class _Flat:
    def __init__(self, n):
        self.n = n

    def score_block(self, block):
        return np.tile(np.linspace(1, 0, self.n, dtype=np.float32), (len(block), 1))


def test_features_learn_the_order_of_a_teacher_that_they_can_express():
    rng, words = np.random.default_rng(0), ["red", "blue", "green", "old", "new", "big", "small", "far"]
    texts = [" ".join(rng.choice(words, 4, replace=False)) for _ in range(60)]
    vectors = np.linalg.qr(rng.normal(size=(60, 60)))[0].astype(np.float32)
    items = Items.of(vectors, texts, texts)
    block = queries([[i, (i + 7) % 60] for i in range(40)])
    student, gap = teach_light(_Flat(60), _ByWords(), items, block, best=20)
    assert gap.lists == 8 and gap.agreement > 0.6 > gap.base_agreement  # the teacher has ties
    scores = LightReranked(_Flat(60), student, items, 20).score_block(queries([[0]]))[0]
    # The looked-at 20 (items 1 to 20) stay ahead of all others.
    assert scores[1:21].min() > scores[21:].max()


def test_a_student_of_scores_that_are_linear_in_the_features_gives_their_order():
    rng = np.random.default_rng(0)
    lists = [(rows := rng.normal(size=(12, 4)).astype(np.float32), rows @ np.array([1, -2, 0, 0.5])) for _ in range(30)]
    student = LightStudent.fit([(rows, scores.astype(np.float32)) for rows, scores in lists])
    rows, scores = lists[0]
    assert np.corrcoef(student.score(rows), scores)[0, 1] > 0.99
