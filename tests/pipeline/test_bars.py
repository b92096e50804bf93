"""The store gives back what was put in, merges by time, and never holds half a file."""

from __future__ import annotations

import errno
import hashlib
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies_app.grammar.vocabulary import BAR_COLUMNS
from training.pipeline import bars
from training.pipeline.bars import (
    DataError,
    Unreachable,
    bar_frame,
    bar_times,
    bar_values,
    empty_frame,
    file_sha256,
    fingerprint,
    locked,
    merge_bars,
    read_bars,
    series_path,
    series_range,
    stored_series,
    write_bars,
)
from training.pipeline.synthetic import make_bars, with_holes
from training.store.series_names import file_name, symbol_of

FRAME = with_holes(make_bars(500, "1h", seed=1), 0.1, seed=1)
SYMBOLS = st.from_regex(
    r"[.^]?[A-Za-z0-9](?:[A-Za-z0-9._^=-]|[/:][A-Za-z0-9]){0,12}", fullmatch=True, alphabet=st.characters(codec="ascii")
)


def changed(frame: pd.DataFrame, position: int, column: str = "close") -> pd.DataFrame:
    values = bar_values(frame).copy()
    values[BAR_COLUMNS.index(column), position] *= 1.0001
    return bar_frame(bar_times(frame), values)


def rest(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if not path.name.endswith(".lock"))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    digest = write_bars(tmp_path, "AAPL", "1h", FRAME)
    read = read_bars(tmp_path, "AAPL", "1h")
    pd.testing.assert_frame_equal(read, FRAME)
    assert (str(read.index.dtype), read.index.name) == ("datetime64[us, UTC]", "timestamp")
    assert tuple(read.columns) == BAR_COLUMNS
    assert digest == file_sha256(tmp_path / "AAPL_1h.parquet")
    assert series_range(tmp_path, "AAPL", "1h") == (bar_times(FRAME)[0], bar_times(FRAME)[-1], len(FRAME))


def test_missing_values_stay_missing(tmp_path: Path) -> None:
    values = bar_values(FRAME).copy()
    values[4] = np.nan
    values[0, 7] = np.nan
    write_bars(tmp_path, "EURUSD", "1h", bar_frame(bar_times(FRAME), values))
    np.testing.assert_array_equal(bar_values(read_bars(tmp_path, "EURUSD", "1h")), values)


@pytest.mark.parametrize("low", [None, -1, 0, 3, 63, 64, 65, 200, 449, 9_999])
@pytest.mark.parametrize("high", [None, 0, 3, 64, 128, 400, 9_999])
def test_a_range_is_half_open_across_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, low: int | None, high: int | None
) -> None:
    monkeypatch.setattr(bars, "ROW_GROUP", 64)
    write_bars(tmp_path, "A", "1h", FRAME)
    times = bar_times(FRAME)
    start, end = (None if i is None else int(times[min(max(i, 0), len(times) - 1)]) + (i < 0) * -1 for i in (low, high))
    wanted = FRAME[(times >= (times[0] if start is None else start)) & (times < (times[-1] + 1 if end is None else end))]
    pd.testing.assert_frame_equal(read_bars(tmp_path, "A", "1h", start, end), wanted)


def test_a_range_reads_only_its_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "ROW_GROUP", 64)
    write_bars(tmp_path, "A", "1h", FRAME)
    asked: list[int] = []
    read_row_groups = pq.ParquetFile.read_row_groups
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_groups", lambda file, groups: asked.extend(groups) or read_row_groups(file, groups)
    )
    times = bar_times(FRAME)
    read_bars(tmp_path, "A", "1h", int(times[70]), int(times[130]))
    assert asked == [1, 2]


def test_what_is_not_stored_is_named_with_the_command_that_loads_it(tmp_path: Path) -> None:
    command = r"manage.py load_data AAPL 1d --from FILE"
    with pytest.raises(DataError, match=rf"no 1d bars of AAPL are stored \(the store is empty\); .*{command}"):
        read_bars(tmp_path / "nowhere", "AAPL", "1d")
    write_bars(tmp_path, "AAPL", "1h", FRAME)
    with pytest.raises(DataError, match=rf"AAPL is stored as 1h\).*{command}"):
        read_bars(tmp_path, "AAPL", "1d")
    with pytest.raises(DataError, match=r"stored are AAPL 1h; did you mean AAPL\?"):
        series_range(tmp_path, "APPL", "1h")
    with pytest.raises(DataError, match=r"unknown timeframe '1H', wanted one of 1m, .*did you mean '1h'\?"):
        read_bars(tmp_path, "AAPL", "1H")


@pytest.mark.parametrize(
    "symbol",
    [
        "",
        ".",
        "..",
        "../x",
        "..A",
        "/etc/passwd",
        "A/../B",
        "A/.B",
        "A//B",
        "A/",
        "A:",
        "A\n",
        "A\0",
        "A B",
        "-A",
        "A\\B",
        "Ä",
        "A" * 33,
        "A" * 5000,
    ],
)
def test_symbols_that_could_leave_the_store_are_refused(tmp_path: Path, symbol: str) -> None:
    with pytest.raises(DataError, match="cannot be a symbol"):
        series_path(tmp_path, symbol, "1h")


@given(SYMBOLS, SYMBOLS)
def test_two_symbols_are_two_files_even_where_case_is_ignored(one: str, other: str) -> None:
    names = {series_path(Path(), symbol, "1d").name.lower() for symbol in (one, other)}
    assert len(names) == len({one, other})
    assert all("/" not in name and ":" not in name and not name.startswith(".") for name in names)
    assert symbol_of(file_name(one)) == one


def test_stored_series_are_listed_by_symbol_and_frequency(tmp_path: Path) -> None:
    for symbol, timeframe in (("b_C", "1d"), ("AB", "1d"), ("AB", "15m"), ("ab", "1d")):
        write_bars(tmp_path, symbol, timeframe, FRAME)
    (tmp_path / "notes.parquet").touch()
    (tmp_path / ".AB_1d.parquet.1.tmp").touch()
    assert stored_series(tmp_path) == [("AB", "15m"), ("AB", "1d"), ("ab", "1d"), ("b_C", "1d")]


# --- merging -----------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=40, max_size=40), st.lists(st.booleans(), min_size=40, max_size=40))
def test_parts_of_a_series_merge_to_their_union(one: list[bool], other: list[bool]) -> None:
    frame = FRAME.iloc[:40]
    a, b = np.array(one), np.array(other)
    merge = merge_bars(frame[a], frame[b])
    pd.testing.assert_frame_equal(merge.frame, frame[a | b], check_freq=False)
    assert (merge.added, merge.same, merge.replaced) == ((b & ~a).sum(), (a & b).sum(), 0)


def test_a_missing_value_is_no_conflict_with_itself() -> None:
    values = bar_values(FRAME).copy()
    values[4] = np.nan
    frame = bar_frame(bar_times(FRAME), values)
    assert merge_bars(frame, frame).same == len(frame)


def test_other_values_at_the_same_time_need_replace() -> None:
    new = changed(FRAME, 5).iloc[3:8]
    with pytest.raises(DataError, match=r"1 of the new bars have other values .*\(2015-01-01 \d\d:00\); give --replace"):
        merge_bars(FRAME, new)
    merge = merge_bars(FRAME, new, replace=True)
    assert (merge.added, merge.same, merge.replaced) == (0, 4, 1)
    pd.testing.assert_frame_equal(merge.frame, changed(FRAME, 5))
    assert merge_bars(empty_frame(), FRAME).added == len(FRAME)


# --- safety ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["write", "sync", "rename"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    write_bars(tmp_path, "A", "1h", FRAME.iloc[:100])
    before = (tmp_path / "A_1h.parquet").read_bytes()

    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def half_written(table: object, file: object, *args: object, **options: object) -> None:
        file.write(b"PAR1 and no more")  # type: ignore[attr-defined]
        full()

    target = {"write": (bars.pq, "write_table"), "sync": (bars.os, "fsync"), "rename": (bars.Path, "replace")}[where]
    monkeypatch.setattr(*target, half_written if where == "write" else full)
    with pytest.raises(DataError, match=r"A 1h could not be written to .* and is as it was: No space left on device"):
        write_bars(tmp_path, "A", "1h", FRAME)
    monkeypatch.undo()
    assert (tmp_path / "A_1h.parquet").read_bytes() == before
    assert rest(tmp_path) == ["A_1h.parquet"]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    write_bars(tmp_path, "A", "1h", FRAME)
    (tmp_path / ".A_1h.parquet.00000000.tmp").write_bytes(b"half")
    with locked(tmp_path, "A", "1h"):
        assert rest(tmp_path) == ["A_1h.parquet"]


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    write_bars(tmp_path, "A", "1h", FRAME.iloc[:1])

    def add(part: int) -> None:
        with locked(tmp_path, "A", "1h"):
            write_bars(tmp_path, "A", "1h", merge_bars(read_bars(tmp_path, "A", "1h"), FRAME.iloc[part::8]).frame)

    threads = [threading.Thread(target=add, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pd.testing.assert_frame_equal(read_bars(tmp_path, "A", "1h"), FRAME)


@pytest.mark.parametrize("frame", [empty_frame(), FRAME.iloc[::-1], pd.concat([FRAME, FRAME.iloc[-1:]])])
def test_bars_out_of_order_are_not_stored(tmp_path: Path, frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="wanted at least one, at strictly increasing times"):
        write_bars(tmp_path, "A", "1h", frame)
    assert rest(tmp_path) == []


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    write_bars(tmp_path, "A", "1h", FRAME)
    path = tmp_path / "A_1h.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"A_1h.parquet is not a readable bar file; .*load_data A 1h"):
        read_bars(tmp_path, "A", "1h", verify=True)
    path.write_bytes(b"rubbish")
    with pytest.raises(DataError, match="is not a readable bar file"):
        read_bars(tmp_path, "A", "1h")
    FRAME[["close"]].to_parquet(path)
    with pytest.raises(DataError, match="is not a readable bar file"):
        series_range(tmp_path, "A", "1h")


def test_a_disk_that_does_not_answer_is_no_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bars(tmp_path, "A", "1h", FRAME)

    def hiccup(*arguments: object, **options: object) -> object:
        raise OSError(errno.EIO, "Error reading bytes from file. Detail: [errno 5] Input/output error")

    monkeypatch.setattr(bars.pq, "ParquetFile", hiccup)
    with pytest.raises(Unreachable, match=r"A_1h.parquet could not be read: Input/output error$"):
        read_bars(tmp_path, "A", "1h")


# --- fingerprints ------------------------------------------------------------------------------


def test_a_fingerprint_is_the_sha256_of_times_and_columns() -> None:
    content = b"".join(
        [bar_times(FRAME).astype("<i8").tobytes(), *(FRAME[c].to_numpy().astype("<f8").tobytes() for c in BAR_COLUMNS)]
    )
    assert fingerprint(FRAME) == hashlib.sha256(content).hexdigest()
    assert fingerprint(FRAME[["volume", "close", "low", "high", "open"]]) == fingerprint(FRAME)


def test_a_fingerprint_ignores_bars_that_come_later(tmp_path: Path) -> None:
    write_bars(tmp_path, "A", "1h", FRAME.iloc[:300])
    end = int(bar_times(FRAME)[250])
    before = fingerprint(read_bars(tmp_path, "A", "1h", None, end))
    write_bars(tmp_path, "A", "1h", FRAME)
    assert fingerprint(read_bars(tmp_path, "A", "1h", None, end)) == before == fingerprint(FRAME.iloc[:250])


@pytest.mark.parametrize("column", BAR_COLUMNS)
def test_a_fingerprint_sees_every_value(column: str) -> None:
    assert fingerprint(changed(FRAME, 17, column)) != fingerprint(FRAME)
    assert fingerprint(FRAME.shift(freq="1h")) != fingerprint(FRAME)
