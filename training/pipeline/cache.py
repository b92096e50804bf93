"""The feature cache: rows and labels of earlier runs, found by content and memory-mapped.

It holds raw features, labels, times and label ends: nothing split, nothing fitted. The key covers
the bars (fingerprints), the part of the strategy that makes features and labels, and the code and
libraries that compute them; change only the model or the training section and the rows are found.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from strategies_app import schema, vocabulary
from strategies_app.schema import StrategySpec
from training.files import sync_folder
from training.pipeline.features import plan_features
from training.pipeline.loading import RunBars
from training.values import Dataset, Rows

FORMAT = 1
LIBRARIES = ("numpy", "pandas", "pyarrow", "TA-Lib", "numba")
_ROWS = tuple(f.name for f in dataclasses.fields(Rows))


def library_versions() -> dict[str, str]:
    """Versions of the libraries that compute rows."""
    return {library: version(library) for library in LIBRARIES}


@functools.cache
def _code() -> str:
    """sha256 over the sources that make rows, and the versions of what they call."""
    digest = hashlib.sha256()
    sources = [*sorted(Path(__file__).parent.glob("*.py")), Path(schema.__file__), Path(vocabulary.__file__)]
    for source in sources:
        digest.update(source.read_bytes())
    digest.update(json.dumps(library_versions()).encode())
    return digest.hexdigest()


def cache_key(spec: StrategySpec, bars: RunBars) -> str:
    """The name under which the rows of this strategy on these bars are kept."""
    plain = spec.plain()
    makes_rows = {k: plain[k] for k in ("training_data", "indicators", "fuzzy_sets", "nn_inputs")}
    # Keys keep their order: that of the memberships is the order of the features.
    text = json.dumps(
        {
            "format": FORMAT,
            "code": _code(),
            "strategy": makes_rows,
            "lags": spec.model.features.lookback_periods,
            "labels": plain["training"]["labels"],
            "dates": [bars.start, bars.end],
            "bars": {s: dict(by_timeframe) for s, by_timeframe in bars.fingerprints.items()},
        }
    )
    return hashlib.sha256(text.encode()).hexdigest()


def find(folder: Path, key: str, spec: StrategySpec) -> Dataset | None:
    """The kept rows, memory-mapped; None if there are none. What cannot be read is removed: it is only a copy."""
    entry = folder / key
    try:
        about: dict[str, Any] = json.loads((entry / "about.json").read_text())
        arrays = {name: np.load(entry / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in (*_ROWS, "clock")}
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        shutil.rmtree(entry, ignore_errors=True)
        return None
    os.utime(entry / "about.json")
    plan = plan_features(spec)
    rows = Rows(**{name: arrays[name] for name in _ROWS})
    return Dataset(rows, arrays["clock"], spec.symbols, plan.names, plan.normalization, spec.class_names, about["dropped"])


def keep(folder: Path, key: str, dataset: Dataset, limit: int) -> bool:
    """Keep the rows under the key, and of all entries those used last within `limit` bytes; gives whether they were kept.

    A cache that cannot be written (a full disk) costs time, not the run: the caller says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / key).exists():
        return True
    temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    try:
        for name in _ROWS:
            np.save(temporary / f"{name}.npy", getattr(dataset.rows, name), allow_pickle=False)
        np.save(temporary / "clock.npy", dataset.clock, allow_pickle=False)
        (temporary / "about.json").write_text(json.dumps({"dropped": dict(dataset.dropped)}))
        with contextlib.suppress(FileExistsError):  # another process kept the same rows meanwhile
            os.rename(temporary, folder / key)
        sync_folder(folder)
    except OSError:
        return False
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    evict(folder, limit)
    return True


def evict(folder: Path, limit: int) -> None:
    """Remove the entries used longest ago until what is left fits into `limit` bytes; the newest one always stays."""
    entries = sorted(folder.glob("*/about.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    total = 0
    for number, about in enumerate(entries):
        total += sum(f.stat().st_size for f in about.parent.iterdir())
        if number and total > limit:
            shutil.rmtree(about.parent, ignore_errors=True)
