"""A disk without room: the file that could not be written is named, and the same is not said again and again."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError

from ktrdr_site.log_filters import Once
from training.core.files import naming, write_folder
from training.jobs.logs import AttemptFile
from training.management.refusals import refusals

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


@needs_full
def test_a_log_that_does_not_fit_is_told_once_with_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "op_1-1.log"
    path.symlink_to(FULL)
    handler = AttemptFile(path)
    for number in range(20):
        handler.handle(logging.makeLogRecord({"msg": f"line {number}"}))
    handler.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} cannot be written: No space left on device; the training goes on"
    ]
    assert "Traceback" not in capfd.readouterr().err


@needs_full
def test_a_write_without_room_names_its_file() -> None:
    said = pytest.raises(CommandError, match=r"^/dev/full: No space left on device$")
    with said, refusals(), naming(FULL), FULL.open("w") as file:
        file.write("x" * 100_000)


def test_a_folder_without_room_names_the_file_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("training.core.files.os.fsync", no_room)
    with pytest.raises(OSError) as refused:
        write_folder(tmp_path / "checkpoint", {"model.safetensors": b"weights"})
    assert refused.value.filename == str(tmp_path / "checkpoint" / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_names_its_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused, naming(tmp_path / "other"):
        (tmp_path / "absent").read_bytes()
    assert refused.value.filename == str(tmp_path / "absent")


def test_a_trouble_that_lasts_is_said_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now: dict[str, float] = {"seconds": 100.0}
    monkeypatch.setattr("ktrdr_site.log_filters.time.monotonic", lambda: now["seconds"])
    once = Once()

    def passes(text: str) -> bool:
        return bool(once.filter(logging.makeLogRecord({"msg": text})))

    assert passes("full") and not passes("full") and passes("another")
    now["seconds"] += 59
    assert not passes("full")
    now["seconds"] += 2
    assert passes("full")


def test_the_loggers_of_what_is_tried_again_have_the_filter(settings: Any) -> None:
    for name in ("workers.monitoring", "jobs.progress", "workers.machine_use"):
        assert any(isinstance(one, Once) for one in logging.getLogger(f"training.{name}").filters), name
