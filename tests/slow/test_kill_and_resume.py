"""A run that is killed, stopped or interrupted at any moment ends, once resumed, in the very weights of the undisturbed run."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.examples.homes import Home, operation_in

EPOCHS, BATCH = 40, 16
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


@pytest.fixture(scope="module")
def undisturbed(home: Home) -> bytes:
    done = home.run("train", home.strategy("undisturbed", EPOCHS, BATCH), "--inline")
    assert done.returncode == 0, done.stderr
    return home.weights(operation_in(done.stdout))


def wait_for_epoch(home: Home, operation: str, attempt: int, epoch: int, process: subprocess.Popen[str]) -> None:
    """Return once the attempt's log tells of the epoch (from 1) or a later one, with which a resumed attempt may begin; the run
    is proven alive then."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if any(int(told) >= epoch for told in re.findall(r"epoch (\d+):", home.log(operation, attempt))):
            assert process.poll() is None, "the run ended before it could be disturbed"
            return
        assert process.poll() is None, f"the run ended with {process.returncode} before epoch {epoch}"
        time.sleep(0.005)
    raise AssertionError(f"epoch {epoch} was not reached in a minute")


def begin(home: Home, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A run with a checkpoint after every second epoch, and its operation's id."""
    process = home.begin("train", *arguments, "--inline", CHECKPOINT_EPOCH_INTERVAL=2)
    assert process.stdout is not None
    for line in process.stdout:
        if "op_training_" in line:
            return process, operation_in(line)
    raise AssertionError("the run named no operation")


def finish(home: Home, operation: str) -> subprocess.CompletedProcess[str]:
    done = home.run("train", "--resume", operation, "--inline", CHECKPOINT_EPOCH_INTERVAL=2)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_run_killed_again_and_again_ends_in_the_same_weights(home: Home, undisturbed: bytes) -> None:
    moments = random.Random(SEED)
    process, operation = begin(home, home.strategy("killed", EPOCHS, BATCH))
    for attempt, epoch in enumerate(sorted(moments.sample(range(3, EPOCHS // 4), 2)), start=1):
        wait_for_epoch(home, operation, attempt, epoch, process)
        time.sleep(moments.uniform(0, 0.2))  # somewhere inside an epoch, a save or a write
        process.kill()
        process.communicate()
        if attempt == 1:
            process, _ = begin(home, "--resume", operation)
    done = finish(home, operation)
    assert "continues bit for bit from epoch" in done.stdout, f"seed {SEED}"
    assert home.weights(operation) == undisturbed, f"seed {SEED}"
    assert not list((home.folder / "checkpoints").glob(f"{operation}/*/*")), "a completed run needs no checkpoints"


def test_ctrl_c_saves_says_how_to_continue_and_loses_nothing(home: Home, undisturbed: bytes) -> None:
    process, operation = begin(home, home.strategy("interrupted", EPOCHS, BATCH))
    wait_for_epoch(home, operation, 1, 5, process)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"train --resume {operation} --inline" in told
    assert "Traceback" not in told
    assert finish(home, operation).stdout.count("attempt 2") == 1
    assert home.weights(operation) == undisturbed


def test_termination_leaves_the_run_interrupted_with_a_checkpoint(home: Home, undisturbed: bytes) -> None:
    process, operation = begin(home, home.strategy("terminated", EPOCHS, BATCH))
    wait_for_epoch(home, operation, 1, 3, process)
    process.terminate()
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "interrupted" in told
    assert list((home.folder / "checkpoints" / operation / "1").glob("epoch_*_shutdown"))
    finish(home, operation)
    assert home.weights(operation) == undisturbed


def test_a_run_stopped_before_its_first_epoch_starts_again_and_ends_the_same(home: Home, undisturbed: bytes) -> None:
    process, operation = begin(home, home.strategy("early", EPOCHS, BATCH))
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 130, told
    finish(home, operation)
    assert home.weights(operation) == undisturbed


def test_other_bars_are_refused_with_the_series_named(home: Home, tmp_path: Path) -> None:
    process, operation = begin(home, home.strategy("other_bars", EPOCHS, BATCH))
    wait_for_epoch(home, operation, 1, 3, process)
    process.kill()
    process.communicate()
    store = home.folder / "bars" / "AAPL_1d.parquet"
    before = store.read_bytes()
    lines = ["date,open,high,low,close,volume", "2005-06-01,5,6,4,5.5,1000"]
    (tmp_path / "aapl.csv").write_text("\n".join(lines))
    try:
        changed = home.run("load_data", "AAPL", "1d", "--from", str(tmp_path / "aapl.csv"), "--replace")
        assert changed.returncode == 0, changed.stderr
        refused = home.run("train", "--resume", operation, "--inline")
    finally:
        store.write_bytes(before)
    assert refused.returncode == 1
    assert "the stored bars of AAPL 1d are not those that" in refused.stdout
    finish(home, operation)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(home: Home, undisturbed: bytes) -> None:
    process, operation = begin(home, home.strategy("damaged", EPOCHS, BATCH))
    wait_for_epoch(home, operation, 1, 7, process)
    process.kill()
    process.communicate()
    newest = max((home.folder / "checkpoints" / operation / "1").glob("epoch_*"))
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (newest / "model.safetensors").write_bytes(content)
    done = finish(home, operation)
    assert f"{newest.name} is damaged" in done.stdout
    assert "the one before it is used" in done.stdout
    assert home.weights(operation) == undisturbed


def test_a_strategy_file_changed_meanwhile_is_told_and_does_not_change_the_run(home: Home, undisturbed: bytes) -> None:
    path = Path(home.strategy("edited", EPOCHS, BATCH))
    process, operation = begin(home, str(path))
    wait_for_epoch(home, operation, 1, 3, process)
    process.kill()
    process.communicate()
    path.write_text(path.read_text().replace("hidden_layers: [16]", "hidden_layers: [8]"))
    done = finish(home, operation)
    assert "was changed since; the run continues with the text it was started with" in done.stdout
    assert home.weights(operation) == undisturbed
