"""The topology of deploy/ as local processes: PostgreSQL, two servers, nginx; servers die and are restarted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from live_server import planted, write_planted

SCRIPT = Path(__file__).parents[2] / "deploy/local.py"


@pytest.mark.slow
def test_two_servers_behind_nginx_lose_no_request_and_no_write(tmp_path):
    found = tmp_path / "found.json"
    write_planted(tmp_path / "releases", planted()[1])
    command = [sys.executable, str(SCRIPT), "--releases", str(tmp_path / "releases"), "--json", str(found)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(found.read_text("utf-8"))
    assert said["tls_is_ended_by_nginx"] == {"version": "TLSv1.3"} and len(said) == 5
    for name in ("a_server_dies", "servers_are_restarted"):
        assert said[name]["failed"] == said[name]["lost"] == 0
        assert said[name]["reads"] > 20 and said[name]["writes"] > 20
