"""From a model to a cheaper one with its report, through the command line too."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from langrec.encoders import load_encoder, load_saved
from langrec.errors import DataError, SettingsError
from langrec.lm.compress import chain
from langrec.lm.compress.page import Point, scatter
from langrec.lm.compress.quality import Measured, pair_gains
from langrec.lm.compress.steps import parse_steps
from langrec.lm.compress.work import Healing
from langrec.lm.model import find_model
from langrec.settings import EncoderSettings
from tiny_lm import tiny_lm

pytest.importorskip("torch")


def run(model, steps, out, corpus, **more):
    healing = Healing(epochs=2, batch=8, precision="fp32")
    return chain.compress(
        str(model), parse_steps(steps), out, corpus, open_encoder=load_saved, healing=healing, threads=1, **more
    )


@pytest.mark.slow
def test_a_chain_gives_a_model_an_encoder_and_a_row_per_step(four_layers, corpus, exports, tmp_path):
    found = run(four_layers, "drop:2,project:16,quantise", tmp_path / "out", corpus, exports=exports)
    assert [row.name for row in found.rows] == ["original", "drop:2", "heal", "project:16", "quantise"]
    assert found.rows[0].kept == 1 and found.rows[-1].dim == 16
    assert found.rows[-1].megabytes < found.rows[0].megabytes
    kept = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert kept["rows"][-1]["ndcg"] == found.rows[-1].ndcg and kept["corpus"]["held_out"] > 0
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "<svg" in text and "project:16" in text and "http://" not in text.replace("http://www.w3.org", "")
    wanted = load_saved(tmp_path / "out" / "encoder").encode(["a cat sits"])
    assert wanted.shape == (1, 16)
    opened = load_encoder(EncoderSettings(name=str(tmp_path / "out" / "model")))
    assert np.allclose(opened.encode(["a cat sits"]), wanted, atol=1e-6)


@pytest.mark.slow
def test_weights_that_a_chain_leaves_can_be_worked_on_again(four_layers, corpus, exports, tmp_path):
    run(four_layers, "drop:2", tmp_path / "one", corpus, exports=exports, heal=False)
    found = run(tmp_path / "one" / "model", "project:8", tmp_path / "two", corpus, exports=exports)
    assert found.rows[-1].dim == 8


@pytest.mark.slow
def test_a_second_run_does_no_finished_step_again(four_layers, corpus, exports, tmp_path, monkeypatch):
    from langrec.lm.compress import drop

    first = run(four_layers, "drop:2,project:16", tmp_path / "out", corpus, exports=exports)

    def never(*_):
        raise AssertionError("done twice")

    monkeypatch.setattr(drop, "run", never)
    second = run(four_layers, "drop:2,project:8", tmp_path / "out", corpus, exports=exports)
    # Each run reads with the runtime that it finds fastest: their vectors differ in the last digits.
    assert second.rows[1].ndcg == pytest.approx(first.rows[1].ndcg, abs=0.01) and second.rows[-1].dim == 8


@pytest.fixture(scope="module")
def made(four_layers, corpus, tmp_path_factory):
    """A chain's folder with exports of its own, and what its encoder gives."""
    folder = tmp_path_factory.mktemp("made") / "out"
    run(four_layers, "drop:2,quantise", folder, corpus)
    return folder, load_saved(folder / "encoder").encode(["a cat sits"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "damaged",
    ["1-*/sealed.json", "1-*/model/model.safetensors", "2-*/model/config.json", "*/encoder/*", "exports/*/*", "*.npy"],
)
@pytest.mark.parametrize("how", ["cut", "zeros"])
def test_what_a_crash_damaged_is_done_again(made, four_layers, corpus, tmp_path, damaged, how):
    folder, right = made
    shutil.copytree(folder, tmp_path / "out")
    files = list((tmp_path / "out" / "steps").glob(damaged))
    assert files
    for file in files:
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2] if how == "cut" else data[:-40] + bytes(40))
    run(four_layers, "drop:2,quantise", tmp_path / "out", corpus)
    assert np.allclose(load_saved(tmp_path / "out" / "encoder").encode(["a cat sits"]), right, atol=1e-2)


@pytest.mark.slow
def test_another_model_in_the_same_folder_is_compared_with_itself(four_layers, corpus, exports, tmp_path):
    run(four_layers, "binary:4", tmp_path / "out", corpus, exports=exports)
    other = tiny_lm(tmp_path / "other", dim=16)
    found = run(other, "quantise:dynamic", tmp_path / "out", corpus, exports=exports)
    assert [row.dim for row in found.rows] == [16, 16] and found.rows[1].cosine > 0.98
    assert not (tmp_path / "out" / "codes").exists()


@pytest.mark.slow
def test_sign_codes_stand_in_the_report_with_their_recall(four_layers, corpus, exports, tmp_path):
    found = run(four_layers, "static:16,binary:4", tmp_path / "out", corpus, exports=exports)
    assert 0 < found.codes["recall_of_codes_alone"] <= found.codes["recall_rescored_in_full"] <= 1
    assert (tmp_path / "out" / "codes" / "codes.npz").exists()


def test_training_without_texts_is_refused(four_layers, tmp_path):
    with pytest.raises(DataError, match="needs texts to train on"):
        run(four_layers, "drop:2,distil:2", tmp_path / "out", None)


def test_teaching_without_a_cross_encoder_is_refused_before_any_work(four_layers, corpus, tmp_path):
    with pytest.raises(SettingsError, match="needs a cross-encoder"):
        run(four_layers, "drop:2,teach", tmp_path / "out", corpus)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_classifier_that_is_read_as_an_encoder_is_said(four_layers, tmp_path):
    model = find_model(str(four_layers), 64)
    assert chain.left_away(model) == ""
    (tmp_path / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}', "utf-8")
    said = chain.left_away(replace(model, folder=tmp_path))
    assert said == "a sequence classifier: its head is left away, vectors are pooled by mean"


def test_a_cross_encoder_that_cannot_be_read_is_refused_before_any_work(four_layers, corpus, tmp_path):
    for folder, said in ((tmp_path / "none", "is no folder"), (four_layers, "holds no sequence classifier")):
        with pytest.raises(SettingsError, match=said):
            run(four_layers, "drop:2,teach", tmp_path / "out", corpus, cross=folder)
    assert not (tmp_path / "out").exists()


def test_the_command_writes_the_report_and_prints_it(four_layers, corpus, tmp_path):
    from langrec.cli.compress import compress

    file = tmp_path / "texts.csv"
    pl.DataFrame({"title": corpus.asked, "text": corpus.found}).write_csv(file)
    app = typer.Typer()
    app.command()(compress)
    words = [str(four_layers), "--steps", "quantise:dynamic", "--texts", str(file), "--out", str(tmp_path / "out")]
    shown = CliRunner().invoke(app, [*words, "--threads", "1", "--json"])
    assert shown.exit_code == 0, shown.output
    rows = json.loads(shown.stdout)["rows"]
    assert [row["name"] for row in rows] == ["original", "quantise:dynamic"] and rows[1]["cosine"] > 0.98
    assert "quantise:dynamic" in CliRunner().invoke(app, [*words, "--threads", "1"]).stdout


def test_no_figure_is_cut_on_a_narrow_terminal(monkeypatch, capsys):
    from langrec.cli.compress import _show

    monkeypatch.setenv("COLUMNS", "80")
    name = "prune:units=0.5/heads=0.25"
    row = Measured(name, "openvino-int8", 384, 91.4, 0, 12_159.4, 4.71, 0.36284, 0.36123, 1.009, 1.013, 0.99845, 0.927)
    _show(chain.Compressed("minilm", (name,), (row,), {"question": "a title finds its text", "judged": 9}))
    shown = capsys.readouterr().out
    assert all(one in shown for one in ("91.4", "12,159", "4.71", "0.3628", "100.9%", "101.3%", "0.9984", "0.927"))


def test_ndcg_of_pairs_is_one_where_each_finds_its_own_and_less_where_others_are_nearer():
    rows = np.eye(4, dtype=np.float32)
    assert pair_gains(rows, rows).mean() == 1
    found = pair_gains(rows, rows[[1, 0, 2, 3]])
    assert found[2] == 1 and 0 < found[0] < 1


def test_texts_that_cannot_be_read_find_nothing():
    rows = np.eye(4, dtype=np.float32)
    rows[1] = 0  # no known word
    assert pair_gains(rows, rows).tolist() == [1, 0, 1, 1]
    assert pair_gains(rows * np.float32("nan"), rows).tolist() == [0, 0, 0, 0]


def test_names_in_a_plot_are_escaped():
    shown = scatter([Point("<b>", 1.0, 0.5), Point("ok", 10.0, 0.7, True)], "texts a second", "NDCG@10")
    assert "&lt;b&gt;" in shown and "<b>" not in shown and 'class="chosen"' in shown
