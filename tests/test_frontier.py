"""Every rung is measured on the same data, and the choice is the best that the budget allows."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from langrec.data.load import load_dataset
from langrec.encoders import load_encoder
from langrec.errors import SettingsError
from langrec.frontier import CROSS, LADDER, LIGHT, REFERENCE, Rung, choose_rung, frontier
from langrec.lm.compress.cross import Reranked
from langrec.lm.compress.work import Healing
from langrec.settings import EncoderSettings, EvaluateSettings, Settings
from tiny_cross import tiny_cross
from worlds import planted_topics, queries


def rung(name, ms, mb, ndcg, **more):
    return Rung(name, "", more.pop("folder", name), mb, 100.0, ms, ndcg, ndcg, ndcg, ndcg, **more)


LADDER_OF_THREE = [rung("table", 0.2, 16, 0.03), rung("small", 2, 20, 0.05), rung("whole", 9, 90, 0.06)]


def test_validation_decides_and_not_the_test():
    rungs = [rung("lucky", 1, 20, 0.09, valid=0.04), rung("better", 5, 20, 0.05, valid=0.06)]
    name, why = choose_rung(rungs, None, None)
    assert name == "better"
    assert "text similarity on validation without a budget: 0.0600, on the test 0.0500" in why


def test_without_a_question_of_validation_the_reason_says_so():
    assert "as validation holds no question" in choose_rung(LADDER_OF_THREE, None, None)[1]


def test_the_best_within_the_budget_is_taken_and_what_is_beyond_is_named():
    name, why = choose_rung(LADDER_OF_THREE, 5, 50)
    assert name == "small"
    assert "within 5 ms and 50 MB" in why and "whole would reach 0.0600 at 9.0 ms and 90.0 MB" in why


def test_without_a_budget_the_best_is_taken():
    assert choose_rung(LADDER_OF_THREE, None, None)[0] == "whole"


def test_of_equals_the_faster_is_taken():
    assert choose_rung([rung("slow", 5, 20, 0.05), rung("fast", 1, 20, 0.05)], None, None)[0] == "fast"


def test_where_none_fits_the_nearest_is_named():
    name, why = choose_rung(LADDER_OF_THREE, 0.1, 50)
    assert name == "" and "no rung is within" in why and "nearest is table" in why


def test_the_recommender_decides_where_it_was_measured_on_all():
    rungs = [
        rung("table", 0.2, 16, 0.03, valid=0.01, recommender=0.07, recommender_valid=0.09),
        rung("small", 2, 20, 0.05, valid=0.02, recommender=0.08, recommender_valid=0.08),
    ]
    assert choose_rung(rungs, None, None)[0] == "table"


def test_what_cannot_be_served_as_an_encoder_is_never_chosen():
    rungs = [*LADDER_OF_THREE, rung("cross", 400, 180, 0.09, folder="")]
    assert choose_rung(rungs, None, None)[0] == "whole"


class _Liking:
    """Stands in for a cross-encoder: likes candidates that share words with the history."""

    def score(self, asked, candidates):
        pairs = zip(asked, candidates, strict=True)
        return np.array([len(set(a.split()) & set(b.split())) for a, b in pairs], dtype=np.float32)


class _Flat:
    def __init__(self, n):
        self.n = n

    def score_block(self, block):
        return np.tile(np.arange(self.n, 0, -1, dtype=np.float32), (len(block), 1))


def test_looking_again_reorders_the_best_and_leaves_the_rest_behind():
    texts = ["red cat", "blue dog", "red bird", "green fish", "red red"]
    scorer = Reranked(_Flat(5), _Liking(), texts, texts, best=3)
    scores = scorer.score_block(queries([[0]]))[0]
    # Item 0 is the history; of the three best others, item 2 shares a word with it, and 4 was not looked at.
    assert np.argsort(-scores[1:]).tolist()[0] == 1
    assert scores[[1, 2, 3]].min() > scores[4]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    pytest.importorskip("torch")
    from tiny_lm import tiny_lm

    return tiny_lm(tmp_path_factory.mktemp("tiny") / "tiny", layers=2)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Files of a world whose texts tell what goes together: events, items."""
    folder, world = tmp_path_factory.mktemp("shop"), planted_topics()
    log, ids = world.dataset.events, world.dataset.catalogue.ids
    rows = [f"{u},{ids[int(i)]},{t // 1000}" for u, i, t in zip(log.users, log.items, log.at, strict=True)]
    (folder / "events.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    lines = [f"{ids[i]},{text}" for i, text in enumerate(world.texts)]
    (folder / "items.csv").write_text("item_id,title\n" + "\n".join(lines) + "\n")
    return folder / "events.csv", folder / "items.csv"


@pytest.fixture(scope="module")
def made(tiny, shop, tmp_path_factory):
    """Every rung, the cross-encoder's too, and the folder that they are in."""
    out = tmp_path_factory.mktemp("frontier")
    found = frontier(
        load_dataset(*shop)[0],
        out,
        Settings(
            encoder=EncoderSettings(name=str(tiny), threads=1, max_tokens=32),
            evaluate=EvaluateSettings(k=(5,)),  # rungs are compared by lists of ten all the same
        ),
        max_ms=10_000,
        healing=Healing(epochs=1),
        mix=lambda _: (0.4, 0.5),
        cross=str(tiny_cross(tmp_path_factory.mktemp("cross") / "cross", tiny)),
    )
    return found, out


@pytest.mark.parametrize("named", [{"tuned": ["./absent"]}, {"cross": "./absent"}])
def test_a_model_that_cannot_be_read_is_refused_before_any_rung_is_made(tiny, shop, tmp_path, named):
    settings = Settings(encoder=EncoderSettings(name=str(tiny), threads=1, max_tokens=32))
    with pytest.raises(SettingsError, match=r"absent: (is no folder|no such folder)"):
        frontier(load_dataset(*shop)[0], tmp_path / "out", settings, **named)
    assert not (tmp_path / "out" / "rungs").exists()


@pytest.mark.slow
def test_every_rung_is_measured_and_the_chosen_one_can_be_served(made):
    found, out = made
    assert {one.name for one in found.rungs} == {name for name, _ in LADDER} | {CROSS, LIGHT}
    assert min(found.gap.ms_student, found.gap.ms_teacher) > 0 and -1 <= found.gap.agreement <= 1
    assert all(0 <= one.low <= one.ndcg <= one.high <= 1 and one.ms > 0 for one in found.rungs)
    served = [one for one in found.rungs if one.folder]
    assert all(0 < one.valid <= 1 and (one.recommender_valid, one.recommender) == (0.4, 0.5) for one in served)
    whole = next(one for one in found.rungs if one.name == REFERENCE)
    table = next(one for one in found.rungs if one.name == "static table")
    assert table.megabytes < whole.megabytes
    kept = json.loads((out / "frontier.json").read_text("utf-8"))
    assert kept["chosen"] == found.chosen and len(kept["rungs"]) == len(LADDER) + 2
    assert "<svg" in (out / "frontier.html").read_text("utf-8")
    encoder = load_encoder(EncoderSettings(name=str(out / "chosen")))
    assert encoder.encode(["a cat sits", "a dog runs"]).shape[0] == 2


@pytest.mark.slow
def test_a_model_is_exported_once_for_all_rungs(made):
    _, out = made
    exports = list((out / "rungs" / "exports").glob("*/model.onnx"))
    # The whole model, which three chains begin with and one rung is; the cut one after each of its three steps.
    assert len(exports) == len({file.read_bytes() for file in exports}) == 4
    read = [*(out / "rungs").glob("*/encoder*/model.onnx"), *(out / "rungs").glob("*/steps/*/encoder/model.onnx")]
    assert {file.read_bytes() for file in read} <= {file.read_bytes() for file in exports}


@pytest.mark.slow
def test_the_command_prints_the_choice_and_makes_no_rung_again(tiny, shop, made, tmp_path):
    from langrec.cli.frontier import frontier as command

    events, items = shop
    out = tmp_path / "out"
    shutil.copytree(made[1], out)
    written = {file: file.stat().st_mtime_ns for file in (out / "rungs").glob("*/steps/*/*/*.onnx")}
    app = typer.Typer()
    app.command()(command)
    words = ["--events", str(events), "--items", str(items), "--out", str(out), "--epochs", "1"]
    words += ["--set", f"encoder.name={tiny}", "--set", "encoder.threads=1", "--set", "encoder.max_tokens=32"]
    words += ["--max-mb", "0.000001"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "no rung is within" in shown.stdout and not (out / "chosen").exists()
    assert written == {file: file.stat().st_mtime_ns for file in (out / "rungs").glob("*/steps/*/*/*.onnx")}
