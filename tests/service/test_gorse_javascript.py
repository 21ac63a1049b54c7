"""Every method of the published JavaScript client of Gorse works against the server unchanged."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
const { Gorse } = require("gorsejs");
const out = {};
(async () => {
  const g = new Gorse({ endpoint: process.argv[2], secret: "any key" });
  const at = "2024-05-01T12:00:00Z";
  const item = { ItemId: "kiln", IsHidden: false, Timestamp: at, Categories: ["craft"], Labels: ["clay"],
    Comment: "Kiln" };
  out.insertUser = await g.insertUser({ UserId: "ann", Labels: ["x"] });
  out.insertUsers = await g.insertUsers([{ UserId: "bob" }, { UserId: "cid" }]);
  out.updateUser = await g.updateUser("ann", { UserId: "ann", Comment: "hello" });
  out.getUser = await g.getUser("ann");
  out.getUsers = await g.getUsers({ n: 2 });
  out.nextUsers = await g.getUsers({ n: 2, Cursor: out.getUsers.Cursor });
  out.upsertItem = await g.upsertItem(item);
  out.upsertItems = await g.upsertItems([item, { ...item, ItemId: "wheel" }]);
  out.updateItem = await g.updateItem("kiln", { ...item, Comment: "Big kiln" });
  out.insertItemCategory = await g.insertItemCategory("kiln", "hot");
  out.deleteItemCategory = await g.deleteItemCategory("kiln", "craft");
  out.getItem = await g.getItem("kiln");
  out.getItems = await g.getItems({ n: 3 });
  out.insertFeedbacks = await g.insertFeedbacks([
    { FeedbackType: "click", UserId: "ann", ItemId: "kiln", Timestamp: new Date(at) },
    { FeedbackType: "click", UserId: "ann", ItemId: "sea00", Timestamp: at },
  ]);
  out.upsertFeedbacks = await g.upsertFeedbacks([
    { FeedbackType: "read", UserId: "ann", ItemId: "kiln", Timestamp: at },
  ]);
  const one = { type: "click", userId: "ann", itemId: "kiln" };
  out.getFeedback = await g.getFeedback(one);
  out.getFeedbacks = await g.getFeedbacks(undefined, { n: 5 });
  out.getFeedbacksByType = await g.getFeedbacks("click", { n: 5 });
  out.getItemFeedback = await g.getItemFeedback("kiln");
  out.getItemFeedbackByType = await g.getItemFeedbackByType("kiln", "read");
  out.getUserFeedback = await g.getUserFeedback("ann");
  out.getUserFeedbackByType = await g.getUserFeedbackByType("ann", "click");
  out.deleteFeedback = await g.deleteFeedback(one);
  out.afterDelete = await g.getUserFeedback("ann");
  out.getPopular = await g.getPopular({ cursorOptions: { n: 3 } });
  out.getPopularIn = await g.getPopular({ category: "sea", cursorOptions: { n: 3 } });
  out.getLatest = await g.getLatest({ category: "moon", cursorOptions: { n: 2 } });
  out.getRecommend = await g.getRecommend({ userId: "sea-u0", cursorOptions: { n: 3 } });
  out.getRecommendIn = await g.getRecommend(
    { userId: "sea-u0", category: "chess", cursorOptions: { n: 3, offset: 1 } });
  out.getSessionRecommend = await g.getSessionRecommend(
    [{ FeedbackType: "click", UserId: "x", ItemId: "bread00", Timestamp: at }], { cursorOptions: { n: 3 } });
  out.getItemNeighbors = await g.getItemNeighbors({ itemId: "moon00", cursorOptions: { n: 3 } });
  out.getUserNeighbors = await g.getUserNeighbors({ userId: "sea-u0", cursorOptions: { n: 3 } });
  out.deleteItem = await g.deleteItem("wheel");
  out.deleteUser = await g.deleteUser("bob");
  try { await g.getUser("bob"); } catch (error) { out.error = { name: error.name, code: error.code }; }
  console.log(JSON.stringify(out));
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm or node is absent")
    folder = tmp_path_factory.mktemp("gorsejs")
    # gorsejs needs tslib without saying so.
    command = ["npm", "install", "--no-audit", "--no-fund", "--fetch-retries=5", "--prefix", str(folder)]
    command += ["gorsejs@0.4.8", "tslib@2"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the package gorsejs could not be had in five minutes")
    if done.returncode:
        pytest.skip("the package gorsejs cannot be had here: npm install failed")
    return folder


@pytest.mark.slow
def test_every_method_of_gorsejs_works(node_folder: Path, live: Any):
    script = node_folder / "walk.js"
    script.write_text(SCRIPT, "utf-8")
    done = subprocess.run(["node", str(script), live.url], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert (out["insertUser"], out["insertUsers"], out["updateUser"]) == (1, 2, 1)
    assert out["getUser"] == {"UserId": "ann", "Labels": ["x"], "Comment": "hello"}
    assert [user["UserId"] for user in out["getUsers"]["Users"]] == ["ann", "bob"]
    assert out["nextUsers"]["Users"][0]["UserId"] == "bread-u0"
    assert (out["upsertItem"], out["upsertItems"], out["updateItem"]) == (1, 2, 1)
    assert (out["getItem"]["Categories"], out["getItem"]["Comment"]) == (["hot"], "Big kiln")
    assert len(out["getItems"]["Items"]) == 3
    assert (out["insertFeedbacks"], out["upsertFeedbacks"]) == (2, 1)
    assert out["getFeedback"]["ItemId"] == "kiln" and out["getFeedback"]["Timestamp"] == "2024-05-01T12:00:00Z"
    assert len(out["getFeedbacks"]["Feedback"]) == len(out["getFeedbacksByType"]["Feedback"]) == 5
    assert len(out["getItemFeedback"]) == 2 and len(out["getItemFeedbackByType"]) == 1
    assert len(out["getUserFeedback"]) == 3 and len(out["getUserFeedbackByType"]) == 2
    assert {row["FeedbackType"] + row["ItemId"] for row in out["afterDelete"]} == {"readkiln", "clicksea00"}
    assert len(out["getPopular"]) == 3 and {one["Id"][:3] for one in out["getPopularIn"]} == {"sea"}
    assert [one["Id"] for one in out["getLatest"]] == ["moon11", "moon10"]
    assert len(out["getRecommend"]) == 3 and {name[:5] for name in out["getRecommendIn"]} == {"chess"}
    assert {one["Id"][:5] for one in out["getSessionRecommend"]} == {"bread"}
    assert {one["Id"][:4] for one in out["getItemNeighbors"]} == {"moon"}
    assert {one["Id"][:3] for one in out["getUserNeighbors"]} == {"sea"}
    assert (out["deleteItem"], out["deleteUser"]) == (1, 1)
    assert out["error"] == {"name": "GorseException", "code": 404}
