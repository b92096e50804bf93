"""A person at the admin, beside the API and the command line: one training, cancelled, killed and orphaned, ends as if undisturbed."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest
from django.contrib.admin.utils import quote

from tests.examples.homes import ROOT, Home, made_home, until
from tests.examples.ups import Up

BARS = 120_000
FEATURE_STAGES = ("indicators", "memberships", "features")
#: Long enough to be caught in its features, with epochs of a fraction of a second.
STRATEGY = """
name: long_features
training_data:
  symbols: {mode: single, symbol: LONG}
  timeframes: {mode: multi_timeframe, list: [1m, 5m, 15m, 1h]}
indicators:
  rsi_14: {type: rsi, period: 14}
  cci_20: {type: cci, period: 20}
  will_9: {type: williamsr, period: 9}
  macd_1: {type: macd}
fuzzy_sets:
  strength: {indicator: rsi_14, low: [0, 30, 50], middle: [30, 50, 70], high: [50, 70, 100]}
  swing: {indicator: cci_20, low: [-300, -100, 0], middle: [-100, 0, 100], high: [0, 100, 300]}
  place: {indicator: will_9, low: [-100, -80, -50], middle: [-80, -50, -20], high: [-50, -20, 0]}
nn_inputs:
  - {fuzzy_set: strength}
  - {fuzzy_set: swing}
  - {fuzzy_set: place}
  - {raw_indicator: macd_1.histogram}
model: {type: mlp, architecture: {hidden_layers: [8]}, features: {lookback_periods: 4}}
training:
  labels: {source: zigzag, zigzag_threshold: 0.004, label_lookahead: 60}
  epochs: 16
  batch_size: 8192
  early_stopping: {enabled: false}
"""
LOAD = f"""
import django; django.setup()
from training.bars.series import store_frame
from training.pipeline.synthetic import make_bars
store_frame("LONG", "1m", make_bars({BARS}, "1m", 7), source="made up")
"""


@pytest.fixture
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as folder:
        home = made_home(Path(folder))
        environment = home.environment(DJANGO_SETTINGS_MODULE="ktrdr_site.settings")
        subprocess.run([sys.executable, "-c", LOAD], cwd=ROOT, env=environment, check=True)
        yield home


@pytest.fixture
def up(home: Home) -> Iterator[Up]:
    up = Up(home, ORPHAN_TIMEOUT_SECONDS=3, CHECKPOINT_EPOCH_INTERVAL=2)
    yield up
    up.stop()


class Admin:
    """A person's session in the admin: pages are fetched and forms sent, as a browser does it."""

    def __init__(self, up: Up) -> None:
        self.site, self.cookies = up.address, CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        self.page("admin/login/")
        assert "/admin/logout/" in self.send("admin/login/", username="admin", password=up.password, next="/admin/")

    def page(self, path: str) -> str:
        with self.opener.open(f"{self.site}{path}", timeout=30) as answer:
            return str(answer.read().decode())

    def send(self, path: str, **form: str) -> str:
        token = next(str(cookie.value) for cookie in self.cookies if cookie.name == "csrftoken")
        body = urlencode({**form, "csrfmiddlewaretoken": token}).encode()
        with self.opener.open(f"{self.site}{path}", body, timeout=30) as answer:
            return str(answer.read().decode())


class Api:
    def __init__(self, home: Home, site: str) -> None:
        self.site = site
        self.secret = home.run("tokens", "create", "admin", "test", "--scope", "admin").stdout.strip()

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.site}api/v1{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def horse_of(home: Home, operation: str) -> psutil.Process:
    assert home.value(operation, "status") == "running"
    return psutil.Process(int(home.value(operation, "process").partition("@")[0]))


def held_in_its_features(home: Home, operation: str) -> psutil.Process:
    """The process that trains, stopped while it computes features and outside of any transaction."""
    until(lambda: "stage memberships" in home.log(operation), "features", 90)
    horse = horse_of(home, operation)
    while True:
        horse.suspend()
        with closing(sqlite3.connect(home.folder / "ktrdr.sqlite3", timeout=0, isolation_level=None)) as database:
            try:
                database.execute("BEGIN IMMEDIATE").connection.rollback()
                break
            except sqlite3.OperationalError:
                horse.resume()
    assert home.log(operation).rsplit("stage ", 1)[1].split()[0] in FEATURE_STAGES
    return horse


def cancelled_in_the_admin(home: Home, admin: Admin, operation: str) -> None:
    """While it computes its features: a button on its page, then one on the page that asks whether that is meant."""
    page = f"admin/training/operation/{quote(operation)}/change/"
    horse = held_in_its_features(home, operation)
    try:
        button = re.search(r'href="/([^"]+/cancel/)">Cancel<', admin.page(page))
        assert button is not None
        assert "no epoch is completed yet" in admin.page(button[1]).lower()
        told = admin.send(button[1], confirmed="yes", reason="not this one")
    finally:
        horse.resume()
    assert "is asked to stop" in told and "Asked to stop: not this one" in told
    until(lambda: home.value(operation, "status") == "cancelled", "the end")
    assert "stage train" not in home.log(operation)
    assert 'class="pill cancelled"' in admin.page(page)
    assert home.saved_epochs(operation) == []


def killed_with_its_worker(home: Home, operation: str) -> None:
    horse = horse_of(home, operation)
    worker = horse.parent()
    assert worker is not None
    horse.suspend()  # so that it cannot save when its worker is gone
    worker.kill()
    horse.kill()


def test_cancelled_in_the_admin_resumed_killed_reaped_and_resumed_it_ends_in_the_same_weights(home: Home, up: Up) -> None:
    api, admin = Api(home, up.address), Admin(up)
    operation = api.post("/trainings/start", strategy_yaml=STRATEGY)["operation_id"]
    cancelled_in_the_admin(home, admin, operation)

    assert api.post(f"/operations/{operation}/resume")["attempt"] == 2
    until(lambda: "epoch 5:" in home.log(operation, 2), "epoch 5", 90)
    killed_with_its_worker(home, operation)
    until(lambda: home.value(operation, "status") != "running", "the reaper", 15)
    assert home.value(operation, "status") == "interrupted", up.said
    assert "no sign of life" in home.value(operation, "error")
    up.heard(rf"{operation}: no sign of life")

    until(lambda: len(re.findall(r"^cpu +worker ", up.said, re.MULTILINE)) == 2, "the worker that was started again", 60)
    done = home.run("operations", "resume", operation, "--follow")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (home.value(operation, "status"), home.value(operation, "attempt")) == ("completed", 3)
    assert "continues bit for bit from epoch" in home.value(operation, "certificate")

    undisturbed = api.post("/trainings/start", strategy_yaml=STRATEGY)["operation_id"]
    until(lambda: home.value(undisturbed, "status") == "completed", "the undisturbed run", 90)
    assert home.weights(operation) == home.weights(undisturbed)
