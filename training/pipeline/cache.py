"""The feature cache: rows and labels of earlier runs, found by content and memory-mapped.

It holds raw features, labels, times, label ends, how unique labels are and where windows end: nothing split, nothing
fitted. The key covers the bars (fingerprints), the part of the strategy that makes features and labels, and the code
and libraries that compute them, those of other packages included; change only the model or the training section and
the rows are found, unless the model sees windows of another length.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies_app import grammar, kinds
from strategies_app.grammar.schema import StrategySpec
from training import pipeline, store
from training.core import plugin_code, values
from training.core.files import naming, sync_folder
from training.core.values import Dataset, Rows
from training.pipeline.dataset import MatrixOf
from training.pipeline.features import plan_features
from training.pipeline.labels import weighs_rows
from training.pipeline.loading import RunBars

FORMAT = 6
#: Seconds after which a half-written entry has no writer any more.
ABANDONED = 3600.0
LIBRARIES = ("numpy", "pandas", "pyarrow", "TA-Lib", "numba")
_ROWS = tuple(f.name for f in dataclasses.fields(Rows))
_OF_WINDOWS = ("ends", "bar_times", "bar_symbols")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that compute rows."""
    return {library: version(library) for library in LIBRARIES}


@functools.cache
def _code() -> str:
    """sha256 over the sources that make rows, and the versions of what they call."""
    digest = hashlib.sha256()
    for package in (grammar, store, pipeline):
        for source in sorted(Path(package.__path__[0]).glob("*.py")):
            digest.update(source.read_bytes())
    for module in (kinds, values, plugin_code):
        digest.update(Path(str(module.__file__)).read_bytes())
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
            "window": spec.window,
            "labels": plain["training"]["labels"],
            "plugins": {name: of for name, of in spec.plugins.items() if not name.startswith("network ")},
            "dates": [bars.start, bars.end],
            "bars": {s: dict(by_timeframe) for s, by_timeframe in bars.fingerprints.items()},
        }
    )
    return hashlib.sha256(text.encode()).hexdigest()


def find(folder: Path, key: str, spec: StrategySpec) -> Dataset | None:
    """The kept rows, memory-mapped; None if there are none. What cannot be read is removed: it is only a copy."""
    entry = folder / key
    if not entry.exists():
        return None
    try:
        dataset = _read(entry, spec)
    except FileNotFoundError:
        shutil.rmtree(entry, ignore_errors=True)
        return None
    except OSError:  # it cannot be reached just now, of its content nothing is known
        return None
    except (ValueError, TypeError, KeyError, EOFError):
        shutil.rmtree(entry, ignore_errors=True)
        return None
    with contextlib.suppress(OSError):  # a cache that may only be read
        os.utime(entry / "about.json")
    return dataset


def _read(entry: Path, spec: StrategySpec) -> Dataset:
    about: dict[str, Any] = json.loads((entry / "about.json").read_text())
    absent = {"weights"} if not weighs_rows(spec) else set()
    absent |= set(_OF_WINDOWS) if spec.window == 1 else set()
    names = [name for name in (*_ROWS, "clock") if name not in absent]
    arrays = {name: np.load(entry / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}
    plan = plan_features(spec)
    seen = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
    if seen != about["arrays"] or arrays["features"].shape[1] != len(plan.names):
        raise ValueError(f"{entry} holds other arrays than it says")
    rows = Rows(**{name: arrays[name] for name in _ROWS if name in arrays})
    return Dataset(
        rows, arrays["clock"], spec.symbols, plan.names, plan.normalization, spec.class_names,
        about["dropped"], about["dropped_by_symbol"], plan.window, about["without_bar"],
    )  # fmt: skip


def keep(folder: Path, key: str, dataset: Dataset, limit: int) -> bool:
    """Keep the rows under the key, and of all entries those used last within `limit` bytes; gives whether they were kept.

    A cache that cannot be written (a full disk) costs time, not the run: the caller says so.
    """
    entry = folder / key
    if entry.exists():
        return True
    temporary = folder / f".new-{secrets.token_hex(6)}"
    try:
        folder.mkdir(exist_ok=True)
        temporary.mkdir()
        _write(temporary, dataset)
        os.rename(temporary, entry)
        sync_folder(folder)
        evict(folder, limit)
    except OSError:
        return entry.exists()  # another process may have kept the same rows meanwhile
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def build_in_file(folder: Path, key: str, spec: StrategySpec, build: Callable[[MatrixOf], Dataset], limit: int) -> Dataset:
    """Rows that are too many for memory: `build` writes the features straight into the entry's file; gives them
    memory-mapped. OSError if the disk has no room for them: it is reserved first, so that no write can fail later.
    """
    entry, temporary = folder / key, folder / f".new-{secrets.token_hex(6)}"
    folder.mkdir(exist_ok=True)
    temporary.mkdir()

    def matrix_of(rows: int, columns: int) -> NDArray[np.float32]:
        path = temporary / "features.npy"
        with naming(path):
            matrix = np.lib.format.open_memmap(path, "w+", np.dtype(np.float32), (rows, columns))
        with naming(path), path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return matrix

    try:
        dataset = build(matrix_of)
        _cut(temporary / "features.npy", *dataset.rows.features.shape)
        _write(temporary, dataset, written=("features",))
        with contextlib.suppress(OSError):  # another process may have kept the same rows meanwhile
            os.rename(temporary, entry)
        sync_folder(folder)
        evict(folder, limit)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return find(folder, key, spec) or dataset


def _cut(path: Path, rows: int, columns: int) -> None:
    """Shorten a file of float32 to its first rows. Its head keeps its length: numpy leaves room for the longest number."""
    with naming(path), path.open("r+b") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)})
        file.truncate(file.tell() + rows * columns * 4)
        os.fsync(file.fileno())


def _write(entry: Path, dataset: Dataset, written: tuple[str, ...] = ()) -> None:
    columns = {name: getattr(dataset.rows, name) for name in _ROWS} | {"clock": dataset.clock}
    arrays = {name: array for name, array in columns.items() if array is not None}
    for name, array in arrays.items():
        if name in written:
            continue
        with naming(entry / f"{name}.npy"), (entry / f"{name}.npy").open("xb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
    shapes = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
    with naming(entry / "about.json"), (entry / "about.json").open("x") as text:
        by_symbol = {
            name: {symbol: dict(counts) for symbol, counts in getattr(dataset, name).items()}
            for name in ("dropped_by_symbol", "without_bar")
        }
        json.dump({"dropped": dict(dataset.dropped), **by_symbol, "arrays": shapes}, text)
        text.flush()
        os.fsync(text.fileno())


def evict(folder: Path, limit: int) -> None:
    """Remove the entries used longest ago until what is left fits into `limit` bytes; the newest one always stays."""
    for left in folder.glob(".new-*"):  # by a process that was killed
        if time.time() - left.stat().st_mtime > ABANDONED:
            shutil.rmtree(left, ignore_errors=True)
    entries = sorted(folder.glob("[!.]*/about.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    total = 0
    for number, about in enumerate(entries):
        total += sum(f.stat().st_size for f in about.parent.iterdir())
        if number and total > limit:
            shutil.rmtree(about.parent, ignore_errors=True)
