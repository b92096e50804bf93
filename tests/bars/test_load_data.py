"""`load_data` and `data`: files become stored series with rows that match, or one sentence and an exit code."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.examples.homes import ROOT
from training.bars.series import load_samples
from training.models import BarSeries
from training.pipeline import bars
from training.pipeline.bars import bar_frame, bar_times, bar_values, file_sha256, read_bars, write_bars
from training.pipeline.synthetic import make_bars, with_holes

LONGER = make_bars(400, seed=1)
pytestmark = pytest.mark.django_db


@pytest.fixture
def store(tmp_path: Path, settings: LazySettings) -> Path:
    settings.STORE_DIR = tmp_path / "store"
    return tmp_path / "store"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bars.csv"
    LONGER.iloc[:300].to_csv(path)
    return path


def run(*arguments: object) -> str:
    out = StringIO()
    call_command(*map(str, arguments), stdout=out, no_color=True)
    return out.getvalue()


def fails(*arguments: object, code: int = 1) -> str:
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    assert caught.value.returncode == code
    return str(caught.value)


# --- load_data ---------------------------------------------------------------------------------


def test_loading_stores_the_bars_and_records_them(store: Path, file: Path) -> None:
    said = run("load_data", "EURUSD", "1h", "--from", file)
    assert said == "EURUSD 1h: 300 bars from 2015-01-01 00:00 to 2015-01-13 11:00 UTC (300 added, 0 the same, 0 replaced)\n"
    row = BarSeries.objects.get()
    assert (row.symbol, row.timeframe, row.rows, row.source) == ("EURUSD", "1h", 300, "bars.csv")
    assert row.first.isoformat() == "2015-01-01T00:00:00+00:00"
    assert row.sha256 == file_sha256(store / "EURUSD_1h.parquet")
    assert row.quality["gaps"]["count"] == 0
    assert len(read_bars(store, "EURUSD", "1h")) == 300


def test_loading_again_changes_nothing_and_more_bars_are_added(store: Path, file: Path) -> None:
    run("load_data", "A", "1h", "--from", file)
    before = (store / "A_1h.parquet").stat().st_ino
    assert "(0 added, 300 the same, 0 replaced)" in run("load_data", "A", "1h", "--from", file)
    assert (store / "A_1h.parquet").stat().st_ino == before
    LONGER.to_csv(file)
    assert "A 1h: 400 bars" in (said := run("load_data", "A", "1h", "--from", file))
    assert "(100 added, 300 the same, 0 replaced)" in said
    assert BarSeries.objects.get().rows == 400


def test_a_conflict_needs_replace(store: Path, file: Path) -> None:
    run("load_data", "A", "1h", "--from", file)
    make_bars(300, seed=2).to_csv(file)
    sha256 = BarSeries.objects.get().sha256
    assert "A 1h: 300 of the new bars have other values than the stored ones" in (
        message := fails("load_data", "A", "1h", "--from", file)
    )
    assert "give --replace" in message
    assert BarSeries.objects.get().sha256 == sha256 == file_sha256(store / "A_1h.parquet")
    assert "(0 added, 0 the same, 300 replaced)" in run("load_data", "A", "1h", "--from", file, "--replace")
    assert BarSeries.objects.get().sha256 == file_sha256(store / "A_1h.parquet") != sha256


def test_notes_and_warnings_are_said_once(store: Path, file: Path) -> None:
    frame = with_holes(make_bars(300, seed=1), 0.1).shift(freq="30min")
    frame.drop(columns="volume").to_csv(file)
    lines = run("load_data", "A", "1h", "--from", file).splitlines()
    assert lines[1] == "  note: there is no volume column: volume is missing in every bar"
    assert [line for line in lines if "off the 1h grid" in line] == [
        f"  note: {len(frame)} stamps off the 1h grid, the first at 2015-01-01 00:30"
    ]
    assert any(line.startswith("  warning: ") and "gaps" in line for line in lines)


def test_options_reach_the_reader(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("time,open,high,low,close,volume\n2024-07-01 12:00,100000,110000,90000,105000,5\n")
    assert "name no time zone; give it with --tz" in fails("load_data", "EURUSD", "1h", "--from", path)
    run("load_data", "EURUSD", "1h", "--from", path, "--tz", "Europe/Berlin", "--price-scale", "100000")
    frame = read_bars(store, "EURUSD", "1h")
    assert frame["close"].tolist() == [1.05]
    assert str(frame.index[0]) == "2024-07-01 10:00:00+00:00"
    assert "there is no adjusted close to adjust by" in fails("load_data", "X", "1h", "--from", path, "--tz", "UTC", "--adjust")


def test_wrong_words_are_usage_errors(store: Path, file: Path) -> None:
    assert "'../EURUSD' cannot be a symbol" in fails("load_data", "../EURUSD", "1h", "--from", file, code=2)
    assert "invalid choice: '1x'" in fails("load_data", "EURUSD", "1x", "--from", file)
    assert "there is no file nowhere.csv" in fails("load_data", "EURUSD", "1h", "--from", "nowhere.csv")
    assert not store.exists()


def test_a_full_disk_leaves_file_and_row(store: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("load_data", "A", "1h", "--from", file)
    before = (BarSeries.objects.get().sha256, (store / "A_1h.parquet").read_bytes())

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    LONGER.to_csv(file)
    monkeypatch.setattr(bars.os, "fsync", full)
    assert "A 1h could not be written to" in fails("load_data", "A", "1h", "--from", file)
    assert (BarSeries.objects.get().sha256, (store / "A_1h.parquet").read_bytes()) == before
    assert [path.name for path in store.iterdir() if path.name.endswith(".tmp")] == []


def test_a_store_that_cannot_be_written_is_said(file: Path, tmp_path: Path, settings: LazySettings) -> None:
    (tmp_path / "store").write_text("a file")
    settings.STORE_DIR = tmp_path / "store"
    assert "cannot be used" in fails("load_data", "A", "1h", "--from", file)


# --- data --------------------------------------------------------------------------------------


def test_data_lists_what_is_stored(store: Path, file: Path) -> None:
    assert "No bars are stored yet: manage.py load_data" in run("data")
    run("load_data", "EURUSD", "1h", "--from", file)
    with_holes(make_bars(300, "15m", seed=1), 0.1).to_csv(file)
    run("load_data", "EURUSD", "15m", "--from", file)
    header, *lines = run("data").splitlines()
    assert header.split()[:2] == ["symbol", "timeframe"]
    assert [line.split()[:2] for line in lines] == [["EURUSD", "15m"], ["EURUSD", "1h"]]
    assert [entry["rows"] for entry in json.loads(run("data", "--json"))] == [BarSeries.objects.get(timeframe="15m").rows, 300]


def test_data_shows_one_series(store: Path, file: Path) -> None:
    run("load_data", "EURUSD", "1h", "--from", file)
    said = run("data", "EURUSD", "1h")
    assert "bars: 300, 2015-01-01 00:00 to 2015-01-13 11:00 UTC" in said
    assert "loaded from: bars.csv" in said
    assert fails("data", "EURUSD", "1d", code=2) == "no 1d bars of EURUSD are stored; EURUSD is stored as 1h"
    assert "did you mean EURUSD?" in fails("data", "EURUDS", "1h", code=2)


def test_check_repairs_rows_and_reports_files(store: Path, file: Path) -> None:
    for symbol in ("FINE", "NEWER", "NOROW", "BROKEN", "GONE"):
        run("load_data", symbol, "1h", "--from", file)
    assert "5 stored series, all sound." in run("data", "--check")
    BarSeries.objects.get(symbol="NOROW").delete()
    digest = write_bars(store, "NEWER", "1h", make_bars(350, seed=1))
    (store / "GONE_1h.parquet").unlink()
    content = bytearray((store / "BROKEN_1h.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (store / "BROKEN_1h.parquet").write_bytes(content)
    out = StringIO()
    with pytest.raises(CommandError, match="2 of 5 stored series cannot be used"):
        call_command("data", "--check", stdout=out, no_color=True)
    findings = dict(line.split(" 1h: ") for line in out.getvalue().splitlines())
    assert findings["FINE"] == "300 bars, as recorded"
    assert findings["NEWER"] == "350 bars; the file was newer than its row, which is repaired"
    assert findings["NOROW"] == "300 bars; the file was not recorded, which is repaired"
    assert "BROKEN_1h.parquet is not a readable bar file" in findings["BROKEN"]
    assert findings["GONE"].startswith("the file is gone and its row was removed; load it again: manage.py load_data GONE 1h")
    newer = BarSeries.objects.get(symbol="NEWER")
    assert (newer.sha256, newer.rows) == (digest, 350)
    assert not BarSeries.objects.filter(symbol="GONE").exists()


def test_check_sees_impossible_bars_in_a_sound_file(store: Path, file: Path) -> None:
    run("load_data", "A", "1h", "--from", file)
    values = bar_values(make_bars(300)).copy()
    values[2, 7] = -1.0
    write_bars(store, "A", "1h", bar_frame(bar_times(make_bars(300)), values))
    out = StringIO()
    with pytest.raises(CommandError, match="1 of 1"):
        call_command("data", "--check", stdout=out)
    assert "has 1 bars with a price that is not positive" in out.getvalue()


def test_the_sample_bars_go_into_the_store_once(store: Path) -> None:
    assert [str(loaded.series) for loaded in load_samples()] == ["AAPL 1d", "GOOG 1d", "IBM 1d", "MSFT 1d"]
    assert all(loaded.merge.added == 0 for loaded in load_samples())
    assert BarSeries.objects.count() == 4


# --- as a program ------------------------------------------------------------------------------


def program(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KTRDR_HOME": str(home)}
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_program_ends_with_a_sentence_and_a_code(tmp_path: Path, file: Path) -> None:
    without_tables = program("load_data", "A", "1h", "--from", str(file), home=tmp_path / "home")
    assert without_tables.returncode == 1
    assert "the database is not set up yet" in without_tables.stderr
    assert "Traceback" not in without_tables.stderr
    assert not (tmp_path / "home" / "bars").exists()
    usage = program("load_data", "A", "1x", "--from", str(file), home=tmp_path / "home")
    assert usage.returncode == 2
    assert "invalid choice: '1x'" in usage.stderr


def test_help_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys; from django.core.management import load_command_class; import django; django.setup();"
        "[load_command_class('training', name).create_parser('manage.py', name).format_help() for name in ('load_data', 'data')];"
        "print([name for name in ('pandas', 'numpy', 'pyarrow', 'torch') if name in sys.modules])"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "ktrdr_site.settings"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
