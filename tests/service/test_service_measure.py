"""What the console says of a release's measures, also where there are none."""

from __future__ import annotations

import json

import pytest

from langrec.errors import BundleError
from langrec.service.measure import measured


def test_a_release_without_measures_is_named_and_not_where_it_lies(tmp_path):
    folder = tmp_path / "20261130T120000-abcdef12"
    (folder / "measure").mkdir(parents=True)
    for part in ("protocol.json", "metrics.json"):
        with pytest.raises(BundleError, match=f"{folder.name} was not measured: it has no measure/{part}") as caught:
            measured(folder, {})
        assert str(tmp_path) not in str(caught.value)
        (folder / "measure" / part).write_text(json.dumps({} if part == "protocol.json" else []), "utf-8")
    assert measured(folder, {})["release"] == folder.name
