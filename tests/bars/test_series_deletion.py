"""A stored series is deleted by command, page, API and admin: file and row together, never under a run or a fetch that needs it."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone

from tests.examples.api import Examples, send, start, store_bars
from tests.examples.homes import ROOT, made_home
from training.access.audit import Actor
from training.admin.parts import address_of
from training.bars.series import store_frame
from training.jobs import deletions, homes
from training.jobs.lifecycle import OperationError
from training.models import AuditEntry, BarFetch, BarSeries, Operation, Status
from training.pipeline.bars import read_bars, series_path
from training.store.candles import InUse, locked
from training.store.coverage import DataError
from training.store.reading import Reading

OPEN = (Status.PENDING, Status.RUNNING, Status.CANCELLING)


@pytest.fixture
def stored(examples: Examples, tmp_path: Path, settings: Any) -> Examples:
    """AAPL 1d, which nothing reads: the examples' waiting operations have ended."""
    settings.STORE_DIR = tmp_path / "bars"
    store_bars()
    Operation.objects.filter(status=Status.PENDING).update(status=Status.CANCELLED)
    return examples


def path() -> Path:
    return series_path(Path(settings.STORE_DIR), "AAPL", "1d")


def is_whole() -> bool:
    return path().exists() and BarSeries.objects.filter(symbol="AAPL", timeframe="1d").exists()


def is_gone() -> bool:
    rest = [found.name for found in Path(settings.STORE_DIR).iterdir() if not found.name.endswith((".lock", ".ktrdr-id"))]
    return not rest and not BarSeries.objects.exists()


def test_the_page_asks_says_what_stays_and_deletes(stored: Examples) -> None:
    client = stored.signed_in("trainer")
    page = client.get("/data/AAPL/1d/").content.decode()
    assert "Delete AAPL 1d?" in page and "trained models stay" in page and "can be resumed only when the same bars" in page
    done = client.post("/data/AAPL/1d/delete/", follow=True)
    assert done.redirect_chain[-1][0] == "/data/" and "AAPL 1d is deleted" in done.content.decode()
    assert is_gone()
    entry = AuditEntry.objects.get(action="delete", target="AAPL 1d")
    assert entry.username == "trainer" and entry.details["via"] == "web" and entry.details["rows"] > 1000
    assert client.post("/data/AAPL/1d/delete/").status_code == 404


@pytest.mark.parametrize(("role", "may"), [("viewer", False), ("nobody", False), ("trainer", True), ("admin", True)])
def test_who_may_load_bars_may_delete_them(stored: Examples, role: str, may: bool) -> None:
    client = stored.signed_in(role)
    assert (b"ask-delete" in client.get("/data/AAPL/1d/").content) is may
    assert client.get("/data/AAPL/1d/delete/").status_code == 405
    assert client.post("/data/AAPL/1d/delete/").status_code == (302 if may else 403)
    assert is_gone() if may else is_whole()


def test_the_api_deletes_and_says_so_once(stored: Examples) -> None:
    client = stored.with_token("trainer", "train")
    assert send(client, "delete", "/data/AAPL/1d").status_code == 204 and is_gone()
    assert send(client, "delete", "/data/AAPL/1d").status_code == 404
    assert send(client, "delete", "/data/AAPL/7m").status_code == 404


def test_the_admin_asks_and_deletes(stored: Examples) -> None:
    client, row = stored.signed_in("admin"), BarSeries.objects.get()
    assert b"strategies, results and trained models stay" in client.get(address_of(row, "delete")).content and is_whole()
    client.post(address_of(row, "delete"), {"confirmed": "yes"})
    assert is_gone()


def test_the_command_asks_unless_told_not_to(
    stored: Examples, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CommandError, match="nobody to ask, so give --yes") as refusal:
        call_command("data", "AAPL", "1d", "--delete")
    assert refusal.value.returncode == 2 and is_whole()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "")
    call_command("data", "AAPL", "1d", "--delete")
    assert "Nothing was deleted." in capsys.readouterr().out and is_whole()
    call_command("data", "AAPL", "1d", "--delete", "--yes")
    assert "AAPL 1d is deleted" in capsys.readouterr().out and is_gone()
    for wrong in (["AAPL", "--delete"], ["MSFT", "1d", "--delete", "--yes"]):
        with pytest.raises(CommandError) as refusal:
            call_command("data", *wrong)
        assert refusal.value.returncode == 2


@pytest.mark.parametrize("status", OPEN)
def test_what_a_run_reads_stays_and_the_run_is_named(stored: Examples, status: Status) -> None:
    operation = start(stored.version, stored.users["trainer"], status=status)
    client = stored.signed_in("trainer")
    page = client.get("/data/AAPL/1d/").content.decode()
    assert "cannot be deleted now" in page and operation.pk in page
    told = client.post("/data/AAPL/1d/delete/", follow=True).content.decode()
    assert f"{operation.pk} is {status} and reads AAPL 1d" in told and "Nothing was deleted" in told
    answer = send(stored.with_token("admin", "admin"), "delete", "/data/AAPL/1d")
    assert answer.status_code == 409 and operation.pk in answer.json()["error"]["message"]
    with pytest.raises(CommandError, match=operation.pk):
        call_command("data", "AAPL", "1d", "--delete", "--yes")
    admin, row = stored.signed_in("admin"), BarSeries.objects.get()
    admin.post(address_of(row, "delete"), {"confirmed": "yes"})
    assert is_whole() and not AuditEntry.objects.filter(action="delete", target="AAPL 1d").exists()


def test_a_failed_run_that_is_tried_again_by_itself_keeps_its_bars(stored: Examples) -> None:
    start(stored.version, status=Status.FAILED, retry_at=timezone.now())
    with pytest.raises(OperationError, match="waits to be tried again"):
        deletions.delete_series("AAPL", "1d", Actor())
    assert is_whole()


def test_only_the_timeframe_that_a_run_is_made_from_stays(stored: Examples) -> None:
    bars = read_bars(Path(settings.STORE_DIR), "AAPL", "1d")
    store_frame(
        "AAPL", "4h", bars, source="test", reading=Reading(timeframe_is_right=True)
    )  # covers the same, and is not needed: 1d is stored itself
    store_frame("MSFT", "1d", bars, source="test")
    operation = start(stored.version, status=Status.RUNNING)
    spec = json.loads(operation.spec)
    spec["training_data"]["timeframes"] = {"mode": "single", "timeframe": "1d"}
    Operation.objects.filter(pk=operation.pk).update(spec=json.dumps(spec))
    assert operation.pk in deletions.why_kept("AAPL", "1d")
    assert deletions.why_kept("AAPL", "4h") == deletions.why_kept("MSFT", "1d") == ""
    Operation.objects.filter(pk=operation.pk).update(sources={"AAPL": {"1d": "4h", "1w": "4h"}})  # what it read in fact
    assert operation.pk in deletions.why_kept("AAPL", "4h") and deletions.why_kept("AAPL", "1d") == ""


def test_a_symbol_is_not_taken_for_another_that_it_is_part_of(stored: Examples) -> None:
    spec = json.loads(start(stored.version).spec)
    spec["training_data"]["symbols"] = {"mode": "multi_symbol", "list": ["AAPL2", "XAAPL"]}
    spec["description"] = 'about "AAPL"'
    Operation.objects.filter(status=Status.PENDING).update(spec=json.dumps(spec))
    assert deletions.why_kept("AAPL", "1d") == ""


def test_what_is_being_fetched_stays(stored: Examples) -> None:
    fetch = BarFetch.objects.create(symbol="AAPL", timeframe="1d", source="yahoo", status=Status.RUNNING)
    with pytest.raises(OperationError, match="is being fetched from yahoo: stop the fetch first"):
        deletions.delete_series("AAPL", "1d", Actor())
    assert is_whole()
    BarFetch.objects.filter(pk=fetch.pk).update(status=Status.COMPLETED)
    deletions.delete_series("AAPL", "1d", Actor())
    assert is_gone()


def test_what_is_being_stored_stays(stored: Examples) -> None:
    with locked(Path(settings.STORE_DIR), "AAPL", "1d"), pytest.raises(InUse, match="are being stored just now"):
        deletions.delete_series("AAPL", "1d", Actor())
    with (Path(settings.STORE_DIR) / f".{path().stem}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = send(stored.with_token("trainer", "train"), "delete", "/data/AAPL/1d")
    assert answer.status_code == 409 and is_whole()


def test_a_file_that_cannot_be_removed_keeps_its_row(stored: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(DataError, match="cannot be removed: Permission denied; nothing was deleted"):
        deletions.delete_series("AAPL", "1d", Actor())
    assert is_whole() and not AuditEntry.objects.filter(action="delete", target="AAPL 1d").exists()


@pytest.mark.django_db(transaction=True)
def test_a_row_that_cannot_be_removed_keeps_its_file(stored: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path().read_bytes()
    commit = transaction.Atomic.__exit__

    def fail(self: Any, kind: Any, value: Any, trace: Any) -> Any:
        assert not path().exists(), "the file goes last"
        commit(self, RuntimeError, RuntimeError("disk full"), None)
        raise RuntimeError("disk full")

    monkeypatch.setattr(transaction.Atomic, "__exit__", lambda self, kind, value, trace: (
        fail(self, kind, value, trace) if kind is None and not path().exists() else commit(self, kind, value, trace)
    ))  # fmt: skip
    with pytest.raises(RuntimeError, match="disk full"):
        deletions.delete_series("AAPL", "1d", Actor())
    monkeypatch.undo()
    settings.STORE_DIR = path().parent
    assert path().read_bytes() == before and BarSeries.objects.count() == 1


def test_nothing_is_deleted_of_a_disk_that_is_away(stored: Examples, tmp_path: Path, settings: Any) -> None:
    """An empty folder stands where the disk of the bars was: the records of its bars stay."""
    homes.require("bars")
    (tmp_path / "elsewhere").mkdir()
    settings.STORE_DIR = tmp_path / "elsewhere"
    told = stored.signed_in("trainer").post("/data/AAPL/1d/delete/", follow=True).content.decode()
    assert "Nothing was deleted" in told and BarSeries.objects.count() == 1
    assert send(stored.with_token("trainer", "train"), "delete", "/data/AAPL/1d").status_code == 409
    admin, row = stored.signed_in("admin"), BarSeries.objects.get()
    assert "was left as it is" in admin.post(address_of(row, "delete"), {"confirmed": "yes"}, follow=True).content.decode()
    with pytest.raises(CommandError):
        call_command("data", "AAPL", "1d", "--delete", "--yes")
    assert BarSeries.objects.count() == 1


DIES = """
import django, os
django.setup()
from training.jobs import deletions
from training.jobs.requests import Actor
set_aside = deletions._set_aside
deletions._set_aside = lambda path: (set_aside(path), os._exit(9))
deletions.delete_series("AAPL", "1d", Actor())
"""


def test_a_process_that_dies_while_it_deletes_leaves_what_the_check_of_the_store_puts_right(tmp_path: Path) -> None:
    home = made_home(tmp_path)
    environment = home.environment(DJANGO_SETTINGS_MODULE="ktrdr_site.settings")
    assert subprocess.run([sys.executable, "-c", DIES], cwd=ROOT, env=environment, check=False).returncode == 9
    checked = home.run("data", "--check")
    assert checked.returncode == 1 and "AAPL 1d: the file is gone and its row was removed" in checked.stdout
    assert home.run("data", "--check").returncode == 0
    assert [path.name for path in (home.folder / "bars").iterdir() if "AAPL" in path.name and path.suffix != ".lock"] == []


def test_bars_that_are_loaded_again_begin_anew(stored: Examples) -> None:
    bars = read_bars(Path(settings.STORE_DIR), "AAPL", "1d")
    deletions.delete_series("AAPL", "1d", Actor())
    assert store_frame("AAPL", "1d", bars.iloc[:5], source="test").series.rows == 5, "nothing of the former bars came back"
