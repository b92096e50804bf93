"""`make audit`: what is known of the pinned packages is told, and that nobody could be asked is told as that."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.campaigns.audit import CLEAN, CONSTRAINTS, FOUND, NOT_ASKED
from tests.examples.homes import ROOT

FLAW = {
    "id": "GHSA-xxxx", "aliases": ["CVE-2026-1"], "summary": "it opens the door", "details": "", "published": "2026-01-01T00:00:00Z",
    "modified": "2026-01-01T00:00:00Z", "schema_version": "1.6.0",
    "affected": [{"package": {"name": "door", "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.3"}]}]}],
}  # fmt: skip


@pytest.fixture
def database() -> Iterator[str]:
    """A database that knows a flaw of `door`, none of others, and does not answer for `mute`."""

    class Database(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
            body = json.dumps({"vulns": [FLAW]} if name == "door" else {}).encode()
            self.send_response(500 if name == "mute" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Not into the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Database)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()


def audit(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.campaigns.audit", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(("pins", "code", "said"), [
    ("wall==1.0\nroof==2.0\n", CLEAN, "2 pinned packages, no known vulnerabilities"),
    ("wall==1.0\ndoor==1.2\n", FOUND, "door 1.2: CVE-2026-1 (GHSA-xxxx), fixed in 1.3\n2 pinned packages, 1 known vulnerability"),
    ("wall==1.0\nmute==1.2\n", NOT_ASKED, "NOT AUDITED: the database of known vulnerabilities"),
])  # fmt: skip
def test_what_the_database_knows_is_told(pins: str, code: int, said: str, database: str, tmp_path: Path) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(f"# pinned\n{pins}")
    done = audit("--database", database, "--constraints", constraints)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_without_a_network_it_says_that_nobody_was_asked(tmp_path: Path) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("Django==5.2.19\n")
    refused = "http://127.0.0.1:9"  # where nobody listens
    done = audit("--constraints", constraints, HTTPS_PROXY=refused, https_proxy=refused, NO_PROXY="", no_proxy="")
    assert done.returncode == NOT_ASKED and done.stdout == ""
    assert re.match(r"NOT AUDITED: the database .* could not be asked: \S", done.stderr) and done.stderr.count("\n") == 1


def test_every_package_is_pinned_in_a_way_that_it_reads() -> None:
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if line and not line.startswith("#")]
    assert lines and all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
