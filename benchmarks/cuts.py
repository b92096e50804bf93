"""Hosts cut from each other: how long training stood still, how long the API hung, what was lost.

`python -m benchmarks.cuts SECONDS ...` makes four hosts of network namespaces (database, Redis, web server, worker), with
PostgreSQL, Redis and every setting at its default, cuts two pairs of them at a time for so many seconds while a training
runs and the API is asked without a pause, and prints a table. It needs root and PostgreSQL.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from dataclasses import dataclass, field

from tests.examples.homes import until
from tests.examples.hosts import Service
from tests.examples.sites import LONG, Site, made_site, missing

EPOCHS = 100_000
#: Each pass cuts the worker from one and the web server from the other.
PASSES = (("db", "redis"), ("redis", "db"))
POLL_SECONDS = 0.05
OPERATIONS = "/api/v1/operations"


@dataclass
class Training:
    """A training, watched by its log, which lies in the folder that no cut reaches."""

    site: Site
    operation: str
    #: (when, epochs until then)
    seen: list[tuple[float, int]] = field(default_factory=list)

    def watch(self, ended: threading.Event) -> None:
        while not ended.wait(POLL_SECONDS):
            count = self.site.trained(self.operation)
            if not self.seen or self.seen[-1][1] != count:
                self.seen.append((time.monotonic(), count))

    def longest_pause(self, since: float, until: float) -> float:
        """Between two epochs of which one at least ended in that time."""
        pauses = itertools.pairwise(at for at, _ in self.seen)
        return max((b - a for a, b in pauses if b >= since and a <= until), default=until - since)


@dataclass
class Api:
    """Questions to the web server, one after another."""

    site: Site
    path: str
    #: (when asked, seconds, status; 0: the connection was ended)
    answers: list[tuple[float, float, int]] = field(default_factory=list)

    def ask(self, ended: threading.Event) -> None:
        while not ended.wait(POLL_SECONDS):
            began, status = time.monotonic(), 0
            with contextlib.suppress(OSError):
                status = self.site.hosts.ask("web", "GET", self.path, token=self.site.token)[0]
            self.answers.append((began, time.monotonic() - began, status))

    def slowest(self, since: float, until: float) -> tuple[float, str]:
        asked = [(seconds, status) for at, seconds, status in self.answers if since <= at + seconds and at <= until]
        return max(seconds for seconds, _ in asked), ", ".join(str(s) for s in sorted({status for _, status in asked}))

    def well_again(self, since: float) -> float:
        """Seconds from then to the end of the first answer of which all that follow are good."""
        bad = [at + seconds for at, seconds, status in self.answers if status != 200]
        good = min(at + seconds for at, seconds, status in self.answers if status == 200 and at + seconds > max([since, *bad]))
        return good - since


def measure(site: Site, worker: Service, seconds: float, of_worker: str, of_web: str) -> None:
    training = Training(site, site.start("cuts", EPOCHS))
    asked = [Api(site, "/api/v1/healthz"), Api(site, OPERATIONS)]
    ended = threading.Event()
    threads = [threading.Thread(target=training.watch, args=(ended,))]
    threads += [threading.Thread(target=api.ask, args=(ended,)) for api in asked]
    for thread in threads:
        thread.start()
    try:
        until(lambda: site.trained(training.operation) >= 20, "the first epochs", LONG)
        before = time.monotonic()
        epochs = site.trained(training.operation)
        usual = training.longest_pause(before - 3, before)
        with site.hosts.cut("worker", of_worker), site.hosts.cut("web", of_web):
            began = time.monotonic()
            time.sleep(seconds)
            status = site.status(training.operation)
            trained = site.trained(training.operation) - epochs
        healed = time.monotonic()
        until(lambda: site.listed("cpu"), "the worker", LONG)
        listed = time.monotonic() - healed
        until(lambda: site.status(training.operation) == "running", "the training", LONG)
        until(lambda: stored(site, training.operation) >= epochs + trained, "its epochs", LONG)
        written = time.monotonic() - healed
        time.sleep(3)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    pause = training.longest_pause(began, healed + 3)
    (attempt,) = site.rows("SELECT attempt FROM training_operation WHERE id = %s", training.operation)[0]
    holes = missing_of(site, training.operation)
    print(f"\n{seconds:g} s: worker from {of_worker}, web server from {of_web}")
    print(f"  training: {trained} epochs in the cut ({status}), longest pause {pause:.2f} s (before it: {usual:.2f} s)")
    print(f"  after it: listed {listed:.1f} s, all stored {written:.1f} s, attempt {attempt}, {holes} epochs missing", flush=True)
    for api in asked:
        slow, statuses = api.slowest(began, healed)
        print(f"  {api.path}: slowest answer {slow:.2f} s, answered {statuses}, well again {api.well_again(healed):.2f} s after")
    assert site.hosts.ask("web", "POST", f"{OPERATIONS}/{training.operation}/cancel", {}, site.token)[0] in (200, 202)
    site.becomes(training.operation, "cancelled")
    assert worker.process.poll() is None, worker.said


def stored(site: Site, operation: str) -> int:
    (count,) = site.rows("SELECT count(DISTINCT epoch) FROM training_epochmetric WHERE operation_id = %s", operation)[0]
    return int(count)


def missing_of(site: Site, operation: str) -> int:
    query = "SELECT coalesce(max(epoch) + 1, 0) - count(DISTINCT epoch) FROM training_epochmetric WHERE operation_id = %s"
    return int(site.rows(query, operation)[0][0])


def main(lengths: list[float]) -> None:
    if why := missing():
        sys.exit(why)
    with made_site({}) as site:
        web, worker = site.begin_web(), site.begin_worker()
        for seconds in lengths:
            for of_worker, of_web in PASSES:
                measure(site, worker, seconds, of_worker, of_web)
        assert web.process.poll() is None, web.said


if __name__ == "__main__":
    main([float(word) for word in sys.argv[1:]] or [20.0, 100.0])
