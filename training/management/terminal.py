"""What a run looks like in a terminal: a live display, or plain lines where nobody can see one; never silent for a second."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from training.core.pace import Pace
from training.core.values import BatchMetrics, EpochMetrics
from training.jobs.progress import STAGES

SILENCE_SECONDS = 1.0
WIDE = 200
WORDS = {
    "load": "Load bars", "validate": "Validate", "indicators": "Indicators", "memberships": "Memberships", "features": "Features",
    "labels": "Labels", "split": "Split", "train": "Train", "evaluate": "Evaluate", "save": "Save",
}  # fmt: skip


def duration_text(seconds: float) -> str:
    """12 s, 3 min 05 s, 2 h 07 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class State:
    """What a display knows of a run: the last report of each kind, and when stages began."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began = clock()
        self.current = ""
        self.percent = 0.0
        self.stage_began: dict[str, float] = {}
        self.stage_seconds: dict[str, float] = {}
        self.epoch = self.epochs = self.batch = self.batches = 0
        self.loss = float("nan")
        self.speed = 0.0
        self.last: EpochMetrics = {}
        self.best = float("inf")
        self.pace = Pace()
        self._epoch_began = 0.0

    def stage(self, name: str, fraction: float, percent: float) -> None:
        now = self.clock()
        self.current, self.percent = name, percent
        self.stage_began.setdefault(name, now)
        self.stage_seconds[name] = now - self.stage_began[name]
        if name == "train":
            self._epoch_began = now

    def see_batch(self, metrics: BatchMetrics, percent: float) -> None:
        now = self.clock()
        self.percent = percent
        self.epoch, self.epochs = metrics.epoch, metrics.epochs
        self.batch, self.batches = metrics.batch + 1, metrics.batches
        self.pace.batch(metrics.epoch, metrics.epochs, self.batch / max(self.batches, 1), now)
        self.loss = metrics.loss()
        if now > self._epoch_began:
            self.speed = metrics.samples / (now - self._epoch_began)
        self.stage_seconds["train"] = now - self.stage_began.get("train", now)

    def see_epoch(self, metrics: EpochMetrics, percent: float) -> None:
        self.percent, self.last, self.epoch = percent, metrics, metrics["epoch"]
        self.best = min(self.best, metrics["val_loss"])
        self.speed = metrics["samples_per_second"]
        self._epoch_began = self.clock()
        self.pace.epoch(metrics["epoch"], self._epoch_began)

    def seconds_left(self) -> float | None:
        """Of the training at its present pace; None before there is one."""
        return self.pace.left(self.clock()) if self.current == "train" else None

    def training_text(self) -> str:
        """Epoch, losses, speed and time left in one line."""
        parts = [f"epoch {self.epoch + 1} of {self.epochs}" if self.epochs else f"epoch {self.epoch + 1}"]
        if self.batches > 1:
            parts.append(f"batch {self.batch:,} of {self.batches:,}")
        if self.speed:
            parts.append(f"{self.speed:,.0f} samples/s")
        if self.loss == self.loss:
            parts.append(f"loss {self.loss:.4f}")
        if self.last:
            parts.append(f"validation {self.last['val_loss']:.4f} (best {self.best:.4f})")
        left = self.seconds_left()
        if left is not None:
            parts.append(f"about {duration_text(left)} left")
        return " · ".join(parts)


class Display:
    """A watcher that shows a run; use it as a context. Live on a terminal, plain lines elsewhere."""

    def __init__(self, title: str, console: Console | None = None, stream: TextIO | None = None) -> None:
        self.console = console or console_on(stream or sys.stdout)
        self.title = title
        self.state = State()
        self.live: Live | None = None
        self._said_at = time.monotonic()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._said = ""
        #: Whoever read the output has gone (`| head -1`); on_leaving is called once then, from any thread.
        self.reader_left = False
        self.on_leaving: Callable[[], None] = lambda: None

    def __enter__(self) -> Display:
        self.console.print(self.title, markup=False)
        if self.console.is_terminal:
            self.live = Live(get_renderable=self._picture, console=self.console, refresh_per_second=8, transient=True)
            self.live.start()
        else:
            threading.Thread(target=self._tick, name="display-ticker", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        if self.live is not None:
            self.live.stop()
            self.console.print(self._rail())

    # --- the watcher ---

    def stage(self, name: str, fraction: float, percent: float) -> None:
        if name != self.state.current:
            self._finish_stage(name)
            if self.live is None and name in ("load", "train", "save"):
                self._say(f"{WORDS[name]} …")
        self.state.stage(name, fraction, percent)

    def batch(self, metrics: BatchMetrics, percent: float) -> None:
        self.state.see_batch(metrics, percent)

    def epoch(self, metrics: EpochMetrics, percent: float) -> None:
        self.state.see_epoch(metrics, percent)
        if self.live is None and time.monotonic() - self._said_at >= SILENCE_SECONDS / 2:
            self._say(self._line())

    def note(self, text: str) -> None:
        self._say(f"note: {text}")

    # --- how it is shown ---

    def _finish_stage(self, following: str) -> None:
        current = self.state.current
        if current == "train" and following and self.live is None and self._said != self._line():
            self._say(self._line())

    def _say(self, text: str) -> None:
        with self._lock:
            self._said_at, self._said = time.monotonic(), text
            if self.reader_left:
                return
            try:
                self.console.print(text, markup=False)
            except BrokenPipeError:
                self.reader_left = True
                self.on_leaving()

    def _line(self) -> str:
        state = self.state
        began = state.stage_began.get(state.current, state.clock())
        inside = state.training_text() if state.current == "train" else duration_text(state.clock() - began)
        return f"{state.percent:3.0f} %  {WORDS.get(state.current, 'Start')} · {inside}"

    def _tick(self) -> None:
        """Repeats where the run stands whenever nothing was said for a second."""
        while not self._ended.wait(SILENCE_SECONDS / 4):
            if time.monotonic() - self._said_at >= SILENCE_SECONDS - SILENCE_SECONDS / 4:
                elapsed = duration_text(time.monotonic() - self.state.began)
                self._say(f"{self._line()} · {elapsed} so far")

    def _rail(self) -> Text:
        """Every stage: done with its time, now, or still to come."""
        rail = Text()
        for name in STAGES:
            seconds = self.state.stage_seconds.get(name)
            if name == self.state.current and not self._ended.is_set():
                rail.append(f"▸ {WORDS[name]}  ", style="bold cyan")
            elif seconds is not None:
                rail.append(f"✓ {WORDS[name]} ", style="green")
                rail.append(f"{duration_text(seconds)}  ", style="dim")
            else:
                rail.append(f"· {WORDS[name]}  ", style="dim")
        return rail

    def _picture(self) -> RenderableType:
        state = self.state
        head = Table.grid(padding=(0, 2))
        elapsed = duration_text(time.monotonic() - state.began)
        head.add_row(
            Text(f"{state.percent:3.0f} %", style="bold"),
            ProgressBar(total=100, completed=state.percent, width=40),
            Text(f"{WORDS.get(state.current, 'Start')} · {elapsed} so far"),
        )
        lines: list[Any] = [head]
        if state.current == "train":
            lines.append(Text(state.training_text()))
        return Group(*lines, self._rail())


class Output(Console):
    """Of a closed pipe the command itself decides; rich would end the program at once."""

    def on_broken_pipe(self) -> None:
        self._buffer.clear()
        raise BrokenPipeError


def console_on(stream: TextIO) -> Console:
    """A console as wide as the terminal, which breaks long lines; what a program reads is wide enough for whole ids."""
    console = Output(file=stream, highlight=False)
    if not console.is_terminal:
        console = Output(file=stream, highlight=False, soft_wrap=True, width=WIDE)
    return console


class Waiting:
    """Says at once what is being done, on the error stream: for commands that show no run.

    On a terminal one line counts the seconds; elsewhere it is said again after 1, 2, 4, … seconds, so that a log of a
    long wait stays short and the wait is still not a silent one.
    """

    def __init__(self, text: str, stream: TextIO) -> None:
        self.text, self.stream = text, stream
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="waiting", daemon=True)

    def __enter__(self) -> Waiting:
        self.stream.write(f"{self.text} …{'' if self.stream.isatty() else chr(10)}")
        self.stream.flush()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _tick(self) -> None:
        began, pause = time.monotonic(), SILENCE_SECONDS
        is_terminal = self.stream.isatty()
        while not self._ended.wait(pause):
            told = f"{self.text} … {duration_text(time.monotonic() - began)}"
            self.stream.write(f"\r{told}\x1b[K" if is_terminal else f"{told}\n")
            self.stream.flush()
            pause = pause if is_terminal else pause * 2
        if is_terminal:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
