"""Output that nobody reads any more (`| head -1`) or that leads to a full disk: no traceback, no complaint, nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.homes import ROOT, Home, operation_in
from training.management.terminal import Waiting

FULL = Path("/dev/full")


def piped(home: Home, *command: str, lines: int = 0) -> tuple[int, str, str]:
    """Exit code, the first lines and the error stream of a command whose reader goes away after so many lines."""
    process = subprocess.Popen(
        [sys.executable, "-u", "manage.py", *command],
        cwd=ROOT, env=home.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    read = "".join(process.stdout.readline() for _ in range(lines))
    process.stdout.close()
    complaint = process.stderr.read()
    return process.wait(timeout=120), read, complaint


@pytest.mark.parametrize(
    "command", [("data",), ("operations", "list"), ("strategies", "list"), ("tokens", "list"), ("--help",)], ids=" ".join
)
def test_a_reader_who_has_read_enough_is_told_nothing(home: Home, command: tuple[str, ...]) -> None:
    assert piped(home, *command)[::2] == (141, "")


def test_a_training_whose_reader_goes_away_is_saved_and_can_be_resumed(home: Home) -> None:
    code, read, complaint = piped(home, "train", home.strategy("unread", 100_000), "--inline", lines=3)
    assert (code, complaint) == (141, "")
    operation = operation_in(read)
    assert home.value(operation, "status") == "interrupted"


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("command", [("data",), ("strategies", "list"), ("migrate", "--plan")], ids=" ".join)
def test_output_onto_a_full_disk_is_said_in_one_sentence(home: Home, command: tuple[str, ...]) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT, env=home.environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "CommandError: the output could not be written: No space left on device\n")


def test_a_wait_is_told_ever_less_often_where_nobody_watches(tmp_path: Path) -> None:
    class Clock:
        """Of a wait of two minutes: each pause that is asked for passes at once."""

        passed = 0.0

        def wait(self, seconds: float) -> bool:
            self.passed += seconds
            return self.passed > 120

        def set(self) -> None: ...

    with (tmp_path / "told").open("w+") as stream:
        waiting = Waiting("planning", stream)
        waiting._ended = Clock()  # type: ignore[assignment]
        with waiting:
            waiting._thread.join()
        stream.seek(0)
        assert len(stream.readlines()) == 1 + 6, "at once, and after 1, 3, 7, 15, 31 and 63 s"


def test_what_is_written_into_a_pipe_is_whole(home: Home) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream, Waiting("planning", stream):
        pass
    with os.fdopen(read) as stream:
        assert stream.read() == "planning …\n"
