"""A home of its own for commands run as a user runs them: in another process, with sample bars and a strategy that trains in a moment."""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.workers import embedded_redis

ROOT = Path(__file__).resolve().parents[2]

STRATEGY = """
name: {name}
training_data:
  symbols: {{mode: single, symbol: AAPL}}
  timeframes: {{mode: multi_timeframe, list: [1d, 1w]}}
  start_date: 2003-01-01
  end_date: 2010-12-31
indicators:
  rsi_14: {{type: rsi, period: 14}}
  macd_1: {{type: macd}}
fuzzy_sets:
  zone: {{indicator: rsi_14, low: [0, 30, 50], middle: [30, 50, 70], high: [50, 70, 100]}}
nn_inputs:
  - {{fuzzy_set: zone}}
  - {{raw_indicator: macd_1.histogram, timeframes: [1d]}}
model: {{type: mlp, architecture: {{hidden_layers: [16], dropout: 0.3}}}}
training:
  labels: {{source: zigzag, zigzag_threshold: 0.04, label_lookahead: 10}}
  epochs: {epochs}
  batch_size: {batch_size}
  early_stopping: {{enabled: false}}
"""


@dataclass(frozen=True)
class Home:
    """A KTRDR_HOME folder and what is run in it."""

    folder: Path

    @property
    def redis_socket(self) -> Path:
        return self.folder / "redis" / "redis.sock"

    def environment(self, **settings: object) -> dict[str, str]:
        # Without the address of the tests' own Redis: a home's is the embedded one.
        return {
            **os.environ,
            "REDIS_URL": "",
            "KTRDR_HOME": str(self.folder),
            **{name: str(value) for name, value in settings.items()},
        }

    def run(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment(**settings), capture_output=True, text=True, timeout=300, check=False
        )

    def begin(self, *arguments: str, **settings: object) -> subprocess.Popen[str]:
        """The command as a process that the test goes on with."""
        return subprocess.Popen(
            [sys.executable, "-u", "manage.py", *arguments],
            cwd=ROOT, env=self.environment(**settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def strategy(self, name: str, epochs: int = 4, batch_size: int = 128) -> str:
        path = self.folder / f"{name}.yaml"
        path.write_text(STRATEGY.format(name=name, epochs=epochs, batch_size=batch_size))
        return str(path)

    def value(self, operation: str, column: str) -> Any:
        """A column of the operation's row, read beside whatever runs."""
        with closing(sqlite3.connect(self.folder / "ktrdr.sqlite3", timeout=20)) as database:
            row = database.execute(f"SELECT {column} FROM training_operation WHERE id = ?", [operation]).fetchone()
        return row[0]

    def rows(self, query: str, *, whole: bool = False) -> list[Any]:
        """What the database answers: the first column, or whole rows."""
        with closing(sqlite3.connect(self.folder / "ktrdr.sqlite3", timeout=20)) as database:
            found = database.execute(query).fetchall()
        return found if whole else [row[0] for row in found]

    def log(self, operation: str, attempt: int = 1) -> str:
        path = self.folder / "logs" / f"{operation}-{attempt}.log"
        return path.read_text() if path.exists() else ""

    def last_epoch_is_saved(self, operation: str, attempt: int = 1) -> bool:
        """Whether the newest checkpoint holds the last epoch that the log tells of."""
        told = [int(number) for number in re.findall(r"epoch (\d+):", self.log(operation, attempt))]
        saved = self.saved_epochs(operation)
        return bool(told and saved) and told[-1] == max(saved)

    def saved_epochs(self, operation: str) -> list[int]:
        """Epochs (from 1) of the operation's checkpoints."""
        return [int(p.name.split("_")[1]) + 1 for p in (self.folder / "checkpoints" / operation).glob("*/epoch_*")]

    def weights(self, operation: str) -> bytes:
        """The weights file of an operation's bundle."""
        (bundle,) = (self.folder / "bundles").glob(f"{operation}-*")
        return (bundle / "weights.safetensors").read_bytes()


@contextmanager
def unmounted(home: Home, *names: str) -> Iterator[None]:
    """Inside, an empty folder is where each of them was, as when a disk is taken away; nothing may be written into it."""
    for name in names:
        (home.folder / name).rename(home.folder / f"{name}.away")
        (home.folder / name).mkdir()
    try:
        yield
        assert {name: list((home.folder / name).iterdir()) for name in names} == {name: [] for name in names}
    finally:
        for name in names:
            (home.folder / name).rename(home.folder / f"{name}.empty")
            (home.folder / f"{name}.away").rename(home.folder / name)
            (home.folder / f"{name}.empty").rmdir()


def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> Any:
    """The first truth that the condition gives; AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not come within {seconds:g} s"
        time.sleep(0.01)
    return found


def operation_in(output: str) -> str:
    """The operation id that a command printed."""
    return next(word for word in output.split() if word.startswith("op_training_"))


def made_home(folder: Path, **settings: object) -> Home:
    """Tables and sample bars."""
    return _filled(empty_home(folder, **settings), **settings) if settings else _copied(_pattern(bars=True), folder)


def empty_home(folder: Path, **settings: object) -> Home:
    """Tables in which nothing is."""
    if not settings:
        return _copied(_pattern(bars=False), folder)
    home = Home(folder)
    done = home.run("migrate", "--verbosity", "0", **settings)
    assert done.returncode == 0, done.stderr
    return home


@contextmanager
def folder_with_redis() -> Iterator[Path]:
    """A folder in which a Redis answers where `up` would have one; short, since a socket's path must be."""
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as name:
        folder = Path(name)
        server = embedded_redis.start(folder / "redis", Home(folder).redis_socket)
        try:
            yield folder
        finally:
            embedded_redis.stop(server)


@contextmanager
def home_with_redis() -> Iterator[Home]:
    """Tables, sample bars and a Redis, for workers without `up`."""
    with folder_with_redis() as folder:
        yield made_home(folder)


def _filled(home: Home, **settings: object) -> Home:
    load = "import django; django.setup(); from training.bars.series import load_samples; load_samples()"
    environment = home.environment(DJANGO_SETTINGS_MODULE="ktrdr_site.settings", **settings)
    subprocess.run([sys.executable, "-c", load], cwd=ROOT, env=environment, check=True)
    return home


@functools.cache
def _pattern(*, bars: bool) -> Path:
    """A home that the others of this process are copies of: making one takes seconds."""
    folder = Path(tempfile.mkdtemp(prefix="ktrdr-pattern-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if bars:
        return _filled(_copied(_pattern(bars=False), folder)).folder
    done = Home(folder).run("migrate", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    return folder


def _copied(pattern: Path, folder: Path) -> Home:
    shutil.copytree(pattern, folder, dirs_exist_ok=True)
    return Home(folder)
