"""The origin of a stored series: how its bars were read when they were loaded, kept in the file beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields


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

    def metadata(self) -> dict[bytes, bytes]:
        """As a file keeps it: only what differs from nothing named."""
        plain = asdict(UNKNOWN)
        return {name.encode(): str(value).encode() for name, value in asdict(self).items() if value != plain[name]}


#: Of a series of which nothing is known but its bars.
UNKNOWN = Origin()
