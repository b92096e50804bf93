"""A stored series is taken along as CSV or Parquet by page, API and command, and loads back to the same bars."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import AsyncClient

from tests.examples.api import Examples, send
from training.bars.series import store_frame
from training.jobs import downloads
from training.models import AuditEntry
from training.pipeline.bars import bar_frame, fingerprint, read_bars, series_path
from training.readers.bar_files import read_bar_file
from training.store import candles

MINUTE = 60_000_000


@pytest.fixture
def stored(examples: Examples, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Examples:
    """Bars whose numbers have all their digits, of all sizes, some missing, as several parts."""
    settings.STORE_DIR = tmp_path / "bars"
    monkeypatch.setattr(candles, "CSV_ROWS", 1000)
    random = np.random.default_rng(3)
    count = 2500
    opens = np.exp(random.normal(0, 9, count))
    values = np.stack(
        [opens, opens * (1 + random.random(count)), opens * random.random(count) * 0.9, opens, random.random(count) * 1e11]
    )
    values[:, 7], values[4, 1200] = np.nan, np.nan
    store_frame(
        "BTC", "1m", bar_frame(np.arange(count) * MINUTE + 50 * 365 * 86_400_000_000 // MINUTE * MINUTE, values), source="test"
    )
    return examples


def content(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_is_downloaded_loads_back_to_the_same_bars(stored: Examples, kind: str, tmp_path: Path, settings: Any) -> None:
    before = read_bars(settings.STORE_DIR, "BTC", "1m")
    by_page = stored.signed_in("viewer").get(f"/data/BTC/1m/download/{kind}/")
    by_api = send(stored.with_token("viewer", "read"), "get", f"/data/BTC/1m/download?format={kind}")
    assert by_page["Content-Disposition"] == f'attachment; filename="BTC_1m.{kind}"' == by_api["Content-Disposition"]
    file = tmp_path / f"BTC_1m.{kind}"
    file.write_bytes(content(by_page))
    assert content(by_api) == file.read_bytes()
    frame, _ = read_bar_file(file, "1m")
    assert fingerprint(frame) == fingerprint(before)
    call_command("load_data", "COPY", "1m", "--from", str(file))
    assert fingerprint(read_bars(settings.STORE_DIR, "COPY", "1m")) == fingerprint(before)
    assert AuditEntry.objects.filter(action="export", target="BTC 1m", details__kind=kind).count() == 2


@pytest.mark.parametrize("ending", downloads.ENDINGS)
def test_the_command_writes_the_same_file(stored: Examples, ending: str, tmp_path: Path, settings: Any) -> None:
    target = tmp_path / f"out{ending}"
    call_command("data", "BTC", "1m", "--export", str(target))
    frame, _ = read_bar_file(target, "1m")
    assert fingerprint(frame) == fingerprint(read_bars(settings.STORE_DIR, "BTC", "1m"))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [target.name]


def test_a_file_that_is_there_stays_and_other_endings_are_refused(stored: Examples, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("precious")
    for target, words in (
        (mine, "is there already and stays as it is"),
        (tmp_path / "a.xlsx", "wanted a name that ends in .csv"),
    ):
        with pytest.raises(CommandError, match=words) as refusal:
            call_command("data", "BTC", "1m", "--export", str(target))
        assert refusal.value.returncode == 2
    assert mine.read_text() == "precious"
    with pytest.raises(CommandError, match="could not be written"):
        call_command("data", "BTC", "1m", "--export", str(tmp_path / "no" / "folder.csv"))
    with pytest.raises(CommandError, match="needs SYMBOL TIMEFRAME"):
        call_command("data", "BTC", "--export", str(tmp_path / "b.csv"))


def test_a_damaged_file_is_told_and_not_half_sent(stored: Examples, settings: Any) -> None:
    series_path(settings.STORE_DIR, "BTC", "1m").write_bytes(b"PAR1 nothing")
    client = stored.signed_in("viewer")
    assert send(client, "get", "/data/BTC/1m/download").status_code == 422
    told = client.get("/data/BTC/1m/download/csv/", follow=True).content.decode()
    assert "There is nothing to download: the bars of BTC 1m cannot be read" in told


def test_what_is_not_stored_or_no_format_is_not_found(stored: Examples) -> None:
    client = stored.signed_in("viewer")
    assert client.get("/data/BTC/1m/download/xlsx/").status_code == 404
    assert client.get("/data/ETH/1m/download/csv/").status_code == 404
    assert send(client, "get", "/data/ETH/1m/download").status_code == 404
    assert send(client, "get", "/data/BTC/1m/download?format=xlsx").status_code == 422
    assert stored.signed_in("nobody").get("/data/BTC/1m/download/csv/").status_code == 403


@pytest.mark.django_db(transaction=True)
def test_an_asynchronous_server_sends_the_parts_as_they_are_made(stored: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    parts = downloads.csv_parts

    def counted(*args: Any) -> Any:
        for part in parts(*args):
            made.append(len(part))
            yield part

    monkeypatch.setattr(downloads, "csv_parts", counted)
    client = AsyncClient()
    client.force_login(stored.users["viewer"])

    async def first() -> int:
        answer = await client.get("/data/BTC/1m/download/csv/")
        async for _ in answer.streaming_content:
            return len(made)
        return 0

    assert asyncio.run(first()) == 1, "nothing is collected before the first byte leaves"
