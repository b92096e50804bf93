"""Dashboard benchmark: first paint of every page, from a batch to its pixel, what viewers cost a training, and a long run's page.

A running `up` in a home of its own and a real Chromium; nothing is simulated but the rows of old operations.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
OPERATIONS, LOADS = 1000, 5
#: Epochs of a run of six hours at one a second.
LONG_EPOCHS = 21_600
VIEWERS, TURNS, TURN_SECONDS = 200, 4, 6.0
PAGES = (
    "",
    "strategies/",
    "strategies/new/",
    "train/",
    "operations/",
    "operations/{done}/",
    "operations/{long}/",
    "compare/",
    "models/",
    "data/",
    "workers/",
    "tokens/",
)

#: Rows as a busy year would leave them; the long run looks as if it were at work.
STORE = """
import json
from strategies_app.models import Strategy
from training.models import EpochMetric, Operation, Status
done = Operation.objects.get(status="completed")
same = {"strategy_version": done.strategy_version, "spec": done.spec}
states = ["completed", "failed", "cancelled", "interrupted"]
Operation.objects.bulk_create(
    Operation(id=f"op_training_old_{n:05}", status=states[n % 4], stage="train", epoch=n % 90, **same)
    for n in range(OPERATIONS)
)
long = Operation.objects.create(id="op_training_long", status="interrupted", epoch=LONG_EPOCHS - 1, **same)
like = done.epoch_metrics.first().metrics
EpochMetric.objects.bulk_create(
    EpochMetric(operation=long, attempt=1, epoch=n, train_loss=1.0, val_loss=1.0, metrics=like | {"epoch": n})
    for n in range(LONG_EPOCHS)
)
"""
#: Notes when a message's batch stands on the page: the frame after the one that drew it.
WATCH = """
(() => {
  window.latencies = [];
  const Native = window.WebSocket;
  window.WebSocket = class extends Native {
    set onmessage(handler) {
      super.onmessage = (event) => {
        handler(event);
        const message = JSON.parse(event.data);
        if (message.type !== "progress" || !message.at) return;
        const drawn = () => window.latencies.push(Date.now() - message.at * 1000);
        requestAnimationFrame(() => requestAnimationFrame(drawn));
      };
    }
  };
})();
"""
CROWD = """
async ([id, count]) => {
  window.crowd = [];
  for (let i = 0; i < count; i++) {
    const socket = new WebSocket(`ws://${location.host}/ws/operations/`);
    await new Promise((done, failed) => { socket.onopen = done; socket.onerror = failed; });
    socket.send(JSON.stringify({ follow: [id] }));
    window.crowd.push(socket);
  }
}
"""


def run() -> dict[str, Any]:
    """All figures; {} where there is no Chromium."""
    from playwright.sync_api import sync_playwright

    from tests.examples.homes import made_home, operation_in
    from tests.examples.ups import Up

    chromium = os.environ.get("CHROMIUM_BIN") or shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        return {}
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as folder, sync_playwright() as playwright:
        home = made_home(Path(folder))
        done = operation_in(home.run("train", home.strategy("done"), "--inline").stdout)
        names = f"OPERATIONS, LONG_EPOCHS = {OPERATIONS}, {LONG_EPOCHS}\n"
        subprocess.run(
            [sys.executable, "manage.py", "shell", "-v", "0", "-c", names + STORE], cwd=ROOT, env=home.environment(), check=True
        )
        up = Up(home)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--enable-precise-memory-info"])
        try:
            page = _signed_in(browser, up)
            figures = {"paint": _paints(page, done), "long_heap_megabytes": _heap(page, "op_training_long")}
            running = operation_in(home.run("train", home.strategy("long", 100_000, 32)).stdout)
            figures["pixel"] = _latency(page, running)
            figures["viewers"] = _crowd_cost(page, running, lambda: _trainer_of(home, running), lambda: _batches(home, running))
            return figures
        finally:
            browser.close()
            up.stop()


def _signed_in(browser: Any, up: Any) -> Any:
    page = browser.new_context(base_url=up.address).new_page()
    page.add_init_script(WATCH)
    page.goto("sign-in/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(up.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(up.address)
    return page


def _paints(page: Any, done: str) -> dict[str, float]:
    """Milliseconds to the first contentful paint of each page, median, files cached as for anyone who was here before."""
    found = {}
    for address in PAGES:
        times = []
        for _ in range(LOADS + 1):
            page.goto(address.format(done=done, long="op_training_long"))
            page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
            times.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        found["/" + address.format(done="…", long="… of 21,600 epochs")] = statistics.median(times[1:])
    return found


def _heap(page: Any, operation: str) -> float:
    """Megabytes that the page of a long run holds when everything is drawn."""
    page.goto(f"operations/{operation}/")
    page.wait_for_function("() => document.getElementById('chart-loss')?.data?.[0]?.x.length > 100", timeout=60_000)
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    return float(page.evaluate("performance.memory.usedJSHeapSize")) / 1e6


def _latency(page: Any, operation: str) -> dict[str, float]:
    """Milliseconds from a batch to its pixel, over twenty seconds of training."""
    page.goto(f"operations/{operation}/")
    page.wait_for_function("() => window.latencies.length > 5", timeout=60_000)
    page.evaluate("window.latencies.length = 0")
    page.wait_for_timeout(20_000)
    times = sorted(page.evaluate("window.latencies"))
    return {"count": len(times), "median": statistics.median(times), "p95": times[int(0.95 * len(times))]}


def _trainer_of(home: Any, operation: str) -> psutil.Process:
    return psutil.Process(int(str(home.value(operation, "process")).partition("@")[0]))


def _batches(home: Any, operation: str) -> int:
    return int(home.value(operation, "epoch"))


def _crowd_cost(page: Any, operation: str, trainer: Any, epochs: Any) -> dict[str, Any]:
    """The training's CPU time per epoch with 200 viewers over that with one, in turns."""
    ratios = []
    for _ in range(TURNS):
        alone = _cpu_per_epoch(page, trainer(), epochs)
        page.evaluate(CROWD, [operation, VIEWERS])
        crowded = _cpu_per_epoch(page, trainer(), epochs)
        page.evaluate("for (const socket of window.crowd) socket.close()")
        page.wait_for_timeout(500)
        ratios.append(crowded / alone)
    return {"viewers": VIEWERS, "ratio": statistics.median(ratios), "range": [min(ratios), max(ratios)]}


def _cpu_per_epoch(page: Any, trainer: psutil.Process, epochs: Any) -> float:
    before, began = sum(trainer.cpu_times()[:2]), epochs()
    end = time.monotonic() + TURN_SECONDS
    while time.monotonic() < end:
        page.wait_for_timeout(100)  # the browser goes on meanwhile
    spent: float = sum(trainer.cpu_times()[:2]) - before
    return spent / float(max(epochs() - began, 1))


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as a section of docs/performance.md; nothing without a browser."""
    if not figures:
        return []
    pixel, viewers = figures["pixel"], figures["viewers"]
    low, high = viewers["range"]
    rows = [
        ("batch → its pixel, 95 %", f"{pixel['p95']:.0f} ms", "≤ 250 ms"),
        ("batch → its pixel, median", f"{pixel['median']:.0f} ms", ""),
        (
            f"training's CPU time per epoch, {viewers['viewers']} viewers over one",
            f"{viewers['ratio']:.2f} ({low:.2f}–{high:.2f})",
            "1",
        ),
        (f"memory of the page of {LONG_EPOCHS:,} epochs", f"{figures['long_heap_megabytes']:.0f} MB", "< 150 MB"),
        *((f"first contentful paint, `{page}`", f"{ms:.0f} ms", "< 300 ms") for page, ms in figures["paint"].items()),
    ]
    return [
        "",
        "## Dashboard",
        "",
        f"A running `up` with {OPERATIONS:,} stored operations, its web server and a Chromium on the same machine.",
        "",
        "| | | wanted |",
        "|---|---:|---:|",
        *(f"| {name} | {value} | {wanted} |" for name, value, wanted in rows),
    ]


if __name__ == "__main__":
    json.dump(found := run(), sys.stderr, indent=1)
    print("\n".join(table(found)))
