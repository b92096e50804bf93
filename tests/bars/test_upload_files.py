"""Several files of bars come at once, or in a zip; what is kept stays its whole day, also when files come at the same moment."""

from __future__ import annotations

import io
import os
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.examples.api import Examples
from training.jobs import uploads
from training.jobs.uploads import UploadError

BARS = "timestamp,open,high,low,close\n2024-01-01T00:00:00Z,1,1,1,1\n2024-01-01T01:00:00Z,1,1,1,1\n"


@pytest.fixture
def trainer(examples: Examples, tmp_path: Path, settings: Any) -> Client:
    settings.UPLOAD_DIR = tmp_path / "uploads"
    return examples.signed_in("trainer")


def file(name: str, content: bytes | str = BARS) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content.encode() if isinstance(content, str) else content)


def zipped(files: dict[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return out.getvalue()


def send(client: Client, *files: SimpleUploadedFile) -> Any:
    return client.post("/data/upload/", {"file": list(files)})


def kept(owner: Any = None) -> dict[str, tuple[str, str]]:
    folders = Path(settings.UPLOAD_DIR).glob("*/upload.json")
    found = [uploads.read(path.parent.name) for path in folders]
    return {one.name: (one.options["symbol"], one.options["timeframe"]) for one in found if one}


def test_each_of_several_files_is_kept_and_listed_with_what_its_name_says(trainer: Client) -> None:
    answer = send(trainer, file("EURUSD_1h.csv"), file("aapl-daily.csv"), file("empty_1d.csv", ""))
    page = answer.content.decode()
    assert answer.status_code == 200 and "2 files kept" in page and "empty_1d.csv is empty" in page
    assert kept() == {"EURUSD_1h.csv": ("EURUSD", "1h"), "aapl-daily.csv": ("AAPL", "1d")}
    assert "EURUSD 1h" in page and "AAPL 1d" in page


def test_the_files_of_a_zip_are_kept_as_if_they_had_come_one_by_one(trainer: Client) -> None:
    packed = zipped({
        "bars/EURUSD_1h.csv": BARS, "bars/deeper/GBPUSD_H4.csv": BARS, "__MACOSX/._EURUSD_1h.csv": "x", "readme.md": "hello", "bars/.DS_Store": "x",
    })  # fmt: skip
    answer = send(trainer, file("all.zip", packed))
    assert kept() == {"EURUSD_1h.csv": ("EURUSD", "1h"), "GBPUSD_H4.csv": ("GBPUSD", "4h")}
    assert "readme.md was left out" in answer.content.decode()


def test_a_zip_with_one_file_leads_to_it(trainer: Client) -> None:
    """As exchanges hand out their archives."""
    answer = send(trainer, file("EURUSD-1h-2024-01.zip", zipped({"EURUSD-1h-2024-01.csv": BARS})))
    assert answer.status_code == 302 and b"EURUSD-1h-2024-01.csv" in trainer.get(answer["Location"]).content


def encrypted() -> bytes:
    content = bytearray(zipped({"A_1d.csv": BARS}))
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + place] |= 1
    return bytes(content)


def lying() -> bytes:
    """Says that what is in it has 10 bytes."""
    content = bytearray(zipped({"A_1d.csv": "1" * 1_000_000}))
    for mark, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        start = content.index(mark) + place
        content[start : start + 4] = (10).to_bytes(4, "little")
    return bytes(content)


BAD = {
    "cut": (lambda: zipped({"A_1d.csv": os.urandom(5000)})[:3000], "cannot be unpacked"),
    "damaged": (lambda: zipped({"A_1d.csv": BARS * 50}).replace(b"\x00\x00\x08\x00", b"\x00\x00\x63\x00"), "cannot be unpacked"),
    "encrypted": (encrypted, "cannot be unpacked"),
    "lying": (lying, "cannot be unpacked"),
    "without bars": (lambda: zipped({"readme.md": "hello"}), "holds no file of bars"),
    "with an empty name": (lambda: zipped({"a/../../../.csv": BARS}), "holds no file of bars"),
    "a bomb": (lambda: zipped({f"A{n}_1d.csv": b"0" * 3_000_000 for n in range(4)}), "unpacks to more than 10 MB"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_zip_is_one_sentence_and_nothing_of_it_is_kept(trainer: Client, settings: Any, kind: str) -> None:
    settings.UPLOAD_LIMIT_BYTES = 10_000_000
    make, words = BAD[kind]
    answer = send(trainer, file("bars.zip", make()))
    assert answer.status_code == 422 and words in answer.content.decode(), answer.content.decode()[:3000]
    assert kept() == {} and not [path for path in Path(settings.UPLOAD_DIR).glob("*") if path.is_dir()]


@pytest.mark.parametrize("name", ["bars.xlsx", "BARS.XLS", "bars.ods"])
def test_a_spreadsheet_is_told_apart_from_a_zip(trainer: Client, name: str) -> None:
    answer = send(trainer, file(name, zipped({"xl/workbook.xml": "<x/>"})))
    assert answer.status_code == 422 and "is a spreadsheet" in answer.content.decode() and kept() == {}


def test_one_file_more_than_may_wait_is_refused_and_none_makes_room_for_it(
    trainer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MOST_PER_USER", 3)
    answer = send(trainer, *(file(f"A{number}_1d.csv") for number in range(5)))
    page = answer.content.decode()
    assert "3 files kept" in page and "A3_1d.csv was not kept: 3 of your files wait already" in page
    assert sorted(kept()) == ["A0_1d.csv", "A1_1d.csv", "A2_1d.csv"]
    answer = send(trainer, file("more.zip", zipped({"B_1d.csv": BARS})))
    assert answer.status_code == 422 and len(kept()) == 3


def test_all_that_waits_is_dropped_at_once_and_nothing_of_others(trainer: Client, examples: Examples) -> None:
    other = examples.signed_in("other")
    send(other, file("O_1d.csv"))
    send(trainer, file("A_1d.csv"), file("B_1d.csv"))
    assert "Drop 2 files?" in trainer.get("/data/upload/").content.decode()
    answer = trainer.post("/data/upload/", {"do": "drop-all"}, follow=True)
    assert "2 files were dropped. Nothing was stored." in answer.content.decode() and list(kept()) == ["O_1d.csv"]


def test_files_that_wait_take_a_bounded_room(trainer: Client, settings: Any) -> None:
    settings.UPLOAD_LIMIT_BYTES = 1000
    for number in range(6):
        answer = send(trainer, file(f"A{number}_1d.csv", "1" * 900))
    assert answer.status_code == 422 and b"would take more than" in answer.content and len(kept()) == 5


def test_files_that_come_at_the_same_moment_are_counted_one_after_the_other(
    trainer: Client, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight at once while old ones are swept: as many as may wait are kept, whole, and the others are refused."""
    monkeypatch.setattr(uploads, "MOST_PER_USER", 5)
    owner = examples.users["trainer"].pk
    for number in range(20):
        old = uploads.store(file(f"old{number}_1d.csv"), 10_000 + number)[0][0]
        age = time.time() - uploads.KEPT_SECONDS - 60
        os.utime(old.path.parent, (age, age))
    told: list[str] = []
    begin = threading.Barrier(8)

    def one(number: int) -> None:
        begin.wait()
        try:
            uploads.store(file(f"A{number}_1d.csv", BARS * 200), owner)
            told.append("kept")
        except UploadError as refusal:
            told.append(str(refusal))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.count("kept") == 5 and sum("5 of your files wait already" in text for text in told) == 3, told
    mine = uploads.of_owner(owner)
    assert len(mine) == 5 and all(one.path.read_text() == BARS * 200 and one.size == len(BARS) * 200 for one in mine)
    assert len(kept()) == 5, "what was old is gone"
    assert len(list(Path(settings.UPLOAD_DIR).glob("*/"))) == 5, "what was refused left nothing behind"


def test_a_file_that_went_meanwhile_is_said_to_be_gone(trainer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two windows: in one it is dropped, while the other one's request is on its way."""
    address = send(trainer, file("A_1d.csv"))["Location"]
    find = uploads.find

    def found_and_then_dropped(key: str, owner: int) -> Any:
        found = find(key, owner)
        if found is not None:
            uploads.drop(found)
        return found

    monkeypatch.setattr(uploads, "find", found_and_then_dropped)
    for what in ("read", "timeframe", "load"):
        answer = trainer.post(address, {"do": what, "symbol": "A", "timeframe": "1d", "price_scale": "1"})
        assert answer.status_code == 404
    assert kept() == {}
