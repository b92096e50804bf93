"""What is promised of several machines holds on hosts that are cut from each other: packets vanish, nobody says no."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.examples.homes import ROOT, Home, operation_in, until
from tests.examples.hosts import Service
from tests.examples.sites import BATCH, EPOCHS, LONG, Site, made_site, missing

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
redis = pytest.importorskip("redis", reason="redis is not installed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif("KTRDR_TEST_HOSTS" not in os.environ, reason="takes many minutes and root: run it by `make hosts`"),
]
#: Shorter than by default, so that no test waits for minutes.
SETTINGS = {
    "DATABASE_AWAY_SECONDS": 3, "DATABASE_BUSY_SECONDS": 2, "HEARTBEAT_SECONDS": 0.5, "ORPHAN_CHECK_INTERVAL_SECONDS": 1,
    "ORPHAN_TIMEOUT_SECONDS": 600, "CHECKPOINT_EPOCH_INTERVAL": 10, "KTRDR_RETRY_SECONDS": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    if why := missing():
        pytest.skip(why)
    with made_site(SETTINGS) as site:
        yield site


@pytest.fixture(scope="module")
def web(site: Site) -> Service:
    return site.begin_web()


@pytest.fixture(scope="module")
def worker(site: Site, web: Service) -> Service:
    return site.begin_worker()


@pytest.fixture(scope="module")
def weights(site: Site, home: Home) -> bytes:
    """Of the same training undisturbed, in its own process on SQLite."""
    done = home.run("train", home.strategy("hosts", EPOCHS, BATCH), "--inline")
    assert done.returncode == 0, done.stdout + done.stderr
    return home.weights(operation_in(done.stdout))


def test_a_training_started_on_one_host_is_trained_on_another(site: Site, worker: Service, weights: bytes) -> None:
    assert site.hosts.ask("web", "GET", "/api/v1/healthz")[0] == 200
    operation = site.start("hosts")
    site.becomes(operation, "completed")
    assert site.rows("SELECT host, attempt FROM training_operation WHERE id = %s", operation) == [("worker", 1)]
    assert site.has_every_epoch_once(operation)
    assert site.home.weights(operation) == weights


def test_training_goes_on_while_its_host_is_cut_from_the_database(site: Site, worker: Service, weights: bytes) -> None:
    operation = site.start("hosts")
    until(lambda: site.trained(operation) >= 3, "the third epoch", LONG)
    with site.hosts.cut("worker", "db"):
        until(lambda: re.search(rf"{operation}.* could not be", worker.said), "a connection that is given up", LONG)
        seen = site.trained(operation)
        assert seen < EPOCHS - 20, "too few epochs for a cut"
        until(lambda: site.trained(operation) >= seen + 10, "ten epochs more while nothing can be written", LONG)
        written = site.rows("SELECT count(*) FROM training_epochmetric WHERE operation_id = %s", operation)[0][0]
        assert written < seen + 10
    site.becomes(operation, "completed")
    assert site.rows("SELECT attempt FROM training_operation WHERE id = %s", operation) == [(1,)]
    assert site.has_every_epoch_once(operation)
    assert site.home.weights(operation) == weights


def test_a_training_that_is_taken_for_dead_while_it_is_cut_off_goes_on(site: Site, worker: Service, weights: bytes) -> None:
    with watching(site):
        operation = site.start("hosts")
        until(lambda: len(site.home.saved_epochs(operation)) > 0, "a checkpoint", LONG)
        with site.hosts.cut("worker", "db"):
            until(lambda: site.status(operation) == "interrupted", "somebody who misses it", LONG)
            seen = site.trained(operation)
            assert seen < EPOCHS - 20, "too few epochs for a cut"
            until(lambda: site.trained(operation) >= seen + 10, "ten epochs more while nobody knows of it", LONG)
        until(lambda: f"{operation} attempt 1 was taken for dead, and goes on" in worker.said, "its return", LONG)
        until(lambda: site.status(operation) == "completed", "its end", LONG)
    assert site.rows("SELECT attempt, error FROM training_operation WHERE id = %s", operation) == [(1, "")]
    assert site.has_every_epoch_once(operation)
    assert site.home.weights(operation) == weights


def test_a_training_that_was_resumed_while_it_is_cut_off_ends_by_itself(site: Site, worker: Service, weights: bytes) -> None:
    with watching(site):
        operation = site.start("hosts")
        until(lambda: len(site.home.saved_epochs(operation)) > 0, "a checkpoint", LONG)
        with site.hosts.cut("worker", "db"):
            until(lambda: site.status(operation) == "interrupted", "somebody who misses it", LONG)
            assert site.hosts.ask("web", "POST", f"/api/v1/operations/{operation}/resume", {}, site.token)[0] == 202
        until(lambda: f"{operation} attempt 1: superseded" in worker.said, "the end of what was taken for dead", LONG)
        site.becomes(operation, "completed")
    assert site.rows("SELECT attempt FROM training_operation WHERE id = %s", operation) == [(2,)]
    query = "SELECT DISTINCT epoch FROM training_epochmetric WHERE operation_id = %s ORDER BY epoch"
    assert [row[0] for row in site.rows(query, operation)] == list(range(EPOCHS))
    assert site.home.weights(operation) == weights


#: Looks for lost trainings as every worker does, and misses one sooner.
WATCHER = """
import django; django.setup()
import sys, time
from training.workers.reaper import Reaper
reaper = Reaper()
print("looking", flush=True)
while True:
    for sentence in reaper.look():
        print(sentence, flush=True)
    time.sleep(0.5)
"""


@contextlib.contextmanager
def watching(site: Site) -> Iterator[None]:
    settings = site.environment(DJANGO_SETTINGS_MODULE="ktrdr_site.settings", ORPHAN_TIMEOUT_SECONDS=5)
    how = {"cwd": ROOT, "env": settings, "stdout": subprocess.PIPE}
    watcher = site.hosts.begin("web", sys.executable, "-c", WATCHER, **how)
    try:
        assert watcher.stdout is not None and watcher.stdout.readline() == "looking\n"
        yield
    finally:
        site.hosts.end(watcher)


def test_a_web_server_that_is_cut_from_the_database_says_so_and_comes_back(site: Site, web: Service) -> None:
    def answered(path: str) -> int:
        return site.hosts.ask("web", "GET", path)[0]

    assert (answered("/api/v1/healthz"), answered("/sign-in/")) == (200, 200)
    with site.hosts.cut("web", "db"):
        assert answered("/api/v1/healthz") == 503
        status, told = site.hosts.ask("web", "GET", "/api/v1/operations", token=site.token)
        assert status == 503, told
    until(lambda: answered("/api/v1/healthz") == 200, "the end of the outage")
    assert site.hosts.ask("web", "GET", "/api/v1/operations", token=site.token)[0] == 200
    assert web.process.poll() is None


def test_a_web_server_that_is_cut_from_redis_says_so_and_comes_back(site: Site, web: Service) -> None:
    with site.hosts.cut("web", "redis"):
        status, told = site.hosts.ask("web", "GET", "/api/v1/healthz", token=site.token)
        assert (status, told["redis_state"]) == (503, "away")
        assert site.hosts.ask("web", "GET", "/api/v1/operations", token=site.token)[0] == 200
    until(lambda: site.hosts.ask("web", "GET", "/api/v1/healthz")[0] == 200, "the end of the outage")


HOLDER = """
import django; django.setup()
from django.db import transaction
from strategies_app.models import Strategy
from training.models import Operation, Status
import sys
with open(sys.argv[1]) as file:
    version = Strategy.objects.import_text(file.read(), "held.yaml")
Operation.objects.create(id="held", strategy_version=version, spec="{}", status=Status.CANCELLED)
with transaction.atomic():
    Operation.objects.select_for_update().get(pk="held")
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_host_that_vanishes_gives_back_what_it_held(site: Site) -> None:
    settings = site.environment(DJANGO_SETTINGS_MODULE="ktrdr_site.settings")
    holder = site.hosts.begin(
        "worker", sys.executable, "-c", HOLDER, site.home.strategy("held"), cwd=ROOT, env=settings,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"

    def writes() -> bool:
        with site.database.connect() as connection:
            connection.execute("SET lock_timeout = '200ms'")
            try:
                connection.execute("UPDATE training_operation SET reason = reason WHERE id = 'held'")
            except psycopg.errors.LockNotAvailable:
                return False
        return True

    assert not writes()
    site.hosts.unplug("worker")
    try:
        until(writes, "the row, given back", LONG)
    finally:
        site.hosts.plug("worker")
        holder.kill()


def test_a_worker_that_is_cut_from_redis_is_listed_again_idle_and_after_a_training(
    site: Site, worker: Service, weights: bytes
) -> None:
    with site.hosts.cut("worker", "redis"):
        until(lambda: not site.listed("cpu"), "a worker that nobody has heard of", LONG)
    until(lambda: site.listed("cpu"), "the worker again", LONG)

    operation = site.start("hosts")
    until(lambda: site.trained(operation) >= 3, "the third epoch", LONG)
    with site.hosts.cut("worker", "redis"):
        until(lambda: "Redis does not answer, the training goes on" in worker.said, "a connection that is given up", LONG)
        site.becomes(operation, "completed")
        end = f"{operation} attempt 1: completed"
        until(lambda: "the worker waits" in worker.said.partition(end)[2], "a worker that waits for Redis", LONG)
    assert site.home.weights(operation) == weights
    until(lambda: site.listed("cpu"), "the worker again", LONG)
    following = site.start("after", 2)
    site.becomes(following, "completed")
    assert worker.process.poll() is None, worker.said
