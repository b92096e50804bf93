"""The origin of a stored series: how its bars were read when they were loaded, kept in the file beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from training.store.reading import Reading


@dataclass(frozen=True)
class Origin:
    """What the last load said of a series; a value that nobody named is empty.

    calendar: of the exchange; tz: the zone of the file's times; price_scale: what its prices were divided by; adjusted: by
    its adjusted close; timeframe_is_right: a person says that bars last as long as their timeframe, though they are further
    apart.
    """

    calendar: str = ""
    tz: str = ""
    price_scale: float = 1.0
    adjusted: bool = False
    timeframe_is_right: bool = False

    @classmethod
    def of(cls, metadata: Mapping[bytes, bytes]) -> Origin:
        """From a file's own; what is not known there is as nobody named it."""
        known = {field.name: metadata[field.name.encode()].decode() for field in fields(cls) if field.name.encode() in metadata}
        return cls(
            known.get("calendar", ""), known.get("tz", ""), float(known.get("price_scale", 1)),
            "adjusted" in known, "timeframe_is_right" in known,
        )  # fmt: skip

    def words(self) -> list[str]:
        """What people should know of it, the calendar aside."""
        words = [f"times read as {self.tz}"] if self.tz else []
        words += [f"prices divided by {self.price_scale:,.12g}"] if self.price_scale != 1 else []
        words += ["adjusted by the file's adjusted close"] if self.adjusted else []
        return words + (["further apart than the timeframe, as was said at load"] if self.timeframe_is_right else [])

    def against(self, now: Origin) -> list[str]:
        """Notes on bars that are read otherwise than the stored ones were."""
        notes = []
        if self.tz and now.tz and self.tz != now.tz:
            notes.append(f"the times were read as {now.tz}, last time as {self.tz}")
        if self.price_scale != now.price_scale:
            notes.append(f"the prices were divided by {now.price_scale:,.12g}, last time by {self.price_scale:,.12g}")
        if self.adjusted != now.adjusted:
            which = ("are not adjusted, the stored ones were", "are adjusted, the stored ones were not")[now.adjusted]
            notes.append(f"the new prices {which} (--adjust)")
        return notes

    def metadata(self) -> dict[bytes, bytes]:
        """As a file keeps it: only what differs from nothing named."""
        plain = asdict(UNKNOWN)
        return {name.encode(): str(value).encode() for name, value in asdict(self).items() if value != plain[name]}


#: Of a series of which nothing is known but its bars.
UNKNOWN = Origin()


def origin_after(before: Origin, reading: Reading) -> Origin:
    """That of a series after bars were loaded so; what a load does not name of the times and the timeframe stays."""
    return Origin(
        before.calendar, reading.tz or before.tz, reading.price_scale, reading.adjust,
        reading.timeframe_is_right or before.timeframe_is_right,
    )  # fmt: skip
