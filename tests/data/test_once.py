"""What a folder holds twice lies on the disk once."""

from __future__ import annotations

from langrec.data.once import link_equal, size_of


def test_equal_files_become_one_and_others_stay_apart(tmp_path):
    (tmp_path / "inner").mkdir()
    for name, text in {
        "a": b"x" * 50,
        "inner/b": b"x" * 50,
        "c": b"y" * 50,
        "d": b"x" * 49,
        "inner/e": b"x" * 50,
    }.items():
        (tmp_path / name).write_bytes(text)
    assert size_of(tmp_path) == 249
    assert link_equal(tmp_path, least=50) == 100
    assert size_of(tmp_path) == 149
    assert (tmp_path / "a").samefile(tmp_path / "inner/b") and (tmp_path / "a").samefile(tmp_path / "inner/e")
    assert not (tmp_path / "a").samefile(tmp_path / "c")
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == {
        **dict.fromkeys("abe", b"x" * 50),
        "c": b"y" * 50,
        "d": b"x" * 49,
    }
    assert link_equal(tmp_path, least=50) == 0


def test_small_files_are_left_alone(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(b"x" * 50)
    assert link_equal(tmp_path, least=51) == 0 and size_of(tmp_path) == 100


def test_where_there_are_no_links_files_stay_whole(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr("langrec.data.once.os.link", refuse)
    for name in "ab":
        (tmp_path / name).write_bytes(b"x" * 50)
    assert link_equal(tmp_path, least=1) == 0 and sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
