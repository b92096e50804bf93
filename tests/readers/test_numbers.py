"""Numbers of a file: what stands before decimals and between thousands is decided once, from all columns, or asked for."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from training.readers.bar_files import first_rows, read_bar_file
from training.store.coverage import DataError
from training.store.reading import Asked, Reading

HEAD = "Date;Open;High;Low;Close;Volume\n"


def bars(folder: Path, content: str, **options: object) -> tuple[list[list[float | None]], list[str]]:
    """The numbers of daily bars, None for a missing one; notes."""
    path = folder / "bars.csv"
    path.write_text(content, encoding="utf-8")
    frame, notes = read_bar_file(path, "1d", Reading(**options))
    return [[None if value != value else value for value in row] for row in frame.to_numpy().tolist()], notes


def refusal(folder: Path, content: str, **options: object) -> str:
    with pytest.raises(DataError) as refused:
        bars(folder, content, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def rows(*lines: str, head: str = HEAD) -> str:
    return head + "".join(f"2019-01-{day:02d};{line}\n" for day, line in enumerate(lines, 2))


@pytest.mark.parametrize(
    ("line", "values", "notes"),
    [
        ("100,00;100,81;99,99;100,52;65.037", [100, 100.81, 99.99, 100.52, 65037], ["decimal comma", "thousands are separated by points"]),
        ("100,00;100,81;99,99;100,52;65037", [100, 100.81, 99.99, 100.52, 65037], ["decimal comma"]),
        ("1.100,5;1.100,81;1.099,99;1.100,52;1.165.037", [1100.5, 1100.81, 1099.99, 1100.52, 1165037], ["decimal comma", "thousands are separated by points"]),
        ("100.00;100.81;99.99;100.52;65,037", [100, 100.81, 99.99, 100.52, 65037], ["thousands are separated by commas"]),
        ("1,100.5;1,100.81;1,099.99;1,100.52;1,165,037", [1100.5, 1100.81, 1099.99, 1100.52, 1165037], ["thousands are separated by commas"]),
        ("1'100.5;1'100.81;1'099.99;1'100.52;1'165'037", [1100.5, 1100.81, 1099.99, 1100.52, 1165037], ["thousands are separated by apostrophes"]),
        ("1 100,5;1 100,81;1 099,99;1 100,52;1 165 037", [1100.5, 1100.81, 1099.99, 1100.52, 1165037], ["decimal comma", "thousands are separated by spaces"]),
        ("1\u202f100,5;1\u202f100,81;1\u202f099,99;1\u202f100,52;7", [1100.5, 1100.81, 1099.99, 1100.52, 7], ["decimal comma", "thousands are separated by spaces"]),
        ("0.125;0.126;0.124;0.125;65.037", [0.125, 0.126, 0.124, 0.125, 65.037], []),
        ("1306.125;1306.5;1306.1;1306.2;65.037", [1306.125, 1306.5, 1306.1, 1306.2, 65.037], []),
        ("13000;13086;12971;13019;11265", [13000, 13086, 12971, 13019, 11265], []),
        ("$100.00;$100.81;$99.99;$100.52*;65037", [100, 100.81, 99.99, 100.52, 65037], []),
        ("100,00 €;100,81 €;99,99 €;100,52 €;7", [100, 100.81, 99.99, 100.52, 7], ["decimal comma"]),
        ("1.5e2;1.6E+2;1e2;155;7", [150, 160, 100, 155, 7], []),
        ("13,20,159.5;13,20,160;13,20,158;13,20,159;1,32,058", [1320159.5, 1320160, 1320158, 1320159, 132058], ["thousands are separated by commas"]),
        ("100.5;100.81;99.99;100.52;12.5K", [100.5, 100.81, 99.99, 100.52, 12500], []),
        ("100.5;100.81;99.99;100.52;65.037m", [100.5, 100.81, 99.99, 100.52, 65037000], []),
        ("100.5;100.81;99.99;100.52;1,165.037B", [100.5, 100.81, 99.99, 100.52, 1165037000000], ["thousands are separated by commas"]),
        ("100.5;100.81;99.99;100.52;-", [100.5, 100.81, 99.99, 100.52, None], []),
        ("100.5;100.81;99.99;100.52;N/A", [100.5, 100.81, 99.99, 100.52, None], []),
    ],
)  # fmt: skip
def test_numbers_in_many_hands(tmp_path: Path, line: str, values: list[float | None], notes: list[str]) -> None:
    assert bars(tmp_path, rows(line)) == ([values], notes)


def test_one_row_decides_for_all_columns(tmp_path: Path) -> None:
    one, other = "13.000;13.086;12.971;13.019;11.265", "13.019;13.110;12.982;13.077,5;66.469"
    found, notes = bars(tmp_path, rows(one, other))
    assert found == [[13000, 13086, 12971, 13019, 11265], [13019, 13110, 12982, 13077.5, 66469]]
    assert notes == ["decimal comma", "thousands are separated by points"]
    found, notes = bars(tmp_path, rows(one, other.replace(",5", "5")))
    assert found == [[13, 13.086, 12.971, 13.019, 11.265], [13.019, 13.11, 12.982, 13.0775, 66.469]] and notes == []


@pytest.mark.parametrize(("mark", "shown"), [(".", "13.000"), (",", "13,000")])
def test_what_nothing_decides_is_asked_for(tmp_path: Path, mark: str, shown: str) -> None:
    line = f"13{mark}000;13{mark}086;12{mark}971;13{mark}019;11265"
    said = refusal(tmp_path, rows(line))
    assert f"line 2: '{shown}' in column Open may be 13 or 13,000, and nothing in the file says which" in said
    assert f'set --thousands "{mark}" or --decimal "{mark}"' in said
    assert first_rows(tmp_path / "bars.csv").options_needed == ("thousands",)
    assert bars(tmp_path, rows(line), thousands=mark)[0] == [[13000, 13086, 12971, 13019, 11265]]
    assert bars(tmp_path, rows(line), decimal=mark)[0] == [[13, 13.086, 12.971, 13.019, 11265]]


def test_what_is_far_down_in_the_file_decides_too(tmp_path: Path) -> None:
    """The first 64 KiB of a file leave it open, and its last row does not."""
    days = pd.date_range("1990-01-01", periods=3000).strftime("%Y-%m-%d")
    content = HEAD + "".join(f"{day};13.000;13.086;12.971;13.019;11265\n" for day in days[:-1])
    assert len(content) > 2 * 65_536 and "may be 13 or 13,000" in refusal(tmp_path, content)
    assert bars(tmp_path, content + f"{days[-1]};13.000;13.086;12.971;13.019,5;1\n")[0][0] == [13000, 13086, 12971, 13019, 11265]
    assert bars(tmp_path, content + f"{days[-1]};13.000;13.086;12.971;13.0195;1\n")[0][0] == [13, 13.086, 12.971, 13.019, 11265]


def test_a_comma_that_divides_cells_leaves_the_point_to_decimals(tmp_path: Path) -> None:
    """Yen prices have three decimals in every row."""
    found, notes = bars(tmp_path, "date,open,high,low,close,volume\n2019-01-02,109.123,109.456,109.001,109.200,7\n")
    assert found == [[109.123, 109.456, 109.001, 109.2, 7]] and notes == []
    assert "may be 109.123 or 109,123" in refusal(
        tmp_path, 'date,open,high,low,close\n2019-01-02,"109.123","109.456","109.001","109.200"\n'
    )


def test_two_ways_in_one_file_are_refused_with_both_rows(tmp_path: Path) -> None:
    said = refusal(tmp_path, rows("100,00;100,81;99,99;100,52;7", "100.5;100.81;99.99;100.52;7"))
    assert "line 2: '100,00' in column Open has a decimal comma and line 3: '100.5' in column Open a decimal point" in said
    far = rows(*["100.00;100.81;99.99;100.52;7"] * 20, "100,5;100.81;99.99;100.52;7")
    assert "line 22: '100,5' in column Open" in refusal(tmp_path, far)


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("65.03", {"decimal": ","}), ("6503.7.1", {"decimal": ","}), ("1.5", {"thousands": "."}), ("1,50", {"thousands": ","}), ("1,5", {"decimal": "."}),
        (".5", {"decimal": ","}), ("1.23.456", {"thousands": "."}), ("12'34", {}), ("1 2", {}), ("1_000", {}), ("0x10", {}), ("12.5K", {}), ("--", {}), ("１２", {}), ("n.a.", {}), ("1,2,3", {"decimal": "."}),
    ],
)  # fmt: skip
def test_what_is_not_grouped_like_a_number_is_none(tmp_path: Path, cell: str, options: dict[str, object]) -> None:
    said = refusal(tmp_path, rows("1;5;1;2;7", f"{cell};5;1;2;7"), **options)
    assert f"line 3: '{cell}' in column Open" in said


def test_marks_that_cannot_be_are_refused(tmp_path: Path) -> None:
    content = rows("1;5;1;2;7")
    assert "';' cannot stand before decimals, wanted . or ," in refusal(tmp_path, content, decimal=";")
    assert "'x' cannot stand between thousands, wanted . , ' or a space" in refusal(tmp_path, content, thousands="x")
    assert "'.' cannot stand both before decimals and between thousands" in refusal(tmp_path, content, thousands=".", decimal=".")


def test_numbers_as_texts_in_parquet_follow_the_same_rule(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    frame = pd.DataFrame(
        {
            "date": ["2019-01-02"],
            "open": ["1.100,5"],
            "high": ["1.101,0"],
            "low": ["1.099,9"],
            "close": ["1.100"],
            "volume": ["65.037"],
        }
    )
    frame.to_parquet(path)
    assert read_bar_file(path, "1d")[0].to_numpy().tolist() == [[1100.5, 1101, 1099.9, 1100, 65037]]
    frame.assign(open="13.000", high="13.086", low="12.971", close="13.019", volume="1").to_parquet(path)
    with pytest.raises(Asked, match=r"row 1: '13.000' in column open may be 13 or 13,000"):
        read_bar_file(path, "1d")


def test_decimals_of_parquet_are_numbers(tmp_path: Path) -> None:
    from decimal import Decimal

    path = tmp_path / "bars.parquet"
    prices = {name: [Decimal("13.000")] for name in ("open", "high", "low", "close")}
    pd.DataFrame({"date": ["2019-01-02"], **prices}).to_parquet(path)
    assert read_bar_file(path, "1d")[0]["close"].tolist() == [13.0]
