"""How far apart bars are, and whether that is what their timeframe says: times → timeframe, times → what contradicts it.

A bar is taken to be known at its open + the duration of its timeframe. Bars that last longer than their name says are
thus used hours before they happened, and a model of noise looks like one that knows the market. Times in µs since 1970 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.core.findings import ERROR, Finding, counted, iso
from training.pipeline.frames import time_text
from training.store.coverage import DataError

#: Fewer distances between bars than this prove nothing.
FEW = 10
#: Distances are looked at so many at a time: a file may begin with days and go on with minutes.
BLOCK = 64
#: A distance is that of a timeframe if it differs by no more than this share: clocks change, stamps come late.
NEAR = 0.1
#: Above this share of distances as the name says, the name is right: the others are nights, weekends and holes.
RIGHT = 0.1
#: A name is too long if so many of the distances are shorter than it.
SHORTER = 0.25
#: And bars are on the clock of a longer timeframe if so many are multiples of it: two changes of the clock a year are none.
MULTIPLES = 0.95
#: So many distances that are alike are no chance, and name a timeframe.
ALIKE = 0.4
#: With this a person says that bars last as long as their timeframe, where distances cannot show it.
OPTION = "--timeframe-is-right"
#: And with this a frame says it, in its `attrs`.
TOLD = "timeframe_is_right"


@dataclass(frozen=True)
class Wrong:
    """Bars that are not as far apart as their timeframe says.

    distance: in µs, the commonest; right: the timeframe that fits, None if none does; bars: how many, of `of`; first and
    last: their opens (µs).
    """

    timeframe: str
    distance: int
    right: str | None
    bars: int
    of: int
    first: int
    last: int

    @property
    def is_longer(self) -> bool:
        """Whether the bars are further apart than the name says, which bars of a part of each day are too."""
        return self.distance > _length(self.timeframe)

    @property
    def seen(self) -> str:
        """What was seen, without what would help."""
        span = f" from {time_text(self.first)} to {time_text(self.last)}" if self.bars < self.of else ""
        return f"the bars{span} are {length_text(self.distance)} apart, not {length_text(_length(self.timeframe))}"

    @property
    def sentence(self) -> str:
        if self.bars < self.of:
            return f"{self.seen}; leave them out" + (f", or load them alone as {self.right}" if self.right else "")
        if self.right:
            return f"{self.seen}; load them as {self.right}"
        return f"{self.seen}, and no timeframe is that long; wanted bars of {', '.join(TIMEFRAMES)}"

    def finding(self) -> Finding:
        return Finding("wrong_timeframe", self.sentence, self.bars, iso(self.first), ERROR)

    def as_told(self) -> Finding:
        """That a person said otherwise when the bars were loaded."""
        length = length_text(_length(self.timeframe))
        said = f"it was said when they were loaded that each covers no more than {length}"
        return Finding("timeframe_told", f"the bars are {length_text(self.distance)} apart; {said}", self.bars, iso(self.first))


def length_text(microseconds: int) -> str:
    """`1 d`, `4 h`, `15 min`, `90 s`: the largest unit of which it is a whole number."""
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if microseconds >= seconds * 1_000_000 and microseconds % (seconds * 1_000_000) == 0:
            return f"{microseconds // (seconds * 1_000_000):,} {unit}"
    return f"{microseconds / 1_000_000:,.6g} s"


def timeframe_of(times: NDArray[np.int64]) -> str | None:
    """The timeframe that the bars have by the distances between them; None for a few bars, and where no timeframe fits.

    It is the commonest distance; of bars with many holes the longest timeframe of which nearly all distances are multiples.
    """
    distances = _distances(times)
    return _named(distances) if len(distances) >= FEW else None


def _named(distances: NDArray[np.int64]) -> str | None:
    shares = {timeframe: _share_near(distances, _length(timeframe)) for timeframe in TIMEFRAMES}
    likely = max(shares, key=shares.__getitem__)
    common, count = _commonest(distances)
    if shares[likely] >= ALIKE and (_is_near(common, _length(likely)) or count < shares[likely] * len(distances)):
        return likely
    for timeframe in reversed(TIMEFRAMES):
        if shares[timeframe] > RIGHT and _share_multiples(distances, _length(timeframe)) >= MULTIPLES:
            return timeframe
    return None


def is_told_by(times: NDArray[np.int64], timeframe: str) -> bool:
    """Whether nothing is to be asked about bars whose timeframe nothing contradicts: there are enough of them, or some are as
    far apart as it says, or there is but one, which no distance speaks of."""
    distances = _distances(times)
    return len(distances) >= FEW or len(distances) == 0 or _share_near(distances, _length(timeframe)) > RIGHT


def wrong_timeframe(times: NDArray[np.int64], timeframe: str) -> Wrong | None:
    """What contradicts the timeframe of these bars (times strictly increasing), None if nothing does.

    The rule, held against every 64 distances in a row: the name is wrong where at most a tenth of the distances are
    as long as it (give or take a tenth), and the others are

    - shorter, a quarter of them or more: bars within the name's duration, such as 1h bars as 1d; or
    - longer in an even way: two of five are alike (weeks, months, 8-hour bars), or nearly all are multiples of a longer
      timeframe (days from Monday to Friday as 4h, thinly traded 5m bars as 1m).

    So these are not refused: bars of one session a day, two 4h bars of a short session, lunch breaks, holidays and
    weekends, changes of the clock (they have more than a tenth of their distances as they should be), and thinly traded 1m
    bars with many minutes between them (random distances are neither alike nor multiples of anything longer). What
    distances cannot tell apart is refused, and is for a person to say: a day's bar from a 4h bar that is the only one of
    its day. Fewer than ten distances contradict nothing.
    """
    distances, length = _distances(times), _length(timeframe)
    if len(distances) < FEW:
        return None
    near = _near(distances, length)
    starts = _suspicious(near)
    blocks = distances[starts[:, None] + np.arange(min(BLOCK, len(distances)))] if len(starts) else distances[:0, None]
    starts = starts[_contradict(blocks, length)]
    if not len(starts):
        return None
    right = np.append(np.flatnonzero(near), len(near))
    ends = right[np.searchsorted(right, np.minimum(starts + BLOCK, len(near)))]  # where distances are as they should be again
    edges = np.zeros(len(near) + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, ends, -1)
    within = np.cumsum(edges[:-1]) > 0
    at, positions = distances[within], np.flatnonzero(within)
    bars, first, last = len(at) + bool(within.all()), int(times[positions[0]]), int(times[positions[-1] + 1])
    return Wrong(timeframe, _commonest(at)[0], _named(at), bars, len(times), first, last)


def refuse_wrong_timeframe(
    times: NDArray[np.int64], timeframe: str, among: NDArray[np.int64] | None = None, *, told: bool = False, asks: bool = False
) -> None:
    """DataError if bars that are to be stored are not as far apart as their timeframe says.

    among: the times of the whole series with them. told: a person says that each bar lasts no longer than the timeframe.
    asks: a few bars that prove nothing are refused too, unless a person says so, or unless they are one or two more bars of
    a series that is known.
    """
    among = times if among is None else among
    for seen in (times, among):
        wrong = wrong_timeframe(seen, timeframe)
        if wrong is not None and not (told and wrong.is_longer):
            right = f" as {wrong.right}" if wrong.right else ""
            said = wrong.sentence if seen is times else f"with what is stored, {wrong.seen}; load the series anew{right}"
            hint = f"; if each of them covers no more than {length_text(_length(timeframe))}, say so with {OPTION}"
            raise DataError(said + (hint if wrong.is_longer else ""))
    is_known = is_told_by(times, timeframe) or (len(times) <= 2 and len(among) > len(times) and is_told_by(among, timeframe))
    if asks and not told and not is_known:
        raise DataError(f"{_unproven(times, timeframe)}; say so with {OPTION}, or load more bars at once")


def _unproven(times: NDArray[np.int64], timeframe: str) -> str:
    distances = _distances(times)
    seen = f", {length_text(_commonest(distances)[0])} apart" if len(distances) else ""
    return f"{counted(len(times), 'bar')}{seen}: too few to tell whether each lasts {length_text(_length(timeframe))}"


def _length(timeframe: str) -> int:
    return TIMEFRAMES[timeframe] * 1_000_000


def _distances(times: NDArray[np.int64]) -> NDArray[np.int64]:
    distances: NDArray[np.int64] = times[1:] - times[:-1]
    return distances


def _near(distances: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
    """Which distances are as long as a timeframe; blocks stay in the processor's cache."""
    least, most = _bounds(length)
    near = np.empty(len(distances), bool)
    for start in range(0, len(distances), 32_768):
        part = distances[start : start + 32_768]
        np.logical_and(part >= least, part <= most, out=near[start : start + 32_768])
    return near


def _suspicious(near: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where blocks begin of which at most a tenth is as long as the name says; the last block ends with the series."""
    whole = len(near) // BLOCK
    counts = near[: whole * BLOCK].reshape(whole, BLOCK).sum(axis=1, dtype=np.int16)
    starts = np.flatnonzero(counts <= RIGHT * BLOCK) * BLOCK
    last = max(len(near) - BLOCK, 0)
    if len(near) % BLOCK and np.count_nonzero(near[last:]) <= RIGHT * min(len(near), BLOCK):
        starts = np.append(starts, last)
    return starts


def _contradict(blocks: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
    """For each block (k, n) of distances, of which few are as long as the name says: whether the others say another name."""
    size = blocks.shape[1]
    ordered = np.sort(blocks, axis=1)
    wrong: NDArray[np.bool_] = (ordered < (1 - NEAR) * length).mean(axis=1) >= SHORTER
    # What is there twice in five times covers one of the quarters of what is in order.
    for place in (size // 4, size // 2, 3 * size // 4):
        alike = ordered[:, place, None]
        wrong |= (np.abs(ordered - alike) <= NEAR * alike).mean(axis=1) >= ALIKE
    for other in map(_length, TIMEFRAMES):
        if other > length:
            wrong |= ((ordered % other == 0) & (ordered >= other)).mean(axis=1) >= MULTIPLES
    return wrong


def _bounds(length: int) -> tuple[int, int]:
    return int(np.ceil((1 - NEAR) * length)), int((1 + NEAR) * length)


def _is_near(distance: int, length: int) -> bool:
    return abs(distance - length) <= NEAR * length


def _share_near(distances: NDArray[np.int64], length: int) -> float:
    return float(np.mean(_near(distances, length))) if len(distances) else 0.0


def _share_multiples(distances: NDArray[np.int64], length: int) -> float:
    return float(np.mean((distances >= length) & (distances % length == 0)))


def _commonest(distances: NDArray[np.int64]) -> tuple[int, int]:
    """The commonest distance, the shortest of several, and how often it is there; one of them all if none is there twice."""
    values, counts = np.unique(distances, return_counts=True)
    if counts.max() == 1:
        return int(values[len(values) // 2]), 1
    return int(values[np.argmax(counts)]), int(counts.max())
