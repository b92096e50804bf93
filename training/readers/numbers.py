"""Numbers as people write them: what stands before decimals and between thousands is decided once for a file, from all of it.

What cannot be decided is asked for: 13.000 may be 13 or 13,000, and nothing here guesses which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.pipeline.frames import Rows
from training.store.coverage import DataError
from training.store.reading import Asked, Reading

#: What may stand between thousands and never before decimals.
_PLAIN_GAPS = "'’ \u00a0\u202f\u2009"
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?inf(?:inity)?"
#: Thousands of a volume in letters; "" counts as none.
_LETTERS = {"k": "e3", "m": "e6", "b": "e9", "t": "e12"}
NOTHING = ("", "na", "n/a", "nan", "null", "none", "#n/a", "<na>", "-nan")
_WORDS = {",": "comma", ".": "point", "'": "apostrophe", " ": "space"}


@dataclass(frozen=True)
class Marks:
    """decimal: what stands before decimals; thousands: the one of point and comma that can only stand between thousands."""

    decimal: str

    @property
    def thousands(self) -> str:
        return "." if self.decimal == "," else ","


def marks_given(reading: Reading, layout_decimal: str = "") -> Marks | None:
    """What was said of a file's numbers, or is known of its layout; DataError for what cannot be."""
    decimal, thousands = reading.decimal, reading.thousands
    if decimal not in ("", ".", ","):
        raise DataError(f"'{decimal}' cannot stand before decimals, wanted . or ,")
    if thousands not in ("", ".", ",", *_PLAIN_GAPS):
        raise DataError(f"'{thousands}' cannot stand between thousands, wanted . , ' or a space")
    if decimal and decimal == thousands:
        raise DataError(f"'{decimal}' cannot stand both before decimals and between thousands")
    if thousands in (".", ","):
        decimal = "," if thousands == "." else "."
    return Marks(decimal or layout_decimal) if decimal or layout_decimal else None


# --- deciding ----------------------------------------------------------------------------------


def _proof(mark: str) -> str:
    """What a text looks like in which `mark` can only stand before decimals."""
    d, o = re.escape(mark), re.escape("." if mark == "," else ",")
    return (
        rf"^[+-]?(?:[0-9]*{d}(?:[0-9]{{0,2}}|[0-9]{{4,}})|0[0-9]*{d}[0-9]*|{d}[0-9]+|[0-9]{{4,}}{d}[0-9]*"
        rf"|[0-9]+(?:{o}[0-9]+)+{d}[0-9]*|[0-9]+(?:[{_PLAIN_GAPS}][0-9]+)+{d}[0-9]*|[0-9]+(?:{o}[0-9]+){{2,}}"
        rf"|[0-9]*{d}[0-9]*[eE][+-]?[0-9]+)$"
    )


_PROOFS = {mark: re.compile(_proof(mark)) for mark in ".,"}
_EITHER = re.compile(r"^[+-]?[0-9]{1,3}[.,][0-9]{3}$")


def proven(texts: Iterable[str]) -> set[str]:
    """What can only stand before decimals in these texts: one of point and comma, both, or neither."""
    found = set()
    for text in texts:
        text = bare_number(text)
        found |= {mark for mark, proof in _PROOFS.items() if proof.match(text)}
    return found


def decided(columns: Mapping[str, pd.Series], rows: Rows) -> Marks:
    """What stands before decimals in all of these columns of texts; asked for if they leave it open."""
    proofs: dict[str, str] = {}
    open_to_both = ""
    for column in columns.values():
        texts = _bare(column)
        for mark, proof in _PROOFS.items():
            where = np.flatnonzero(texts.str.contains(proof).to_numpy(bool))
            if len(where) and mark not in proofs:
                proofs[mark] = _shown(column, rows, int(where[0]))
        either = np.flatnonzero(texts.str.contains(_EITHER).to_numpy(bool))
        if len(either) and not open_to_both:
            open_to_both = _shown(column, rows, int(either[0]))
            doubtful = str(texts.iloc[int(either[0])])
    if len(proofs) == 2:
        raise DataError(f"{proofs[',']} has a decimal comma and {proofs['.']} a decimal point")
    if proofs:
        return Marks(next(iter(proofs)))
    if open_to_both:
        whole = re.sub(r"[.,]", "", doubtful)
        mark = "." if "." in doubtful else ","
        raise Asked(
            f"{open_to_both} may be {float(doubtful.replace(',', '.')):g} or {int(whole):,}, and nothing in the file says which;"
            f' set --thousands "{mark}" or --decimal "{mark}"',
            "thousands",
        )
    return Marks(".")


def _shown(column: pd.Series, rows: Rows, position: int) -> str:
    return f"{rows.named(np.array([position]))}: '{str(column.iloc[position]).strip()}' in column {column.name}"


# --- reading -----------------------------------------------------------------------------------

_AROUND = re.compile(r"^[$€£¥₹]\s*|\s*[$€£¥₹]$|\*+$")


def bare_number(text: str) -> str:
    """A number without blanks, currency and footnote stars around it."""
    return re.sub(r"[kKmMbBtT]$", "", re.sub(r"^([+-])\s*[$€£¥₹]\s*", r"\1", _AROUND.sub("", _AROUND.sub("", text.strip()))))


def _bare(column: pd.Series) -> pd.Series:
    texts = _plain(column)
    if texts.str.contains(r"[$€£¥₹*kKmMbBtT]").any():
        texts = texts.map(bare_number)
    return texts


def _grouping(mark: str, decimal: str) -> str:
    """What a number looks like whose thousands are divided by `mark`, also as in India: 13,20,159.50."""
    m, d = re.escape(mark), re.escape(decimal)
    india = r"|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}" if mark == "," else ""
    return rf"[+-]?(?:[0-9]{{1,3}}(?:{m}[0-9]{{3}})+{india})(?:{d}[0-9]*)?"


def _plain(column: pd.Series) -> pd.Series:
    filled = column if pd.api.types.is_string_dtype(column.dtype) else column.astype(object).where(column.notna(), "")
    return filled.astype("str").fillna("").str.strip()


def numbers_of(column: pd.Series, rows: Rows, marks: Marks, *, count: bool = False) -> tuple[NDArray[np.float64], str]:
    """A column as float64 (n,), and what stood between its thousands, if anything; an empty cell is NaN, words are an error.

    count: of a volume, which may be written as 12.5K, and as - where there is none.
    """
    if pd.api.types.is_bool_dtype(column.dtype):
        raise DataError(f"{_shown(column, rows, 0)} is not a number")
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan), ""
    texts = _bare(column)
    letters = ""
    if count:
        ends = _plain(column).str.slice(-1).str.lower()
        letters = ends.where(ends.isin(list(_LETTERS)) & texts.str.contains(r"[0-9]$"), "").map(lambda end: _LETTERS.get(end, ""))
        texts = texts.where(~texts.isin(["-", "--", "—", "–"]), "")
    else:
        texts = texts.where(~_plain(column).str.contains(r"[0-9][kKmMbBtT]$"), "?")
    missing = texts.str.lower().isin(NOTHING).to_numpy(bool)
    between = ""
    for mark in marks.thousands + _PLAIN_GAPS:
        grouped = texts.str.contains(mark, regex=False).to_numpy(bool)
        if grouped.any():
            wrong = np.flatnonzero(grouped & ~texts.str.fullmatch(_grouping(mark, marks.decimal)).to_numpy(bool))
            if len(wrong):
                raise DataError(
                    f"{_shown(column, rows, int(wrong[0]))} is not a number where a decimal {_WORDS[marks.decimal]} is used"
                )
            between = _WORDS.get(mark, "space" if mark.isspace() else "apostrophe")
            texts = texts.str.replace(mark, "", regex=False)
    if marks.decimal == ",":
        texts = texts.str.replace(",", ".", regex=False)
    sound = texts.str.fullmatch(_NUMBER, case=False).to_numpy(bool)
    wrong = np.flatnonzero(~sound & ~missing)
    if len(wrong):
        raise DataError(f"{_shown(column, rows, int(wrong[0]))} is not a number")
    if isinstance(letters, pd.Series):
        texts = texts + letters
    numbers = np.full(len(texts), np.nan)
    numbers[~missing] = texts[~missing].to_numpy(object).astype(np.float64)
    return numbers, between
