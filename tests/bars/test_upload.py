"""Bars from a file that is sent to the site: looked at first, loaded by a second click, refused in a sentence, never half-written."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.examples.api import Examples, make_examples, register_worker
from tests.examples.quick_work import work, worked
from training.bars import upload_jobs
from training.jobs import uploads
from training.models import AuditEntry, BarSeries
from training.pipeline.bars import bar_table, read_bars
from training.pipeline.synthetic import make_bars
from training.workers import quick

XSS = "<script>alert(1)</script>"


@pytest.fixture
def examples(transactional_db: None, empty_redis: Any, tmp_path: Path, settings: Any) -> Examples:
    settings.STORE_DIR, settings.UPLOAD_DIR = tmp_path / "bars", tmp_path / "uploads"
    found = make_examples()
    register_worker("quick")
    return found


def text_of(count: int = 300, timeframe: str = "1h", seed: int = 7) -> str:
    frame = make_bars(count, timeframe, seed=seed)
    return frame.to_csv(date_format="%Y-%m-%d %H:%M:%S")


def send(client: Client, content: bytes | str, name: str = "EURUSD_1h.csv", **fields: str) -> Any:
    raw = content.encode() if isinstance(content, str) else content
    return client.post("/data/upload/", {"file": SimpleUploadedFile(name, raw), **fields})


def preview(client: Client, address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    with worked(monkeypatch):
        return client.get(f"{address}preview/").content.decode()


def kept() -> list[Path]:
    return sorted(Path(settings.UPLOAD_DIR).glob("*/*")) if Path(settings.UPLOAD_DIR).exists() else []


def test_a_file_is_shown_and_then_stored(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    client = examples.signed_in("trainer")
    answer = send(client, text_of())
    address = answer["Location"]
    page = client.get(address).content.decode()
    assert 'value="EURUSD"' in page and '<option value="1h" selected>' in page and "nothing is stored yet" in page
    seen = preview(client, address, monkeypatch)
    assert "name no time zone" in seen and "Store as" not in seen, "a zone is never guessed"
    options = {"do": "read", "symbol": "EURUSD", "timeframe": "1h", "tz": "UTC", "price_scale": "1"}
    assert client.post(address, options)["Location"] == address
    seen = preview(client, address, monkeypatch)
    assert "300</b>" in seen and "Store as EURUSD 1h" in seen and "timestamp" in seen and "290 more" in seen
    assert BarSeries.objects.count() == 0, "a look stores nothing"
    with worked(monkeypatch):
        done = client.post(address, {"do": "load"}, follow=True)
    assert done.redirect_chain[-1][0] == "/data/EURUSD/1h/" and b"300 bars added, 0 the same, 0 replaced" in done.content
    assert len(read_bars(Path(settings.STORE_DIR), "EURUSD", "1h")) == 300
    assert kept() == [] and client.get(address).status_code == 404
    entry = AuditEntry.objects.get(action="load bars")
    assert (entry.username, entry.target, entry.details["added"]) == ("trainer", "EURUSD 1h", 300)
    assert AuditEntry.objects.filter(action="upload", target="EURUSD 1h").exists()


def test_parquet_and_packed_files_are_taken_too(examples: Examples, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    client = examples.signed_in("trainer")
    pq.write_table(bar_table(make_bars(50, "1d")), tmp_path / "x.parquet")
    address = send(client, (tmp_path / "x.parquet").read_bytes(), "msft-daily.parquet")["Location"]
    assert "Store as MSFT 1d" in preview(client, address, monkeypatch)
    address = send(client, gzip.compress(text_of(50, "1d").encode()), "IBM_D1.csv.gz")["Location"]
    assert "Store as IBM 1d" in preview(client, address, monkeypatch)


def test_other_values_are_replaced_only_when_told_to(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    client = examples.signed_in("trainer")
    for seed in (1, 2):
        address = send(client, text_of(40, "1d", seed=seed), "A_1d.csv")["Location"]
        if seed == 1:
            with worked(monkeypatch):
                client.post(address, {"do": "load"})
    before = read_bars(Path(settings.STORE_DIR), "A", "1d")
    seen = preview(client, address, monkeypatch)
    assert "have other values than the stored ones of the same time" in seen and 'name="replace"' in seen
    with worked(monkeypatch):
        refused = client.post(address, {"do": "load"}, follow=True)
    assert b"other values" in refused.content and b"Nothing was stored" in refused.content
    assert read_bars(Path(settings.STORE_DIR), "A", "1d").equals(before) and kept()
    with worked(monkeypatch):
        done = client.post(address, {"do": "load", "replace": "1"}, follow=True)
    assert b"40 replaced" in done.content and not read_bars(Path(settings.STORE_DIR), "A", "1d").equals(before)


def test_rows_are_named_where_they_are_wrong(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = text_of(30, "1d").splitlines()
    cells = lines[10].split(",")
    lines[10] = ",".join([cells[0], cells[1], "0.000001", *cells[3:]])
    client = examples.signed_in("trainer")
    seen = preview(client, send(client, "\n".join(lines), "A_1d.csv")["Location"], monkeypatch)
    assert "A_1d.csv: line 11: a high below open, close or low" in seen and "Store as" not in seen


JUNK = {
    "binary": (os.urandom(2000) + b"\0", "neither a Parquet file nor text"),
    "not UTF-8": ("time,open,high,low,close\n2020-01-01,1,1,1,1 é\n".encode("latin-1"), "UTF-8"),
    "one column": (b"price\n1\n2\n", "no column for the time, open, high, low, close"),
    "wrong columns": (b"when,how\n1,2\n", "it has when, how"),
    "blank": (b"\n\n  \n", "is empty"),
    "names only": (b"date,open,high,low,close\n", "no rows"),
    "huge numbers": (b"date,open,high,low,close\n2020-01-01,1e400,1e400,1e400,1e400\n", "infinite"),
    "no number": (b"date,open,high,low,close\n2020-01-01,<script>alert(1)</script>,1,1,1\n", "is not a number"),
    "huge time": (b"timestamp,open,high,low,close\n99999999999999999999999,1,1,1,1\n", "no time since 1970"),
    "cut Parquet": (b"PAR1" + b"\0" * 200, "cannot be read"),
    "cut gzip": (b"\x1f\x8b" + b"\0" * 50, "cannot be read"),
    "ragged": (b"date,open,high,low,close\n2020-01-01,1,1,1,1,1,1,1,1\n", "more cells"),
    "unclosed quote": (b'date,open,high,low,close\n2020-01-01,"1,1,1,1\n', "A_1d.csv"),
}


@pytest.mark.parametrize("kind", JUNK)
def test_a_bad_file_is_refused_in_one_sentence(examples: Examples, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    content, words = JUNK[kind]
    client = examples.signed_in("trainer")
    address = send(client, content, "A_1d.csv")["Location"]
    seen = preview(client, address, monkeypatch)
    assert words in seen and "Store as" not in seen and XSS not in seen
    with worked(monkeypatch):
        done = client.post(address, {"do": "load"}, follow=True)
    assert b"Nothing was stored" in done.content and XSS.encode() not in done.content
    assert BarSeries.objects.count() == 0 and not list(Path(settings.STORE_DIR).glob("*.parquet"))


def test_an_empty_or_missing_file_is_refused_at_once(examples: Examples) -> None:
    client = examples.signed_in("trainer")
    answer = send(client, b"", "A_1d.csv")
    assert answer.status_code == 422 and b"A_1d.csv is empty" in answer.content
    answer = client.post("/data/upload/", {})
    assert answer.status_code == 422 and b"Choose a file of bars first" in answer.content
    assert kept() == []


def test_a_file_over_the_limit_is_not_kept(examples: Examples, settings: Any) -> None:
    settings.UPLOAD_LIMIT_BYTES = 10_000
    answer = send(examples.signed_in("trainer", csrf=False), b"x" * 10_001)
    assert answer.status_code == 422 and b"which is what this site takes" in answer.content and b"load_data" in answer.content
    assert kept() == []


def test_what_claims_too_many_rows_or_bytes_is_refused_with_the_command(
    examples: Examples, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client = examples.signed_in("trainer")
    many = pa.table(
        {name: pa.DictionaryArray.from_arrays(np.zeros(6_000_000, np.int8), [1.0]) for name in ("open", "high", "low", "close")}
    )
    pq.write_table(many, tmp_path / "bomb.parquet")
    assert (tmp_path / "bomb.parquet").stat().st_size < 200_000
    seen = preview(client, send(client, (tmp_path / "bomb.parquet").read_bytes(), "A_1d.parquet")["Location"], monkeypatch)
    assert "6,000,000 rows, at most 5,000,000" in seen and "manage.py load_data A 1d --from A_1d.parquet" in seen
    monkeypatch.setattr(upload_jobs, "MOST_UNPACKED", 1_000_000)
    seen = preview(client, send(client, gzip.compress(b"0" * 3_000_000), "A_1d.csv.gz")["Location"], monkeypatch)
    assert "unpacks to more than" in seen


def test_a_few_bytes_that_unpack_to_more_memory_than_allowed_are_refused(
    examples: Examples, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One long text that a million rows name: small in the file, huge as cells."""
    monkeypatch.setattr(upload_jobs, "MOST_MEMORY", 256 * 1024**2)
    long = pa.DictionaryArray.from_arrays(np.zeros(400_000, np.int32), pa.array(["y" * 20_000]))
    table = pa.table({"timestamp": long, "open": long, "high": long, "low": long, "close": long})
    pq.write_table(table, tmp_path / "bomb.parquet")
    assert (tmp_path / "bomb.parquet").stat().st_size < 500_000
    client = examples.signed_in("trainer")
    seen = preview(client, send(client, (tmp_path / "bomb.parquet").read_bytes(), "A_1d.parquet")["Location"], monkeypatch)
    assert "more memory than a short job may take" in seen


def test_what_takes_too_long_is_refused_with_the_command(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.jobs import queues

    client = examples.signed_in("trainer")
    address = send(client, text_of(30, "1d"), "A_1d.csv")["Location"]
    monkeypatch.setitem(quick.QUESTIONS, "load_upload", lambda key, user: time.sleep(5))
    monkeypatch.setattr("training.web.page.SECONDS", 0)
    enqueue = queues.enqueue_quick

    def impatient(*args: Any) -> str:
        job = enqueue(*args)
        found = queues.quick_job(job)
        found.timeout = 1
        found.save()
        work()
        return job

    monkeypatch.setattr(queues, "enqueue_quick", impatient)
    done = client.post(address, {"do": "load"}, follow=True)
    assert (
        b"takes longer than the site may spend on it" in done.content
        and b"manage.py load_data A 1d --from A_1d.csv" in done.content
    )
    assert kept() and BarSeries.objects.count() == 0


def test_without_a_quick_worker_the_file_waits(examples: Examples, empty_redis: Any) -> None:
    empty_redis.flushdb()
    client = examples.signed_in("trainer")
    assert b"manage.py worker --tag quick" in client.get("/data/upload/").content
    address = send(client, text_of())["Location"]
    assert b"manage.py worker --tag quick" in client.get(f"{address}preview/").content
    assert b"EURUSD_1h.csv" in client.get("/data/upload/").content


def test_options_that_make_no_sense_are_refused_beside_their_field(examples: Examples) -> None:
    client = examples.signed_in("trainer")
    address = send(client, text_of())["Location"]
    wrong = {"do": "read", "symbol": "../etc", "timeframe": "7m", "tz": "Mars/Phobos", "price_scale": "nan"}
    answer = client.post(address, wrong)
    assert answer.status_code == 422
    for words in (b"at most 32 letters", b"7m is not one of", b"unknown time zone", b"price_scale"):
        assert words in answer.content
    assert b'value="EURUSD"' in client.get(address).content, "what was kept stays"


def test_a_file_is_its_senders_alone(examples: Examples) -> None:
    address = send(examples.signed_in("trainer"), text_of())["Location"]
    for role, status in (("other", 404), ("admin", 404), ("viewer", 403), ("nobody", 403)):
        for part in (address, f"{address}preview/"):
            assert examples.signed_in(role).get(part).status_code == status, (role, part)
    assert examples.signed_in("other").post(address, {"do": "drop"}).status_code == 404
    assert Client().get(address)["Location"].startswith("/sign-in/")
    assert (Path(settings.UPLOAD_DIR).stat().st_mode & 0o777) == 0o700


def test_a_file_can_be_dropped_and_old_ones_go_by_themselves(examples: Examples) -> None:
    client = examples.signed_in("trainer")
    first, second = (send(client, text_of())["Location"] for _ in range(2))
    client.post(first, {"do": "drop"})
    assert client.get(first).status_code == 404 and client.get(second).status_code == 200
    (folder,) = Path(settings.UPLOAD_DIR).glob("[!.]*")
    old = time.time() - uploads.KEPT_SECONDS - 60
    os.utime(folder, (old, old))
    assert uploads.sweep() == 1 and kept() == []


@pytest.mark.parametrize(
    "name",
    [
        f"{XSS}.csv",
        "../../../etc/passwd",
        "a\0b.csv",
        "upload.json",
        ".hidden",
        "x" * 300 + ".csv",
        "ü 1h.csv",
        "=cmd|' /C calc'!A0.csv",
    ],
)
def test_a_files_name_cannot_do_harm(examples: Examples, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    client = examples.signed_in("trainer")
    answer = send(client, text_of(), name)
    page = client.get(answer["Location"]).content.decode()
    assert XSS not in page and "<script>alert" not in preview(client, answer["Location"], monkeypatch)
    assert {path.parent.parent for path in kept()} == {Path(settings.UPLOAD_DIR)} and len(kept()) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("EURUSD_1h.csv", ("EURUSD", "1h")), ("EURUSD_H1_2020.csv", ("EURUSD", "1h")), ("aapl-daily.csv", ("AAPL", "1d")),
        ("BRK.B_1d.csv.gz", ("BRK.B", "1d")), ("GBPUSD_M15.parquet", ("GBPUSD", "15m")), ("prices.csv", ("PRICES", "")),
        ("EURUSD_5m_bars.csv", ("EURUSD", "5m")), ("x y z", ("X", "")), ("1d", ("1D", "")), ("-_-", ("", "")),
    ],
)  # fmt: skip
def test_a_name_says_what_is_in_it(name: str, said: tuple[str, str]) -> None:
    assert uploads.guess(name) == said


def test_what_is_sent_while_it_waits_comes_through(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.web.page.SECONDS", 0)
    client = examples.signed_in("trainer")
    address = send(client, text_of(30, "1d"), "A_1d.csv")["Location"]
    first = client.get(f"{address}preview/").content.decode()
    assert "Looking into the file" in first
    again = first.split('hx-get="')[1].split('"')[0]
    work()
    assert "Store as A 1d" in client.get(again).content.decode()
    here = client.post(address, {"do": "load"})["Location"]
    assert b"The bars are being stored" in client.get(here).content
    assert client.get(here, headers={"HX-Request": "true"}).status_code == 204
    work()
    assert client.get(here, headers={"HX-Request": "true"})["HX-Redirect"] == "/data/A/1d/"


def test_two_clicks_store_once(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    client = examples.signed_in("trainer")
    address = send(client, text_of(30, "1d"), "A_1d.csv")["Location"]
    with worked(monkeypatch):
        assert client.post(address, {"do": "load"})["Location"] == "/data/A/1d/"
        assert client.post(address, {"do": "load"}).status_code == 404
    assert pd.Series(read_bars(Path(settings.STORE_DIR), "A", "1d").index).is_unique
