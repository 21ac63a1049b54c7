"""A release: the same answers after it was written and opened, and no wrong answer from one that is not whole."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from langrec import Recommender
from langrec.bundle import Bundle, _read_mix
from langrec.choosing import choose, fit
from langrec.encoders.hashing import HashingEncoder
from langrec.errors import BundleError
from langrec.manifest import problem_of, read_manifest, state_of
from langrec.releases import CURRENT, current, point_to, releases, rollback
from langrec.settings import ServeSettings
from langrec.training import read_texts, train
from langrec.types import Query
from small_release import WORLD, dataset, history, release, settings

SECRET = "s3cr3t"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A release whose settings hold secrets."""
    serve = ServeSettings(keys=f"admin:{SECRET}", store=f"postgresql://me:{SECRET}@host/db")
    return release(tmp_path_factory.mktemp("made"), serve=serve)


@pytest.fixture
def folder(made, tmp_path):
    """A folder of two releases, of which the later is in use: copies of one, so that they can be harmed."""
    for stamp in ("20250101T000000-aaaaaaaa", "20250202T000000-bbbbbbbb"):
        shutil.copytree(made, tmp_path / "releases" / stamp)
    point_to(tmp_path / "releases", "20250202T000000-bbbbbbbb")
    return tmp_path / "releases"


OLD, NEW = "20250101T000000-aaaaaaaa", "20250202T000000-bbbbbbbb"


def asked():
    queries = [Query(user=f"u{user}", history=history(user)[0], history_at=history(user)[1]) for user in range(5)]
    return [*queries, Query(), Query(text="anchor oven"), Query(history=("warm",), k=100)]


def test_a_release_answers_as_what_was_trained_does(made, tmp_path):
    from langrec.data.items import Items
    from langrec.data.splits import split_events

    data, chosen_by = dataset(), settings(made.parent.parent)
    reading = read_texts(data, chosen_by, lambda *_: None)
    split = split_events(data.events, len(data.users), chosen_by.split)
    chosen = choose(data, split, reading, chosen_by, lambda *_: None, tmp_path)
    fusion = fit(data, data.events, reading, chosen, chosen_by)
    trained = Recommender(
        Items(data.catalogue), data.users, fusion, reading.encoders, text_fields=chosen_by.encoder.fields
    )
    opened = Bundle.open(made).recommender()
    for ours, theirs in zip(opened.recommend(asked()), trained.recommend(asked()), strict=True):
        assert ours.ids == theirs.ids
        np.testing.assert_allclose(ours.items.scores, theirs.items.scores, atol=1e-6)
        assert ours.trace.release == made.name


def test_a_folder_of_releases_opens_the_current_one(folder):
    assert Bundle.open(folder).folder == folder / NEW
    point_to(folder, OLD)
    assert Bundle.open(folder).folder == folder / OLD
    assert Recommender.load(folder).n_items == len(dataset().catalogue)


def every_file(made):
    return sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())


def harmed(path, how):
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "cut short":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "emptied":
        path.write_bytes(b"")
    else:  # one bit, in the middle
        place = len(whole) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    return whole


@pytest.mark.parametrize("how", ["missing", "cut short", "emptied", "one bit"])
def test_a_release_that_is_not_whole_is_refused_with_the_file_named(made, tmp_path, how):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    files = every_file(copy)
    assert len(files) > 25
    for name in files:
        if name.name == "manifest.json" and how == "one bit":
            continue  # it names the others' sums; nothing names its own
        whole = harmed(copy / name, how)
        if not (how == "cut short" and not whole):
            with pytest.raises(BundleError, match=str(name)):
                Bundle.open(copy)
        (copy / name).write_bytes(whole)
    Bundle.open(copy)


@pytest.mark.parametrize("name", ["mix.json", "counts.npy", "items.parquet", "users.parquet", "encoder.json"])
def test_even_unchecked_a_part_that_cannot_be_read_is_named(made, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    path = next(iter(sorted(copy.rglob(name))))
    for damage in (b"", b"{}", path.read_bytes()[:40]):
        path.write_bytes(damage)
        with pytest.raises(BundleError, match=str(path.relative_to(copy).parent)):
            Bundle.open(copy, verify=False).recommender()


def damage_unseen(release):
    """Changes a byte of a part; its size and its time of writing are as before."""
    part = release / "retrieval" / "bm25" / "words.json"
    before, text = part.stat(), bytearray(part.read_bytes())
    text[len(text) // 2] ^= 1
    part.write_bytes(text)
    os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_files_that_were_compared_are_read_again_only_where_something_changed(folder):
    release = folder / NEW
    manifest = read_manifest(release)
    checked = state_of(release, manifest)
    assert problem_of(release, manifest, checked=checked) is None
    damage_unseen(release)
    assert "words.json" in str(problem_of(release, manifest, checked=checked))
    with pytest.raises(BundleError, match=r"words\.json: its content has changed"):
        Bundle.open(release, checked=checked)
    # In the state in which they are now they were compared by nobody: that they are taken for sound shows that it is
    # the state alone which spares the reading.
    assert problem_of(release, manifest, checked=state_of(release, manifest)) is None


def test_another_file_in_place_of_one_that_was_compared_is_read(folder):
    release = folder / NEW
    manifest = read_manifest(release)
    checked = state_of(release, manifest)
    part = release / "ranking" / "counts.npy"
    shutil.copy2(part, part.with_suffix(".new"))
    part.with_suffix(".new").replace(part)
    assert state_of(release, manifest) != checked
    assert problem_of(release, manifest, checked=checked) is None, "it is the same"
    part.unlink()
    assert state_of(release, manifest) is None
    assert "counts.npy: is missing" in str(problem_of(release, manifest, checked=checked))


def test_a_manifest_without_one_of_its_parts_is_refused(made, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    for name in ("format", "stamp", "settings", "models", "encoders", "data", "files"):
        less = {key: value for key, value in manifest.items() if key != name}
        (copy / "manifest.json").write_text(json.dumps(less))
        with pytest.raises(BundleError, match=rf"manifest\.json.*{name}"):
            Bundle.open(copy)
    for value in ([], {"README.md": None}, {"README.md": {"bytes": 3}}):
        (copy / "manifest.json").write_text(json.dumps({**manifest, "files": value}))
        with pytest.raises(BundleError, match=r"manifest\.json.*files"):
            Bundle.open(copy)
    for text in ("[]", "null", "no JSON"):
        (copy / "manifest.json").write_text(text)
        with pytest.raises(BundleError, match=r"manifest\.json"):
            Bundle.open(copy)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("stamp", "../other/20250101T000000-aaaaaaaa"),
        ("stamp", 7),
        ("models", {"../../x": {"kind": "ease", "params": {}}}),
        ("encoders", {"/tmp": "hashing/1/256"}),
        ("files", {"../../etc/passwd": {"sha256": "0", "bytes": 1}}),
    ],
)
def test_a_manifest_that_leads_out_of_its_folder_is_refused(made, tmp_path, part, value):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, part: value}))
    with pytest.raises(BundleError, match="not of this release"):
        Bundle.open(copy, verify=False)


def test_json_that_nests_without_end_is_damaged(made, tmp_path):
    for name in ("manifest.json", "retrieval/ease/scorer.json"):
        copy = tmp_path / name.replace("/", "-")
        shutil.copytree(made, copy)
        (copy / name).write_text("[" * 200_000)
        with pytest.raises(BundleError):
            Bundle.open(copy, verify=False).recommender()


def test_an_array_that_claims_more_than_memory_is_damaged(made, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    for path in sorted(copy.rglob("*.npy")):
        whole = path.read_bytes()
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)})
        with pytest.raises(BundleError, match=str(path.relative_to(copy).parent)):
            Bundle.open(copy, verify=False).recommender()
        path.write_bytes(whole)


@pytest.mark.parametrize(("number", "way_out"), [(999, "install a newer langrec"), (1, "train again")])
def test_a_release_of_another_format_says_what_to_do(made, tmp_path, number, way_out):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "format": number}))
    with pytest.raises(BundleError, match=rf"format {number}.*{way_out}"):
        Bundle.open(copy)
    assert f"format {number}" in releases(tmp_path)[0].problem


def test_settings_of_a_later_version_are_refused_in_a_sentence(made, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["settings"]["ranking"]["quantum"] = 3
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"quantum.*train again"):
        Bundle.open(copy).recommender()


def test_no_file_of_a_release_is_a_pickle(made):
    kinds = {path.suffix for path in made.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".npy", ".npz", ".parquet", ".safetensors", ".onnx", ".md", ".html", ".txt"}
    for path in made.rglob("*"):
        if path.suffix in (".npy", ".npz"):
            held = np.load(path, allow_pickle=False)
            arrays = [held] if path.suffix == ".npy" else [held[name] for name in held.files]
            assert all(array.dtype != object for array in arrays)


def test_the_manifest_is_plain_json_and_holds_no_secret(made):
    def no_constant(name):
        raise AssertionError(f"{name} is not JSON")

    text = (made / "manifest.json").read_text()
    manifest = json.loads(text, parse_constant=no_constant)
    assert all(SECRET not in path.read_text("utf-8", "replace") for path in made.rglob("*") if path.is_file())
    assert manifest["stamp"] == made.name
    assert manifest["data"]["n_events"] == len(WORLD.dataset.events)
    assert set(manifest["files"]) == {str(name) for name in every_file(made)} - {"manifest.json"}
    assert {row["model"] for row in manifest["metrics"]} >= {"mix", "ease"}
    assert {row["slice"] for row in manifest["metrics"]} == {"all"}
    assert manifest["notes"] == []


def test_the_model_card_shows_the_measured_scorers(made):
    card = (made / "README.md").read_text()
    assert f"# Release {made.name}" in card
    assert "| mix |" in card
    assert "Note:" not in card


# ---- the folder of releases ------------------------------------------------------------------------------------------


def test_releases_are_listed_newest_first(folder):
    listed = releases(folder, verify=True)
    assert [one.stamp for one in listed] == [NEW, OLD]
    assert [one.current for one in listed] == [True, False]
    assert [one.problem for one in listed] == [None, None]
    assert all(one.size_bytes > 10_000 for one in listed)


def test_a_half_written_release_is_not_listed(folder):
    shutil.copytree(folder / NEW, folder / ".20250303T000000-cccccccc.half")
    (folder / ".measured-x").mkdir()
    assert [one.stamp for one in releases(folder)] == [NEW, OLD]
    assert Bundle.open(folder).folder.name == NEW


def test_a_damaged_release_is_listed_with_its_problem(folder):
    harmed(folder / OLD / "ranking" / "mix.json", "one bit")
    harmed(folder / NEW / "manifest.json", "cut short")
    newest, oldest = releases(folder, verify=True)
    assert "manifest.json" in newest.problem
    assert newest.manifest is None
    assert "mix.json" in oldest.problem
    assert releases(folder)[1].problem is None  # its sizes are right, and its sums were not asked for


def test_no_releases_are_an_empty_list(tmp_path):
    assert releases(tmp_path) == []
    assert releases(tmp_path / "nowhere") == []


def test_rolling_back_takes_the_one_before(folder):
    assert rollback(folder) == OLD
    assert current(folder).name == OLD
    with pytest.raises(BundleError, match="no earlier"):
        rollback(folder)
    assert current(folder).name == OLD


def test_rolling_forward_is_by_name(folder):
    rollback(folder)
    assert rollback(folder, NEW) == NEW
    assert Bundle.open(folder).folder.name == NEW


def test_rolling_back_passes_over_what_is_damaged(folder, made):
    oldest = "20240101T000000-00000000"
    shutil.copytree(made, folder / oldest)
    harmed(folder / OLD / "ranking" / "mix.json", "one bit")
    assert rollback(folder) == oldest


def test_rolling_back_to_what_is_not_there_or_damaged_changes_nothing(folder):
    harmed(folder / OLD / "ranking" / "mix.json", "one bit")
    for stamp, says in (("20200101T000000-dddddddd", "no release"), (OLD, r"mix\.json"), (None, "no earlier")):
        with pytest.raises(BundleError, match=says):
            rollback(folder, stamp)
    assert current(folder).name == NEW


def test_a_damaged_current_release_can_be_left(folder):
    harmed(folder / NEW / "manifest.json", "emptied")
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.open(folder)
    assert rollback(folder) == OLD
    Bundle.open(folder)


@pytest.mark.parametrize("text", ["", "20200101T000000-dddddddd\n", "../elsewhere", "/", ".", "a/b", "\n\n"])
def test_a_current_that_names_nothing_is_refused(folder, text):
    (folder / CURRENT).write_text(text)
    with pytest.raises(BundleError, match="CURRENT"):
        Bundle.open(folder)
    assert [one.current for one in releases(folder)] == [False, False]
    assert rollback(folder) == NEW  # the newest sound one
    Bundle.open(folder)


def test_a_current_that_is_no_text_is_refused(folder):
    (folder / CURRENT).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match="release"):
        Bundle.open(folder)
    assert len(releases(folder)) == 2


def test_a_folder_without_releases_says_how_to_make_one(tmp_path):
    with pytest.raises(BundleError, match="langrec train"):
        current(tmp_path)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.open(tmp_path)


def test_two_releases_of_one_second_get_stamps_in_order(tmp_path):
    plain = settings(tmp_path, scorers=("popular",))
    stamps = [train(dataset(), plain, tmp_path / "releases", steps=tmp_path)[0].name for _ in range(2)]
    assert stamps[0] < stamps[1]
    assert [one.stamp for one in releases(tmp_path / "releases")] == stamps[::-1]
    assert current(tmp_path / "releases").name == stamps[1]


def test_trainings_that_write_at_once_get_a_second_each(tmp_path, monkeypatch):
    from langrec.retrieval.popular import Popular

    seconds = itertools.chain(
        [0, 0], itertools.count(1)
    )  # the second writer looks at the clock within the first's second

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=next(seconds))

    plain, inner, save = settings(tmp_path, scorers=("popular",)), [], Popular.save

    def saved(self, path):
        if not inner:
            inner.append("at once")
            inner.append(train(dataset(), plain, tmp_path / "releases", steps=tmp_path)[0].name)
        save(self, path)

    monkeypatch.setattr("langrec.bundle.datetime", Clock)
    monkeypatch.setattr(Popular, "save", saved)
    outer = train(dataset(), plain, tmp_path / "releases", steps=tmp_path)[0].name
    assert {outer, inner[1]} == {one.stamp for one in releases(tmp_path / "releases", verify=True)}
    assert [one.problem for one in releases(tmp_path / "releases", verify=True)] == [None, None]


def test_processes_that_point_to_releases_at_once_leave_one_in_use(tmp_path):
    stamps = [f"2030010{i}T000000-aaaaaaaa" for i in range(1, 5)]
    for stamp in stamps:
        (tmp_path / stamp).mkdir()
    with ThreadPoolExecutor(len(stamps)) as pool:
        list(pool.map(lambda stamp: [point_to(tmp_path, stamp) for _ in range(30)], stamps))
    assert current(tmp_path).name in stamps
    assert sorted(path.name for path in tmp_path.iterdir()) == [*stamps, "CURRENT"]


def test_a_release_names_the_folder_of_its_encoder_so_that_every_working_folder_finds_it(tmp_path, monkeypatch):
    HashingEncoder().save(tmp_path / "small" / "model")
    monkeypatch.chdir(tmp_path)
    plain = settings(tmp_path, scorers=("popular", "vectors"))
    named = replace(plain, encoder=replace(plain.encoder, name="small/model"))
    made, _ = train(dataset(), named, tmp_path / "releases", steps=tmp_path)
    monkeypatch.chdir("/")
    again = Bundle.open(made).settings
    assert again.encoder.name == str(tmp_path / "small" / "model")
    retrained, _ = train(dataset(), again, tmp_path / "releases", steps=tmp_path)
    assert Bundle.open(retrained).settings.encoder == again.encoder


def test_a_training_that_breaks_while_writing_leaves_the_releases_as_they_were(folder, tmp_path, monkeypatch):
    from langrec.retrieval.popular import Popular

    def broken(self, path):
        raise OSError("no space left")

    monkeypatch.setattr(Popular, "save", broken)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(OSError, match="no space"):
        train(dataset(), settings(tmp_path, scorers=("popular",)), folder, steps=tmp_path)
    assert [one.stamp for one in releases(folder)] == [NEW, OLD]
    assert current(folder).name == NEW
    left = {path.name for path in folder.iterdir()} - set(before)
    assert not left


@pytest.mark.parametrize(("said", "only"), [({"rare": True}, "rare"), ({"rare": False}, ""), ({"only": "new"}, "new")])
def test_a_signal_says_of_which_items_it_speaks_also_in_earlier_releases(tmp_path, said, only):
    path = tmp_path / "mix.json"
    signals = [{"scorer": "bm25", "params": {}, **said}]
    mix = {"names": ["bm25"], "kind": "linear", "weights": [1.0], "rrf_k": 60.0}
    path.write_text(json.dumps({**mix, "signals": signals}))
    assert _read_mix(path)[0][0].only == only
    path.write_text(json.dumps({**mix, "signals": [{"scorer": "bm25", "params": {}, "only": "old"}]}))
    with pytest.raises(BundleError, match=r"mix\.json.*'old'"):
        _read_mix(path)
