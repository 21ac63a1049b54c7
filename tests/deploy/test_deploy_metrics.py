"""The dashboard and the alerts ask for metrics that a server has, in expressions that Prometheus takes."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from live_server import Process, planted, wait_until, write_planted

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/langrec.json").read_text("utf-8"))
RULES = yaml.safe_load((ROOT / "deploy/prometheus/langrec.rules.yaml").read_text("utf-8"))
PROMETHEUS = ROOT / "deploy/prometheus"
# Made by Prometheus itself, for every server that it asks.
OF_PROMETHEUS = {"up"}


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions():
    """Everything that the dashboard and the alerts ask, with where."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def metrics_of(expression):
    return set(re.findall(r"\b((?:langrec|process)_\w+|up)\b", re.sub(r'"[^"]*"', '""', expression)))


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """Names and labels of a server's metrics after some requests."""
    folder = tmp_path_factory.mktemp("scraped")
    write_planted(folder / "releases", planted()[1])
    with pytest.MonkeyPatch.context() as environment:
        # Quality is worked out at once, and the release is older than it may be: so a warning is there too.
        environment.setenv("LANGREC_FEEDBACK_SECONDS", "1")
        environment.setenv("LANGREC_FEEDBACK_MOST_RELEASE_DAYS", "0.000001")
        # No second list of one worker has the time for diversity.
        environment.setenv("LANGREC_SERVE_BUDGET_DIVERSITY_MS", "0.000001")
        server = Process(folder / "releases", f"sqlite:///{folder / 'store.db'}", "--workers", "2")
    try:
        server.wait()
        for _ in range(4):
            assert server.client.get("/api/recommend/sea-u0").status_code == 200
        server.client.get("/api/search", params={"q": "whale"})

        # Of another length each time: a list that was given before is not worked out again, for half a minute.
        lengths = itertools.cycle(range(2, 40))

        def complete():
            server.client.post("/api/recommend", json={"user": "sea-u0", "diversity": 0.5, "k": next(lengths)})
            text = server.client.get("/metrics").text
            lately = ("impressions_total", "warning{", "click_through_by_place{", "stage_skipped_total{")
            there = ('cache="lists"', *(f"langrec_{name}" for name in lately))
            return text if all(one in text for one in there) else None

        text = wait_until(complete, 120)
    finally:
        server.close()
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line and line[0] != "#":
            name, _, labels = line.rpartition(" ")[0].partition("{")
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


@pytest.mark.slow
def test_every_metric_that_is_asked_for_exists_with_its_labels(scraped):
    asked = list(expressions())
    assert len(asked) > 25
    for where, expression in asked:
        names = metrics_of(expression)
        assert names, where
        assert names - OF_PROMETHEUS <= set(scraped), f"{where}: the server has no {names - set(scraped)}"
        known = set().union(*(scraped.get(name, set()) for name in names)) | {"job", "instance", "le"}
        labels = set(re.findall(r"[{,]\s*(\w+)\s*[=!]~?=?", expression))
        labels |= {
            one for group in re.findall(r"by \(([^)]*)\)", expression) for one in group.replace(" ", "").split(",")
        }
        assert labels <= known, f"{where}: there are no labels {labels - known}"
        legend = set(re.findall(r"\{\{(\w+)\}\}", expression))
        assert legend <= known


@pytest.mark.slow
def test_every_metric_that_a_server_has_is_shown_or_warned_of(scraped):
    asked = set().union(*(metrics_of(expression) for _, expression in expressions()))
    # A histogram is shown when any of its series is; `_created` is the client library's own.
    series = re.compile(r"_(bucket|sum|count|created)$")
    had = {series.sub("", name) for name in scraped if name.startswith("langrec_") and not name.endswith("_created")}
    assert len(had) >= 20
    assert had <= {series.sub("", name) for name in asked}


def test_the_check_of_names_would_find_a_slip():
    expression = 'sum(rate(langrec_requets_total{route="/langrec_x"}[5m])) / up'
    assert metrics_of(expression) == {"langrec_requets_total", "up"}


def test_panels_lie_beside_one_another_and_each_has_its_own_number():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, f"{panel['title']} covers another"
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers) > 20
    for panel in panels():
        assert panel["title"] and panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"]), (
            "any Prometheus will do"
        )
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    used = {name for _, text in expressions() for name in re.findall(r"\$(\w+)", text)} - {"__rate_interval"}
    assert used | {"datasource"} == variables


def test_every_alert_says_what_how_bad_and_what_to_do():
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    for group in RULES["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"]
            assert rule["annotations"]["runbook"] == f"docs/operations.md: {rule['alert']}"
            assert f"**{rule['alert']}**" in text, f"docs/operations.md does not say what to do for {rule['alert']}"


def test_prometheus_takes_the_rules_and_they_fire_when_they_should():
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not on this machine: apt-get install prometheus")
    for command in (["check", "rules", "langrec.rules.yaml"], ["test", "rules", "langrec.test.yaml"]):
        done = subprocess.run([tool, *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_every_expression_of_the_dashboard(tmp_path):
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not on this machine: apt-get install prometheus")
    filled = [
        re.sub(r"\$__rate_interval", "5m", re.sub(r"\$(job|instance)", ".*", target["expr"]))
        for panel in panels()
        for target in panel["targets"]
    ]
    rules = [{"record": f"dashboard:{i}", "expr": one} for i, one in enumerate(filled)]
    (tmp_path / "dashboard.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([tool, "check", "rules", "dashboard.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_scrape_asks_the_servers_of_the_composition_with_a_key():
    (job,) = yaml.safe_load((PROMETHEUS / "scrape.yaml").read_text("utf-8"))["scrape_configs"]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "/etc/prometheus/langrec.key"}
    services = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text("utf-8"))["services"]
    assert {one.split(":")[0] for one in job["static_configs"][0]["targets"]} <= set(services)
    assert job["job_name"] == "langrec", "the alerts name it"
