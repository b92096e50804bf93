"""Damaged files end in one sentence; files as programs write them are read into exactly the bars that were in them."""

from __future__ import annotations

import gzip
import io
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.campaigns.file_fuzz import campaign
from training.pipeline.bars import DataError, bar_frame
from training.pipeline.synthetic import make_bars
from training.readers import cells
from training.readers.bar_files import first_rows, read_bar_file

BARS = make_bars(200, "1h", seed=1)


def refused(path: Path) -> str | None:
    """The sentence, None if the file was read."""
    try:
        first_rows(path)
        read_bar_file(path, "1h")
    except DataError as error:
        assert str(error) and "\n" not in str(error)
        return str(error)
    return None


@pytest.mark.parametrize("damage", ["cut", "a byte in the middle", "the checksum", "the header", "rubbish behind"])
def test_a_damaged_gz_is_one_sentence(tmp_path: Path, damage: str) -> None:
    content = bytearray(gzip.compress(BARS.to_csv().encode()))
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "a byte in the middle":
        content[len(content) // 2] ^= 255
    elif damage == "the checksum":
        content[-5] ^= 1
    elif damage == "the header":
        content[2] = 9
    else:
        content += b"rubbish"
    path = tmp_path / "bars.csv.gz"
    path.write_bytes(content)
    assert (refused(path) or "").startswith("bars.csv.gz cannot be read: ")


@pytest.mark.parametrize(
    "metadata",
    [
        b"not json",
        b"{}",
        b'{"index_columns": [7], "columns": []}',
        b'{"index_columns": "x"}',
        b"\xff\xfe",
        b'{"columns": [{"name": 1}]}',
    ],
)
def test_what_pandas_has_noted_in_parquet_may_be_anything(tmp_path: Path, metadata: bytes) -> None:
    path = tmp_path / "bars.parquet"
    table = pa.Table.from_pandas(BARS)
    pq.write_table(table.replace_schema_metadata({b"pandas": metadata}), path)
    assert read_bar_file(path, "1h")[0].equals(BARS)


def test_zones_and_years_of_parquet_that_are_none_are_sentences(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    prices = {name: pa.array([1.0, 1.0]) for name in ("open", "high", "low", "close")}
    for times in (
        pa.array([0, 10**12], pa.timestamp("ms", "Mars/Olympus")), pa.array([0, 10**13], pa.timestamp("s")),
        pa.array([[1], [2]]), pa.array([b"x", b"\xff"]), pa.array([0, 1], pa.duration("s")), pa.array([True, False]), pa.nulls(2),
    ):  # fmt: skip
        pq.write_table(pa.table({"time": times, **prices}), path)
        assert refused(path)
    for unit, zone in (("s", "UTC"), ("ms", None), ("s", "Asia/Tokyo")):
        pq.write_table(
            pa.table({"time": pa.array([0, 10**13 if unit == "ms" else 10**12], pa.timestamp(unit, zone)), **prices}), path
        )
        assert "row 2: " in (said := refused(path) or "") and "cannot be the time of a bar, wanted years from 1900" in said
    pq.write_table(
        pa.table({"time": pa.array([0, 86_400], pa.timestamp("s", "UTC")), **prices, "open": pa.array([[1], [2]])}), path
    )
    assert refused(path)


@pytest.mark.parametrize("kind", ["csv", "gz", "parquet"])
def test_any_changed_byte_is_a_sentence_or_bars(tmp_path: Path, kind: str) -> None:
    packed = io.BytesIO()
    BARS.to_parquet(packed)
    whole = {"csv": BARS.to_csv().encode(), "gz": gzip.compress(BARS.to_csv().encode()), "parquet": packed.getvalue()}[kind]
    path = tmp_path / f"bars.{kind}"
    rng = random.Random(kind)
    for _ in range(40):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        refused(path)


def test_ctrl_c_while_a_table_is_read_is_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pandas makes an error of its own of it."""
    path = tmp_path / "bars.csv"
    BARS.to_csv(path)

    class Pressed(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise KeyboardInterrupt

    monkeypatch.setattr(cells.io, "BytesIO", Pressed)
    with pytest.raises(KeyboardInterrupt):
        read_bar_file(path, "1h")


def test_files_as_programs_write_them_are_read_exactly_or_refused() -> None:
    counts, wrong = campaign(60, seed=7)
    assert wrong == []
    read = sum(count for (_, changed, outcome), count in counts.items() if outcome == "read" and not changed)
    written = sum(count for (_, changed, _), count in counts.items() if not changed)
    assert read > 0.8 * written > 20


def test_the_campaign_sees_a_file_that_is_read_into_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.campaigns.file_fuzz.read_bar_file", lambda *given: (bar_frame(*_other(*read_bar_file(*given)))[0:], [])
    )
    _, wrong = campaign(20, seed=7)
    assert wrong and {told.outcome for _, told in wrong} == {"read into other numbers"}


def _other(frame: object, notes: list[str]) -> tuple[object, object]:
    from training.pipeline.bars import bar_times, bar_values

    return bar_times(frame), bar_values(frame) * 1.0000001
