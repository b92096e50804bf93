"""`load_data` takes several files, a folder or an archive: each its own line, and one bad file does not stop the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from io import StringIO
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.core.management.base import CommandError

from ktrdr_site.cli import main
from tests.examples.homes import ROOT
from training.models import BarSeries
from training.pipeline.synthetic import make_bars

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def store(tmp_path: Path, settings: LazySettings) -> None:
    settings.STORE_DIR = tmp_path / "store"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as traders have them: exports of several programs, and what lies beside."""
    folder = tmp_path / "exports"
    folder.mkdir()
    make_bars(60, "1h", seed=1).to_csv(folder / "NASDAQ_TSLA, 60.csv")
    make_bars(50, "1d", seed=2).to_csv(folder / "aapl_us_d.csv.gz")
    make_bars(40, "1h", seed=3).to_parquet(folder / "EURUSD_1h.parquet")
    (folder / "read me.txt").write_text("Thank you for your download.")
    (folder / ".hidden.csv").write_text("x")
    return folder


def run(*arguments: object) -> tuple[str, str, int]:
    """What was said, what was said of errors, and the exit code."""
    out, err = StringIO(), StringIO()
    try:
        call_command("load_data", *map(str, arguments), stdout=out, stderr=err, no_color=True)
    except CommandError as error:
        return out.getvalue(), err.getvalue() + str(error), error.returncode
    return out.getvalue(), err.getvalue(), 0


def stored() -> dict[str, int]:
    return {str(series): series.rows for series in BarSeries.objects.all()}


def test_a_folder_is_loaded_file_by_file_under_the_names_of_its_files(folder: Path) -> None:
    out, err, code = run("--from", folder)
    assert (err, code) == ("", 0)
    assert stored() == {"TSLA 1h": 60, "AAPL 1d": 50, "EURUSD 1h": 40}
    lines = out.splitlines()
    assert lines[-1] == "3 of 3 files loaded"
    assert any(line.startswith("NASDAQ_TSLA, 60.csv: TSLA 1h: 60 bars from 2015-01-01 00:00") for line in lines)


def test_one_bad_file_does_not_stop_the_others(folder: Path) -> None:
    (folder / "BAD_1h.csv").write_text("time,open,high,low,close\n2024-01-02 03:00Z,1,2,.5,x\n")
    (folder / "nameless.csv").write_text("time,open,high,low,close\n2024-01-02,1,2,.5,1\n")
    out, err, code = run("--from", folder)
    assert code == 1 and len(stored()) == 3 and "3 of 5 files loaded" in out
    said = err.splitlines()
    assert said[0] == "BAD_1h.csv: line 2: 'x' in column close is not a number"
    assert (
        said[1] == "nameless.csv: the name nameless.csv does not say the timeframe, wanted SYMBOL TIMEFRAME, such as NAMELESS 1d"
    )
    assert said[-1] == "2 of 5 files could not be loaded"


def test_files_of_an_archive_and_beside_it(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(folder / "NASDAQ_TSLA, 60.csv", "deep/NASDAQ_TSLA, 60.csv")
        packed.writestr("__MACOSX/deep/._NASDAQ_TSLA, 60.csv", "x")
        packed.writestr("note.txt", "x")
    out, err, code = run("--from", archive, "--from", folder / "EURUSD_1h.parquet")
    assert (err, code) == ("", 0) and stored() == {"TSLA 1h": 60, "EURUSD 1h": 40}
    assert out.startswith("all.zip: deep/NASDAQ_TSLA, 60.csv: TSLA 1h: 60 bars")
    assert BarSeries.objects.get(symbol="TSLA").source == "NASDAQ_TSLA, 60.csv"


def test_parts_of_one_series_come_together_under_one_name(tmp_path: Path) -> None:
    bars = make_bars(90, "1h", seed=4)
    for part in range(3):
        bars.iloc[part * 30 : part * 30 + 30].to_csv(tmp_path / f"part{part}.csv")
    out, _, code = run("ZZQ", "1h", *(word for part in range(3) for word in ("--from", tmp_path / f"part{part}.csv")))
    assert code == 0 and stored() == {"ZZQ 1h": 90} and "3 of 3 files loaded" in out


def test_one_file_needs_no_more_than_its_name(folder: Path) -> None:
    out, _, code = run("--from", folder / "NASDAQ_TSLA, 60.csv")
    assert code == 0 and out.startswith("TSLA 1h: 60 bars")
    out, _, code = run("OTHER", "--from", folder / "NASDAQ_TSLA, 60.csv")
    assert code == 0 and out.startswith("OTHER 1h: 60 bars")
    _, err, code = run("--from", folder / "read me.txt")
    assert code == 2 and "does not say the timeframe, wanted SYMBOL TIMEFRAME, such as READ 1d" in err


@pytest.mark.parametrize("damage", ["cut", "middle", "nothing inside", "no zip"])
def test_an_archive_that_cannot_be_read_is_one_sentence(folder: Path, tmp_path: Path, damage: str) -> None:
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        if damage == "nothing inside":
            packed.writestr("picture.png", "x")
        else:
            packed.write(folder / "NASDAQ_TSLA, 60.csv", "TSLA_1h.csv")
    content = bytearray(archive.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    if damage == "middle":
        content[200:260] = b"\xff" * 60
    if damage == "no zip":
        content = bytearray(b"PK\x03\x04 and rubbish")
    archive.write_bytes(content)
    _, err, code = run("--from", archive)
    assert code == 1 and "\n" not in err and stored() == {}
    assert ("has no files of bars" if damage == "nothing inside" else "all.zip is not a zip archive that can be read") in err


def test_options_of_files_do_not_go_with_a_source(folder: Path) -> None:
    for words in (
        ["--columns", "date"],
        ["--thousands", "."],
        ["--only", "A"],
        ["--drop-impossible"],
        ["--date-format", "%d"],
        ["--encoding", "x"],
    ):
        _, err, code = run("A", "1d", "--source", "yahoo", *words)
        assert code == 2 and err == f"{words[0]} does not go with --source"


def test_every_option_reaches_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "bars.txt"
    path.write_bytes(
        "x;AAA;30/07/19;1,5;2,5;0,5;1,25;7.500\nx;BBB;30/07/19;1;2;1;1;€\nx;AAA;31/07/19;-1;2,5;-1;1,25;7.500\n".encode("cp1252")
    )
    words = ["--columns=-,symbol,date,open,high,low,close,volume", "--date-format", "%d/%m/%y", "--encoding", "cp1252"]
    words += ["--thousands", "point", "--decimal", "comma", "--only", "AAA", "--drop-impossible"]
    out, err, code = run("A", "1d", "--from", path, *words)
    assert (err, code) == ("", 0) and "1 impossible bar left out" in out and "1 row of other symbols left out" in out
    series = BarSeries.objects.get()
    assert (series.rows, f"{series.first:%Y-%m-%d}") == (1, "2019-07-30")


def test_ctrl_c_ends_with_one_sentence_and_130(tmp_path: Path) -> None:
    home = {**os.environ, "KTRDR_HOME": str(tmp_path / "home")}
    command = [sys.executable, "manage.py"]
    assert subprocess.run([*command, "migrate", "-v0"], cwd=ROOT, env=home, check=False).returncode == 0
    folder = tmp_path / "many"
    folder.mkdir()
    make_bars(20_000, "1m", seed=1).to_csv(folder / "A_1m.csv")
    for number in range(300):
        os.link(folder / "A_1m.csv", folder / f"B{number}_1m.csv")
    loading = subprocess.Popen(
        [*command, "load_data", "--from", str(folder)],
        cwd=ROOT,
        env={**home, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - tests may run where it is ignored
    )
    assert loading.stdout is not None
    while not loading.stdout.readline().startswith("B"):  # until the second file is loaded
        assert loading.poll() is None
    loading.send_signal(signal.SIGINT)
    _, err = loading.communicate()
    assert loading.returncode == 130 and "Traceback" not in err
    assert (
        err.count("\n") == 1
        and "of 301 files are loaded; B" in err
        and "is loaded as a whole or not at all, and may be loaded again" in err
    )
    checked = subprocess.run([*command, "data", "--check"], cwd=ROOT, env=home, capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and "all sound" in checked.stdout and "repaired" not in checked.stdout


def test_ctrl_c_in_any_command_is_one_word_and_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def pressed(argv: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("django.core.management.execute_from_command_line", pressed)
    monkeypatch.setattr(sys, "argv", ["manage.py", "data"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130 and capsys.readouterr().err == "stopped\n"
