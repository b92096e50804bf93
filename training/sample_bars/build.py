"""Raw daily bars as CSV → the sample bars in this folder: `python -m training.sample_bars.build FOLDER`.

Run it where the four raw files are; ORIGIN.md says where they come from. The same input gives the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq

from training.pipeline.bars import FORMAT, bar_table, series_path
from training.readers.bar_files import read_bar_file
from training.store.reading import Reading

SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")
HERE = Path(__file__).resolve().parent


def build(raw: Path, target: Path = HERE) -> list[str]:
    """Adjust `<symbol>_unadj_1d.csv` of the folder `raw` and write `<symbol>_1d.parquet`; gives a line on each."""
    lines = []
    for symbol in SYMBOLS:
        frame, notes = read_bar_file(raw / f"{symbol}_unadj_1d.csv", "1d", Reading(adjust=True))
        options = {
            **FORMAT,
            "compression": "zstd",
            "compression_level": 19,
            "use_byte_stream_split": ["open", "high", "low", "close"],
        }
        pq.write_table(bar_table(frame), series_path(target, symbol, "1d"), **options)
        lines.append(f"{symbol}: {len(frame):,} bars, {'; '.join(notes)}")
    return lines


if __name__ == "__main__":
    print("\n".join(build(Path(sys.argv[1]))))  # noqa: T201
