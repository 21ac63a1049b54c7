"""The fastest runtime that keeps the quality is taken, remembered, and overruled by a setting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langrec.encoders import load_encoder
from langrec.lm import measure
from langrec.lm.measure import Measured, fastest
from langrec.lm.runtimes import RUNTIMES
from langrec.settings import EncoderSettings


def row(name, speed, cosine=1.0, top10=1.0, note=""):
    return Measured(name, speed, cosine, top10, 0.5, note)


def test_the_fastest_exact_runtime_is_taken():
    assert fastest([row("onnx-fp32", 100), row("openvino", 180), row("torch-fp32", 90)]) == "openvino"


def test_a_runtime_that_loses_quality_is_not_taken():
    assert fastest([row("onnx-fp32", 100), row("onnx-int8", 900, 0.9, 0.5, "loses quality")]) == "onnx-fp32"


def test_a_space_of_its_own_must_win_by_more_than_noise():
    rows = [row("onnx-fp32", 100), row("openvino", 180)]
    assert fastest([*rows, row("openvino-int8", 190, 0.999, 0.95)]) == "openvino"
    assert fastest([*rows, row("openvino-int8", 250, 0.999, 0.95)]) == "openvino-int8"


@pytest.fixture(scope="module")
def measured(tiny, tmp_path_factory):
    """An encoder chosen by measuring, its settings, and a list that grows with each measurement."""
    calls = []
    real = measure.choose_runtime

    def counted(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("langrec.encoders.prepare.choose_runtime", counted)
        patch.setattr(measure, "PAIRS", 12)
        patch.setattr(measure, "JUDGED", 24)
        settings = EncoderSettings(name=str(tiny), cache=str(tmp_path_factory.mktemp("measured")), threads=1)
        yield load_encoder(settings), settings, calls


@pytest.mark.slow
def test_the_choice_is_measured_once(measured):
    encoder, settings, calls = measured
    assert calls == [1]
    assert load_encoder(settings).runtime.name == encoder.runtime.name
    assert calls == [1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "damaged", [b"", b"null", b"[]", b'{"runtime": "none", "rows": [], "threads": 1, "seconds": 1}']
)
def test_a_damaged_choice_is_measured_again(measured, damaged):
    _, settings, calls = measured
    before = len(calls)
    (file,) = (Path(settings.cache) / "runtimes").iterdir()
    right = file.read_bytes()
    file.write_bytes(damaged)
    assert load_encoder(settings).runtime.name in RUNTIMES
    assert len(calls) == before + 1
    calls.pop()
    file.write_bytes(right)


@pytest.mark.slow
def test_the_quality_is_judged_on_more_pairs_than_the_speed(measured, monkeypatch, tmp_path):
    """Of 64 pairs one that changes its place moves NDCG@10 by the percent that a runtime may lose."""
    assert measure.JUDGED > measure.PAIRS
    encoder, settings, _ = measured
    real, judged = measure.similarity_quality, []
    monkeypatch.setattr(measure, "similarity_quality", lambda a, b: judged.append(len(a)) or real(a, b))
    folder = next(Path(settings.cache).glob("models/*"))
    choice = measure.choose_runtime(tmp_path, folder, encoder.exported, None, 1)
    assert judged == [2 * measure.JUDGED] * sum(row.cosine > 0 for row in choice.rows)


@pytest.mark.slow
def test_a_setting_overrules_the_measurement(measured):
    _, settings, _ = measured
    for name in ("onnx-fp32", "torch-fp32"):
        overruled = EncoderSettings(name=settings.name, cache=settings.cache, threads=1, runtime=name)
        assert load_encoder(overruled).runtime.name == name


@pytest.mark.slow
def test_a_choice_of_other_libraries_or_threads_is_not_used(measured):
    from langrec.lm.measure import known_choice

    encoder, settings, _ = measured
    assert known_choice(Path(settings.cache), encoder.exported, 1) is not None
    assert known_choice(Path(settings.cache), encoder.exported, 7) is None


@pytest.mark.slow
def test_doctor_shows_the_measured_table(measured, monkeypatch):
    import typer

    from langrec.cli.doctor import doctor

    encoder, settings, _ = measured
    monkeypatch.setenv("LANGREC_CACHE", settings.cache)
    app = typer.Typer()
    app.command()(doctor)
    arguments = ["--encoder", settings.name, "--threads", "1"]
    shown = CliRunner().invoke(app, [*arguments, "--json"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert found["encoder"]["runtime"] == encoder.runtime.name
    assert {one["name"] for one in found["encoder"]["table"]} >= {"onnx-fp32", "onnx-int8"}
    assert found["machine"]["cores"] >= 1
    assert "in use" in CliRunner().invoke(app, arguments).stdout
