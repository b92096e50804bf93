"""The feature cache: found by content, memory-mapped, and never more than a copy that can be made again."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strategies_app.grammar.schema import StrategySpec
from tests.examples.pipeline import plain_market, prices, same_bits, whole_vocabulary
from training.core.values import Dataset, Rows
from training.pipeline import cache
from training.pipeline.bars import write_bars
from training.pipeline.dataset import build_dataset
from training.pipeline.frames import bar_frame, bar_times
from training.pipeline.loading import load_bars

LARGE = 10**9
FIELDS = [f.name for f in dataclasses.fields(Rows)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "bars").mkdir()
    write_bars(tmp_path / "bars", "AAA", "1h", plain_market(800, "1h", 1))
    return tmp_path / "bars"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def example(change: Any = None) -> StrategySpec:
    """A strategy, with its plain form changed before it is read."""
    plain = whole_vocabulary(("1h", "4h"), start_date="2015-01-10", end_date="2015-02-03").plain()
    if change:
        change(plain)
    return StrategySpec.model_validate(plain)


def key_and_rows(store: Path, change: Any = None) -> tuple[str, Dataset]:
    spec = example(change)
    bars = load_bars(spec, store)
    return cache.cache_key(spec, bars), build_dataset(spec, bars)


def assert_same_dataset(found: Dataset | None, expected: Dataset) -> None:
    assert found is not None
    for name in FIELDS:
        if getattr(expected.rows, name) is None:
            assert getattr(found.rows, name) is None
            continue
        assert same_bits(np.asarray(getattr(found.rows, name)), getattr(expected.rows, name))
    assert same_bits(np.asarray(found.clock), expected.clock)
    for name in ("symbols", "feature_names", "normalization", "class_names", "dropped", "dropped_by_symbol"):
        assert getattr(found, name) == getattr(expected, name)


def test_what_was_kept_is_found_again_bit_for_bit_and_memory_mapped(store: Path, folder: Path) -> None:
    key, dataset = key_and_rows(store)
    assert cache.find(folder, key, example()) is None
    assert cache.keep(folder, key, dataset, LARGE)
    found = cache.find(folder, key, example())
    assert_same_dataset(found, dataset)
    assert found is not None
    assert isinstance(found.rows.features, np.memmap)


BARRIERS = {"source": "triple_barrier", "max_holding_period": 9, "vol_span": 6, "cusum_threshold": 0.001}


def test_the_weights_of_rows_are_kept_with_them(store: Path, folder: Path) -> None:
    plain, weighing = (set_path("training", "labels", to=BARRIERS | {"compute_weights": on}) for on in (False, True))
    key, dataset = key_and_rows(store, weighing)
    assert dataset.rows.weights is not None and dataset.rows.weights.min() < dataset.rows.weights.max()
    assert cache.keep(folder, key, dataset, LARGE)
    assert_same_dataset(cache.find(folder, key, example(weighing)), dataset)
    other_key, without = key_and_rows(store, plain)
    assert other_key != key and without.rows.weights is None
    assert cache.keep(folder, other_key, without, LARGE)
    assert_same_dataset(cache.find(folder, other_key, example(plain)), without)
    (folder / key / "weights.npy").unlink()
    assert cache.find(folder, key, example(weighing)) is None


def set_path(*path: str, to: Any) -> Any:
    def change(plain: dict[str, Any]) -> None:
        for step in path[:-1]:
            plain = plain.setdefault(step, {})
        plain[path[-1]] = to

    return change


def add_membership(plain: dict[str, Any]) -> None:
    plain["fuzzy_sets"]["rsi_value"]["more"] = {"type": "triangular", "parameters": [1, 2, 3]}


def reverse_memberships(plain: dict[str, Any]) -> None:
    memberships = plain["fuzzy_sets"]["rsi_value"]
    indicator = memberships.pop("indicator")
    plain["fuzzy_sets"]["rsi_value"] = {"indicator": indicator, **dict(reversed(memberships.items()))}


@pytest.mark.parametrize(
    "change",
    [
        set_path("model", "architecture", to={"hidden_layers": [3]}),
        set_path("training", "epochs", to=7),
        set_path("training", "learning_rate", to=0.5),
        set_path("training", "seed", to=1),
        set_path("training", "data_split", to={"train": 0.6, "validation": 0.2, "test": 0.2}),
        set_path("decisions", "confidence_threshold", to=0.9),
        set_path("description", to="other words"),
        set_path("name", to="other_name"),
    ],
    ids=["model", "epochs", "rate", "seed", "split", "decisions", "description", "name"],
)
def test_a_change_of_model_training_or_words_keeps_the_hit(store: Path, change: Any) -> None:
    assert key_and_rows(store, change)[0] == key_and_rows(store)[0]


@pytest.mark.parametrize(
    "change",
    [
        set_path("training", "labels", "horizon", to=4),
        set_path("training", "labels", to={"source": "zigzag"}),
        set_path("indicators", "rsi", "period", to=9),
        set_path("fuzzy_sets", "rsi_value", "input_transform", to={"type": "price_ratio"}),
        set_path("model", "features", "lookback_periods", to=1),
        set_path("training_data", "start_date", to="2015-01-11"),
        set_path("training_data", "end_date", to="2015-02-02"),
        set_path("training_data", "history_required", to=50),
        add_membership,
        reverse_memberships,
        lambda plain: plain["nn_inputs"].reverse(),
    ],
    ids=["horizon", "label", "indicator", "transform", "lags", "start", "end", "history", "membership", "order", "inputs"],
)
def test_a_change_of_features_labels_or_dates_misses(store: Path, change: Any) -> None:
    assert key_and_rows(store, change)[0] != key_and_rows(store)[0]


@pytest.mark.parametrize("column", range(5))
def test_one_changed_bar_misses(store: Path, column: int) -> None:
    before, _ = key_and_rows(store)
    frame, values = plain_market(800, "1h", 1), prices(800, 1).copy()
    values[column, 400] += (0.0, 1e-9, -1e-9, 0.0, 1.0)[column] if column not in (0, 3) else 0.0
    if column in (0, 3):
        values[column, 400] = (values[1, 400] + values[2, 400]) / 2
    write_bars(store, "AAA", "1h", bar_frame(bar_times(frame), values))
    assert key_and_rows(store)[0] != before


def test_another_version_of_a_library_misses(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = example()
    bars = load_bars(spec, store)
    before = cache.cache_key(spec, bars)
    cache._code.cache_clear()
    with monkeypatch.context() as other:
        other.setattr(cache, "library_versions", lambda: {"numpy": "0"})
        assert cache.cache_key(spec, bars) != before
    cache._code.cache_clear()
    assert cache.cache_key(spec, bars) == before


def test_bars_after_the_end_keep_the_hit(store: Path) -> None:
    before, _ = key_and_rows(store)
    longer = np.concatenate([prices(800, 1), prices(100, 2)], axis=1)
    write_bars(store, "AAA", "1h", bar_frame(bar_times(plain_market(900, "1h")), longer))
    assert key_and_rows(store)[0] == before


def test_another_version_or_code_of_a_package_misses_unless_it_is_the_networks(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(*kinds: tuple[str, str, str]) -> str:
        used = {name: {"package": "kama-plus", "version": version, "code": code} for name, version, code in kinds}
        monkeypatch.setattr(StrategySpec, "plugins", used)
        return key_and_rows(store)[0]

    first = key(("indicator kama", "1.0", "ab"))
    assert len({first, key(), key(("indicator kama", "1.1", "ab")), key(("indicator kama", "1.0", "cd"))}) == 4
    assert key(("indicator kama", "1.0", "ab"), ("network gated", "1.0", "ab")) == first


# --- damage ------------------------------------------------------------------------------------


def cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def other_rows(file: Path) -> None:
    if file.suffix == ".npy":
        np.save(file, np.zeros(3))
    else:
        file.write_text(json.dumps({"dropped": {}, "arrays": {}}))


@pytest.mark.parametrize("damage", [cut_short, empty, other_rows, Path.unlink], ids=["cut", "emptied", "others", "gone"])
@pytest.mark.parametrize("name", ["about.json", "features.npy", "label_ends.npy", "clock.npy"])
def test_a_damaged_entry_is_as_none_and_made_again(store: Path, folder: Path, name: str, damage: Any) -> None:
    key, dataset = key_and_rows(store)
    cache.keep(folder, key, dataset, LARGE)
    damage(folder / key / name)
    assert cache.find(folder, key, example()) is None
    assert cache.keep(folder, key, dataset, LARGE)
    assert_same_dataset(cache.find(folder, key, example()), dataset)


# --- room --------------------------------------------------------------------------------------


def test_the_entry_used_longest_ago_goes_first(store: Path, folder: Path) -> None:
    key, dataset = key_and_rows(store)
    for second, name in enumerate(("a", "b", "c")):
        cache.keep(folder, name, dataset, LARGE)
        os.utime(folder / name / "about.json", (second, second))
    size = sum(f.stat().st_size for f in (folder / "a").iterdir())
    cache.find(folder, "a", example())
    cache.keep(folder, key, dataset, 2 * size + size // 2)
    assert {p.name for p in folder.iterdir()} == {key, "a"}


def test_the_newest_entry_stays_even_alone_above_the_limit(store: Path, folder: Path) -> None:
    key, dataset = key_and_rows(store)
    assert cache.keep(folder, key, dataset, 1)
    assert_same_dataset(cache.find(folder, key, example()), dataset)


def test_what_a_killed_process_left_is_swept_away(store: Path, folder: Path) -> None:
    key, dataset = key_and_rows(store)
    left = folder / ".new-abandoned"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    cache.keep(folder, key, dataset, LARGE)
    assert [p.name for p in folder.iterdir()] == [key]


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["numpy.save", "json.dump", "os.rename", "os.fsync", "pathlib.Path.mkdir"])
def test_a_full_disk_is_told_and_leaves_nothing_behind(
    store: Path, folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, dataset = key_and_rows(store)
    with monkeypatch.context() as patch:
        patch.setattr(place, full_disk)
        assert cache.keep(folder, key, dataset, LARGE) is False
    assert cache.find(folder, key, example()) is None
    assert not folder.exists() or not list(folder.iterdir())
    assert cache.keep(folder, key, dataset, LARGE)


def test_rows_that_another_process_kept_meanwhile_are_kept(store: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, dataset = key_and_rows(store)
    rename = os.rename

    def after_another(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "rename", rename)
        cache.keep(folder, key, dataset, LARGE)
        rename(source, target)

    monkeypatch.setattr(os, "rename", after_another)
    assert cache.keep(folder, key, dataset, LARGE)
    assert_same_dataset(cache.find(folder, key, example()), dataset)
    assert [p.name for p in folder.iterdir()] == [key]
