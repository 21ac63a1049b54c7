"""Fields of users from a folder of files to the service's answer."""

from __future__ import annotations

import polars as pl
from starlette.testclient import TestClient

import small_release
from langrec.bundle import Bundle
from langrec.data.load import load_dataset
from langrec.service.http import create_app
from langrec.settings import ServeSettings
from langrec.training import train


def test_what_a_folder_says_of_a_user_is_served_as_labels(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    lines += [
        f"{u}\ti{(u * 3 + step) % 8}\t{1_600_000_000 + 60 * (step * 20 + u)}" for u in range(20) for step in range(4)
    ]
    (data / "shop.inter").write_text("\n".join(lines))
    titles = ("tea", "bread", "cake", "milk", "soap", "rice", "salt", "jam")
    (data / "shop.item").write_text(
        "\n".join(["item_id:token\ttitle:token_seq", *(f"i{i}\t{t}" for i, t in enumerate(titles))])
    )
    (data / "shop.user").write_text(
        "user_id:token\tage:token\toccupation:token\n3\t24\tbaker\n7\t\twriter\n77\t1\tnobody\n"
    )
    dataset, _ = load_dataset(data)
    settings = small_release.settings(tmp_path, scorers=("popular", "popular_decayed", "itemknn"))
    folder, _ = train(dataset, settings, tmp_path / "releases", steps=tmp_path / "steps")

    held = pl.read_parquet(folder / "catalog" / "users.parquet")
    assert held.columns == ["user_id", "age", "occupation"] and held["user_id"].to_list() == list(dataset.users)
    assert list(Bundle.open(folder).users()) == list(dataset.users)

    serve = ServeSettings(store=f"sqlite:///{tmp_path / 'store.db'}")
    with TestClient(create_app(tmp_path / "releases", serve), "http://localhost") as client:
        assert client.get("/api/user/3").json() == {
            "UserId": "3",
            "Labels": {"age": 24, "occupation": "baker"},
            "Comment": "",
        }
        assert client.get("/api/user/7").json()["Labels"] == {"occupation": "writer"}
        assert client.get("/api/user/5").json()["Labels"] is None
        assert client.get("/api/user/77").status_code == 404
