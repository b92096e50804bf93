"""How a file of bars is to be read, and what is asked for where the file leaves it open. Light: no pandas."""

from __future__ import annotations

from dataclasses import dataclass

from training.store.coverage import DataError

#: What a column may be said to hold, in the words of `--columns`; "" or "-" leaves it out.
MEANINGS = (
    "date",
    "time",
    "timestamp",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "adj_close",
    "split",
    "symbol",
    "timeframe",
)
LEFT_OUT = ("", "-")


@dataclass(frozen=True)
class Reading:
    """How a file is to be read; what is empty is found out from the file, and asked for where it cannot be.

    tz: the zone of naive times, such as Europe/Berlin. price_scale: what prices are divided by (100000 for points of
    EURUSD). adjust: multiply prices by adjusted close / close, divide volume by the factor of the splits in it.
    columns: the meaning of each column by position, of MEANINGS. date_format: as strptime has it, such as %d/%m/%Y.
    thousands, decimal: what stands between thousands and before decimals. only: the one symbol whose rows are taken.
    drop_impossible: leave out bars that no bar can be, such as a high below its low. timeframe_is_right: each bar lasts no
    longer than its timeframe, though the distances between the bars do not show it.
    """

    tz: str | None = None
    price_scale: float = 1.0
    adjust: bool = False
    columns: tuple[str, ...] = ()
    date_format: str = ""
    encoding: str = ""
    thousands: str = ""
    decimal: str = ""
    only: str = ""
    drop_impossible: bool = False
    timeframe_is_right: bool = False


#: Nothing is said of the file.
AS_FOUND = Reading()


class Asked(DataError):
    """A file that can be read once an option says what it leaves open; option: the field of Reading that would."""

    def __init__(self, message: str, option: str) -> None:
        super().__init__(message)
        self.option = option


def one_line(text: str) -> str:
    """A sentence that shows what a file holds, which may be anything, on one line."""
    return " ".join(text.split())


@dataclass(frozen=True)
class FirstRows:
    """The beginning of a file as it stands there, for whoever assigns the columns.

    names: of the columns, none if the file has no line of names; cells: row by row; roles: the meaning of each column as
    it would be read, of MEANINGS, "" for one that is left out; layout: its name if it is a known one; options_needed:
    fields of Reading that the file asks for, as far as its first rows tell.
    """

    names: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    roles: tuple[str, ...]
    layout: str = ""
    options_needed: tuple[str, ...] = ()
