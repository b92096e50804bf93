"""Memory: what a run will take is told and refused with figures; what is too large for the allowance is read from a file, with the same weights."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.memory import Shape, measure, strategy
from strategies_app.models import Strategy
from tests.examples.api import TEXT, start, store_bars
from tests.examples.homes import ROOT
from training.core import memory as footprints
from training.core.memory import MemoryWatch, Room, TooLarge, footprint, free_room, must_fit, own_memory, whole_room
from training.models import Operation
from training.pipeline import cache
from training.pipeline.bars import write_bars
from training.pipeline.dataset import build_dataset
from training.pipeline.loading import load_bars
from training.pipeline.prepare import FeatureCache, is_in_file, prepare
from training.pipeline.synthetic import make_bars
from training.trainer.networks import build_network, parameter_count
from training.workers.attempt import run_operation

WIDE = Shape("wide", bars=60_000, indicators=4, lags=119, hidden=(8,), batch=256)
ALLOWED = 28_800_000
#: So large that what any run takes, whatever its size, weighs little beside it.
LARGE, LARGE_ALLOWED = replace(WIDE, bars=150_000), 72_000_000


def test_a_run_takes_what_its_plan_says(tmp_path: Path) -> None:
    told = measure(Shape("one", bars=60_000, indicators=8, lags=9), tmp_path)
    assert 0.85 < told["estimate"] / told["peak"] < 1.15, told


@pytest.mark.parametrize(
    "shape",
    [Shape("a"), Shape("b", hidden=(64, 32)), Shape("c", recurrent="lstm", window=8), Shape("d", recurrent="gru", window=3)],
)
def test_weights_are_counted_without_making_them(shape: Shape) -> None:
    spec = strategy(shape)
    ones = np.ones(6, np.float32)
    assert footprints.weights_of(spec, 6) == parameter_count(build_network(spec, 6, spec.output_count, 0 * ones, ones))


# --- how much there is ---


def machine(folder: Path, **files: str) -> Path:
    """A system that tells these things of itself."""
    for name, text in {"proc/meminfo": "MemTotal:  8000000 kB\nMemAvailable:  2000000 kB\n", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_the_smallest_of_machine_container_and_allowance_counts(tmp_path: Path) -> None:
    plain = machine(tmp_path / "plain")
    assert free_room(None, plain) == Room(2_048_000_000, "free on this machine", free=True)
    assert whole_room(None, plain) == Room(8_192_000_000, "the memory of this machine")
    assert free_room(10**9, plain) == Room(10**9, "allowed by KTRDR_MEMORY_LIMIT")
    newer = {"sys/fs/cgroup/memory.max": "1000000000\n", "sys/fs/cgroup/memory.current": "400000000\n"}
    boxed = machine(tmp_path / "newer", **newer)
    assert free_room(None, boxed) == Room(600_000_000, "left of this container's limit", free=True)
    assert whole_room(None, boxed) == Room(10**9, "this container's limit")
    group = "sys/fs/cgroup/memory/memory"
    older = machine(tmp_path / "older", **{f"{group}.limit_in_bytes": "500000000", f"{group}.usage_in_bytes": "1"})
    assert free_room(None, older) == Room(499_999_999, "left of this container's limit", free=True)
    endless = {"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "400000000\n"}
    assert free_room(None, machine(tmp_path / "endless", **endless)) == free_room(None, plain)
    assert free_room(None, tmp_path / "nothing") is None


def test_what_does_not_fit_is_refused_with_its_figures() -> None:
    told = footprint(strategy(WIDE), {"S0000": [1_000_000]}, 1_000_000, program=300_000_000)
    must_fit(told, Room(told.run, "free on this machine"))
    must_fit(told, None)
    with pytest.raises(TooLarge) as refused:
        must_fit(told, Room(told.run - 1, "free on this machine"))
    sentence = str(refused.value)
    assert sentence.startswith("this run needs 2.2") and "features 1.92 GB" in sentence and "is free on this machine" in sentence
    assert "wanted fewer symbols or days" in sentence and refused.value.category == "resources"


def test_bars_that_are_loaded_are_not_in_what_is_free_but_in_what_is_allowed() -> None:
    told = footprint(strategy(WIDE), {"S0000": [1_000_000]}, 1_000_000)
    left = told.run - told.bars
    must_fit(told, Room(left, "free on this machine", free=True), loaded=True)
    with pytest.raises(TooLarge):
        must_fit(told, Room(left, "allowed by KTRDR_MEMORY_LIMIT"), loaded=True)


@pytest.mark.django_db
def test_a_start_that_fits_nowhere_is_refused_before_anything_is_stored(settings: Any) -> None:
    from strategies_app.stored import FoundStrategy
    from training.access.audit import Actor
    from training.jobs.requests import start_training

    store_bars()
    settings.MEMORY_LIMIT = 1000
    with pytest.raises(TooLarge, match=r"a run of about [\d,]+ bars needs .* and 1.0 kB is allowed by KTRDR_MEMORY_LIMIT"):
        start_training(FoundStrategy(TEXT, "", None), {}, Actor(), inline=True)
    assert not Operation.objects.exists()


@pytest.mark.django_db
def test_a_plan_tells_its_memory_and_what_its_precision_changes() -> None:
    from training.workers.plan import plan

    store_bars()
    told = plan(TEXT.replace("\ntraining:\n", "\ntraining:\n  precision: bfloat16\n"), "stored", {}, worker="a gpu worker")
    assert told["memory"].startswith("about ") and "program" in told["memory"] and "features" in told["memory"]
    assert any(note.startswith("precision bfloat16 on CUDA") for note in told["notes"])


# --- from a file ---


@pytest.fixture
def wide(tmp_path: Path) -> Any:
    (tmp_path / "bars").mkdir()
    write_bars(tmp_path / "bars", "S0000", "1h", make_bars(3000, "1h", 0, start="1960-01-01"))
    spec = strategy(WIDE)
    return spec, load_bars(spec, tmp_path / "bars")


def test_rows_built_into_a_file_are_the_same_bits(wide: Any, tmp_path: Path) -> None:
    spec, bars = wide
    expected = build_dataset(spec, bars)
    room = footprints.footprint(spec, {"S0000": [3000]}, 3000, in_file=True).run + 100_000
    found = prepare(spec, bars, cache=FeatureCache(tmp_path / "cache", 10**9), memory_limit=room)
    assert is_in_file(found) and any("lie in the cache's file" in note for note in found.notes)
    assert np.array_equal(found.dataset.rows.features, expected.rows.features)
    assert np.array_equal(found.dataset.rows.labels, expected.rows.labels)
    again = cache.find(tmp_path / "cache", cache.cache_key(spec, bars), spec)
    assert again is not None and np.array_equal(again.rows.features, expected.rows.features)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [cache.cache_key(spec, bars)], "nothing unfinished is left"
    size = (tmp_path / "cache" / cache.cache_key(spec, bars) / "features.npy").stat().st_size
    assert size == 128 + expected.rows.features.nbytes


def test_without_a_cache_there_is_no_file_to_go_to(wide: Any) -> None:
    spec, bars = wide
    with pytest.raises(TooLarge, match="KTRDR_MEMORY_LIMIT"):
        prepare(spec, bars, memory_limit=1_000_000)


def test_what_does_not_fit_with_its_features_in_a_file_is_refused_when_the_run_begins(wide: Any, tmp_path: Path) -> None:
    spec, bars = wide
    with pytest.raises(TooLarge, match="KTRDR_MEMORY_LIMIT"):
        prepare(spec, bars, cache=FeatureCache(tmp_path / "cache", 10**9), memory_limit=1_000_000)
    assert not (tmp_path / "cache").exists()


def test_room_on_the_disk_is_reserved_before_anything_is_computed(
    wide: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*asked: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    spec, bars = wide
    room = footprints.footprint(spec, {"S0000": [3000]}, 3000, in_file=True).run + 100_000
    monkeypatch.setattr(cache.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        prepare(spec, bars, cache=FeatureCache(tmp_path / "cache", 10**9), memory_limit=room)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_the_allowance_of_the_settings_reaches_the_run(settings: Any) -> None:
    store_bars()
    settings.MEMORY_LIMIT = 1000
    operation = start(Strategy.objects.import_text(TEXT))
    assert run_operation(operation.pk, 1, device="cpu") == "failed"
    operation.refresh_from_db()
    assert operation.failure["category"] == "resources" and "1.0 kB is allowed by KTRDR_MEMORY_LIMIT" in operation.error


TRAIN = """
import hashlib, json, sys
from pathlib import Path
from benchmarks.memory import Peak, Shape, strategy
from training import recipe
from training.core.memory import program_now
from training.pipeline.prepare import footprint_of
WIDE = Shape(**json.loads(sys.argv[4]))
root, folder, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) or None
spec = strategy(WIDE)
program = program_now()
with Peak() as peak:
    bars = recipe.load_bars(spec, root)
    notes = []
    bundle = recipe.train_strategy(
        spec, bars, cache=recipe.FeatureCache(folder, 10**9), memory_limit=limit, note=notes.append, device="cpu"
    )
weights = hashlib.sha256(b"".join(t.numpy().tobytes() for t in bundle.network.state_dict().values())).hexdigest()
features = footprint_of(spec, bars).features
print(json.dumps({"took": peak.most - program, "weights": weights, "notes": notes, "features": features}))
"""


def test_a_run_at_four_times_its_allowance_completes_with_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    write_bars(tmp_path / "bars", "S0000", "1h", make_bars(LARGE.bars, "1h", 0, start="1960-01-01"))

    def trained(folder: str, limit: int) -> dict[str, Any]:
        command = [sys.executable, "-c", TRAIN, str(tmp_path / "bars"), str(tmp_path / folder), str(limit)]
        command.append(json.dumps(asdict(LARGE)))
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))

    resident, in_file = trained("one", 0), trained("other", LARGE_ALLOWED)
    assert in_file["features"] >= 3.8 * LARGE_ALLOWED
    assert resident["weights"] == in_file["weights"]
    assert in_file["took"] < LARGE_ALLOWED < resident["took"], (in_file["took"], resident["took"])
    told = [any("lie in the cache's file" in note for note in run["notes"]) for run in (resident, in_file)]
    assert told == [False, True]


# --- while it runs ---


@pytest.mark.skipif(own_memory() is None, reason="the system does not tell")
def test_own_memory_counts_what_is_taken_and_not_what_is_mapped(tmp_path: Path) -> None:
    (tmp_path / "mapped").write_bytes(bytes(40_000_000))
    mapped = np.memmap(tmp_path / "mapped", np.uint8, "r")
    before = own_memory() or 0
    assert int(mapped.max()) == 0  # every page was read
    assert (own_memory() or 0) - before < 10_000_000
    taken = np.ones(5_000_000)
    assert (own_memory() or 0) - before > 30_000_000 and len(taken) and len(mapped)


def test_a_run_that_takes_more_than_it_may_says_so_once() -> None:
    said: list[str] = []
    watch = MemoryWatch(1_000_000, said.append)
    watch.program = (own_memory() or 0) + 10_000_000
    watch.look()
    assert said == []
    watch.program = (own_memory() or 0) - 10_000_000  # this process may take little or nothing for a few more numbers
    watch.look()
    watch.look()
    assert len(said) == 1 and "more than the 1.0 MB that KTRDR_MEMORY_LIMIT allows" in said[0]


@pytest.mark.django_db(transaction=True)
def test_the_watch_looks_at_a_run_and_keeps_what_it_saw_with_it(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store_bars()
    settings.MEMORY_LIMIT = 50_000_000
    monkeypatch.setattr("training.workers.monitoring.LOOK_SECONDS", 0.001)
    monkeypatch.setattr(footprints, "own_memory", iter([10**8, *[10**9] * 10**6]).__next__)
    operation = start(Strategy.objects.import_text(TEXT))
    assert run_operation(operation.pk, 1, device="cpu") == "completed"
    operation.refresh_from_db()
    (note,) = [note for note in operation.notes if "KTRDR_MEMORY_LIMIT allows" in note]
    assert note.startswith("the run takes 828.0 MB of memory beside the program")
