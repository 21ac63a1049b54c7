"""`langrec data`: tables for people, JSON for scripts, one line and status 2 for wrong input."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import polars as pl
import pytest
from typer.testing import CliRunner

import langrec.cli
from langrec.cli import verbs
from langrec.cli.data import app

runner = CliRunner()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "events.csv").write_text(
        "user_id,item_id,timestamp\nu1,a,1600000000\nu1,b,1600000500\n,b,1600000501\nu2,a,-3\n"
    )
    (tmp_path / "items.csv").write_text("item_id,title,genres\na,Alpha,X|Y\nb,Beta &amp; Co,X\n")
    return tmp_path


def test_check_lists_problems_with_place_and_fix_as_json(folder):
    found = runner.invoke(app, ["check", "--events", str(folder), "--json"])
    assert found.exit_code == 0
    values = json.loads(found.stdout)
    assert values["ok"] is False
    assert (values["events"], values["refused"]) == (2, 2)
    problems = {problem["name"]: problem for problem in values["problems"]}
    assert problems["missing_user"]["places"] == ["events.csv row 2"]
    assert problems["impossible_time"]["places"] == ["events.csv row 3 (-3)"]
    assert problems["text_repaired"]["count"] == 1
    assert all(problem["fix"] for problem in values["problems"])


def test_check_shows_a_table(folder):
    found = runner.invoke(app, ["check", "--events", str(folder)])
    assert found.exit_code == 0
    assert "2 of 4 rows are events" in found.stdout


def test_check_of_clean_data_says_so(folder):
    (folder / "events.csv").write_text("user_id,item_id,timestamp\nu1,a,1600000000\n")
    (folder / "items.csv").write_text("item_id,title\na,Alpha\n")
    found = runner.invoke(app, ["check", "--events", str(folder)])
    assert "no problems found" in found.stdout
    assert json.loads(runner.invoke(app, ["check", "--events", str(folder), "--json"]).stdout)["ok"]


def test_check_ends_with_2_where_the_data_cannot_be_used(folder):
    (folder / "events.csv").write_text("")
    found = runner.invoke(app, ["check", "--events", str(folder), "--json"])
    assert found.exit_code == 2
    values = json.loads(found.stdout)
    assert "is empty" in values["error"]
    assert values["problems"], "the item file's findings are shown too"


def test_strict_check_stops_at_the_first_problem(folder):
    found = runner.invoke(app, ["check", "--events", str(folder), "--strict"])
    assert found.exit_code == 2
    assert "events.csv row 2" in found.stderr


def test_check_writes_the_refused_rows(folder):
    out = folder / "rejected.parquet"
    runner.invoke(app, ["check", "--events", str(folder / "events.csv"), "--rejected", str(out)])
    assert pl.read_parquet(out)["row"].to_list() == [2, 3]


def test_describe_gives_facts_as_json(folder):
    found = runner.invoke(app, ["describe", "--events", str(folder), "--json"])
    assert found.exit_code == 0
    facts = json.loads(found.stdout)
    assert facts["data"]["events"] == 2
    assert facts["events"]["types"] == {"click": 2}
    assert facts["events"]["first"] == "2020-09-13 12:26:40 UTC"
    assert facts["texts"]["title"]["filled"] == 1.0
    assert facts["fields"]["categories"] == {"type": "list", "filled": 1.0, "distinct": 2}
    assert facts["cleaning"]["rows_in"] == 4


def test_describe_shows_tables(folder):
    found = runner.invoke(app, ["describe", "--events", str(folder)])
    assert found.exit_code == 0
    assert "events per user" in found.stdout


def test_describe_counts_no_picture_that_is_not_there(folder):
    (folder / "items.csv").write_text("item_id,title,image,colour\na,Alpha,a.jpg,red\nb,Beta,,\n")
    fields = json.loads(runner.invoke(app, ["describe", "--events", str(folder), "--json"]).stdout)["fields"]
    assert (fields["image"]["filled"], fields["colour"]["filled"]) == (0.5, 0.5)


def test_describe_of_items_alone_works(folder):
    facts = json.loads(runner.invoke(app, ["describe", "--items", str(folder / "items.csv"), "--json"]).stdout)
    assert facts["data"]["items"] == 2
    assert "events" not in facts


def test_settings_of_the_command_line_are_used(folder):
    arguments = ["check", "--events", str(folder), "--json", "--set", "data.repair_text=false"]
    problems = json.loads(runner.invoke(app, arguments).stdout)["problems"]
    assert "text_repaired" not in {problem["name"] for problem in problems}


def test_fetch_shows_the_terms_apart_from_the_path(tmp_path, monkeypatch, folder):
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,10,4.0,964982703\n")
    (folder / "movies.csv").write_text("movieId,title,genres\n10,Heat (1995),Crime\n")
    found = runner.invoke(
        app, ["fetch", "ml-latest-small", "--to", str(tmp_path / "to"), "--from", str(folder), "--json"]
    )
    assert found.exit_code == 0
    assert json.loads(found.stdout) == {"name": "ml-latest-small", "folder": str(tmp_path / "to" / "ml-latest-small")}
    assert "GroupLens" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["data", "describe", "--events", "nowhere.csv"], "nowhere.csv: no such file"),
        (["data", "describe"], "no data"),
        (["data", "fetch", "netflix"], "unknown data set netflix"),
        (["data", "check", "--set", "data.strictt=1"], "did you mean strict"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(monkeypatch, capsys, arguments, said):
    monkeypatch.setattr(verbs, "VERBS", {"data": "langrec.cli.data:app", "more": "langrec.cli.data:describe"})
    monkeypatch.setattr(sys, "argv", ["langrec", *arguments])
    with pytest.raises(SystemExit) as ended:
        langrec.cli.main()
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


@pytest.mark.parametrize("flag", [[], ["--json"]])
def test_a_console_of_other_characters_shows_their_numbers(tmp_path, flag):
    (tmp_path / "items.csv").write_text("item_id,title\n咖啡,A\n咖啡,B\n", "utf-8")
    command = [sys.executable, "-m", "langrec", "data", "check", "--items", str(tmp_path / "items.csv"), *flag]
    environ = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, capture_output=True, env=environ)
    assert done.returncode == 0, done.stderr
    assert b"\\u5496\\u5561" in done.stdout
    if flag:
        assert "咖啡" in json.loads(done.stdout)["problems"][0]["places"][0]
