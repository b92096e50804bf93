"""A bundle comes back as it was saved, in a process that has nothing else, or is refused."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from django.test import RequestFactory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.examples.homes import ROOT
from tests.examples.trainer import dataset, strategy
from training.api import errors
from training.core.files import MANIFEST
from training.core.values import Silent
from training.recipe import predict_bars
from training.trainer import bundle as bundles
from training.trainer.bundle import Bundle, BundleError, PackageMissing, load_bundle, manifest_sha256, save_bundle
from training.trainer.device import environment
from training.trainer.evaluation import evaluate, probabilities
from training.trainer.loop import fit


@pytest.fixture(scope="module")
def made() -> Bundle:
    rows, splits = dataset(raw=2)
    spec = strategy(epochs=2, dropout=0.1)
    fitted = fit(rows, splits, spec, Silent())
    split_positions = {"validation": splits.validation, "test": splits.test}
    evaluations = {
        name: evaluate(fitted.network, rows, positions, splits.train, spec.training, fitted.class_weights)
        for name, positions in split_positions.items()
    }
    return Bundle(
        network=fitted.network,
        strategy_text="name: example  # für später\n",
        spec=spec.plain(),
        feature_names=rows.feature_names,
        class_names=rows.class_names,
        normalization=rows.normalization,
        offset=fitted.offset,
        scale=fitted.scale,
        symbols=rows.symbols,
        timeframes=("1h",),
        first_bars={"AAA": {"1h": 0}, "BBB": {"1h": 3}},
        split={"cuts": list(splits.cuts), "embargo_ends": list(splits.embargo_ends), "start": "2020-01-01", "end": "2020-02-01"},
        sources={"AAA": {"1h": "1h"}, "BBB": {"1h": "1h"}},
        class_weights=fitted.class_weights,
        notes=["BBB 1h resampled from 15m"],
        fingerprints={"AAA": {"1h": "ab" * 32}, "BBB": {"1h": "cd" * 32}},
        versions=environment(),
        threads=fitted.threads,
        engine=fitted.engine,
        device=fitted.device,
        seed=fitted.seed,
        metrics={name: e.metrics for name, e in evaluations.items() if e} | {"history": fitted.history},
        predictions={name: e.predictions for name, e in evaluations.items() if e},
    )


@pytest.fixture
def saved(made: Bundle, tmp_path: Path) -> Path:
    save_bundle(made, tmp_path / "model")
    return tmp_path / "model"


def test_a_bundle_comes_back_as_it_was_saved(made: Bundle, saved: Path) -> None:
    back = load_bundle(saved)
    for field in dataclasses.fields(Bundle):
        if field.name in ("network", "predictions", "offset", "scale"):
            continue
        assert getattr(back, field.name) == getattr(made, field.name), field.name
    for a, b in zip(made.network.state_dict().values(), back.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for split, predictions in made.predictions.items():
        for field in dataclasses.fields(predictions):
            np.testing.assert_array_equal(getattr(back.predictions[split], field.name), getattr(predictions, field.name))
    np.testing.assert_array_equal(back.offset, made.offset)
    np.testing.assert_array_equal(back.scale, made.scale)
    assert sorted(p.name for p in saved.parent.iterdir()) == ["model"], "nothing is left beside it"


def test_saving_twice_gives_the_same_bytes(made: Bundle, saved: Path) -> None:
    assert save_bundle(made, saved.with_name("again")) == manifest_sha256(saved)
    with pytest.raises(BundleError, match="exists already"):
        save_bundle(made, saved)


def test_a_fresh_process_without_django_predicts_the_same_bits(made: Bundle, saved: Path, tmp_path: Path) -> None:
    rows, _ = dataset(raw=2)
    np.save(tmp_path / "features.npy", rows.rows.features[3:])
    code = f"""
import sys
for name in ("django", "pandas", "rq", "redis", "channels", "talib", "training.pipeline"): sys.modules[name] = None
import numpy as np
from training.trainer.bundle import load_bundle
from training.trainer.evaluation import probabilities
bundle = load_bundle(__import__("pathlib").Path({str(saved)!r}))
np.save({str(tmp_path / "seen.npy")!r}, probabilities(bundle.network, np.load({str(tmp_path / "features.npy")!r})))
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "seen.npy"), probabilities(made.network, rows.rows.features)[3:])


@given(name=st.sampled_from([*bundles.FILES, MANIFEST]), where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_changed_byte_anywhere_is_refused(saved: Path, name: str, where: float, flip: int) -> None:
    path = saved / name
    content = path.read_bytes()
    changed = bytearray(content)
    changed[int(where * len(content))] ^= flip
    path.write_bytes(changed)
    try:
        with pytest.raises(BundleError, match=r"was changed after it was saved: [a-z.]+ does not fit"):
            load_bundle(saved)
    finally:
        path.write_bytes(content)


def test_every_byte_of_the_manifest_counts(saved: Path) -> None:
    path = saved / MANIFEST
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(BundleError):
            load_bundle(saved)
    for changed in (content + b"\n", content[:-1], b"", b"{}"):
        path.write_bytes(changed)
        with pytest.raises(BundleError):
            load_bundle(saved)


def test_an_added_or_missing_file_is_refused(saved: Path) -> None:
    (saved / "notes.txt").write_text("hello")
    with pytest.raises(BundleError, match=r"has an unknown file notes\.txt"):
        load_bundle(saved)
    (saved / "notes.txt").unlink()
    for name in (*bundles.FILES, MANIFEST):
        content = (saved / name).read_bytes()
        (saved / name).unlink()
        with pytest.raises(BundleError, match=f"has no {name}"):
            load_bundle(saved)
        (saved / name).write_bytes(content)
    load_bundle(saved)
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(saved / "nowhere")


@pytest.mark.parametrize("call", range(8))
def test_a_full_disk_leaves_nothing_behind(made: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    real, calls = os.fsync, iter(range(100))

    def full(descriptor: int) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    folder = tmp_path / "model"
    if call < 6:  # five files and their folder; then the folder above, when the bundle is whole
        with pytest.raises(BundleError, match=r"cannot be written: No space left on device"):
            save_bundle(made, folder)
        assert list(tmp_path.iterdir()) == []
    elif call == 6:
        with pytest.raises(BundleError):
            save_bundle(made, folder)
        load_bundle(folder)
    else:
        save_bundle(made, folder)


def test_numbers_that_are_not_finite_are_not_saved(made: Bundle, tmp_path: Path) -> None:
    network = load_copy(made, tmp_path)
    with torch.no_grad():
        next(iter(network.parameters()))[0, 0] = float("nan")
    wrong = dataclasses.replace(made.predictions["test"], probabilities=np.full((1, 3), np.inf, np.float32))
    for change, message in (
        ({"network": network}, r"hidden_0\.weight holds a number that is not finite"),
        ({"predictions": {"test": wrong}}, "a test probability is not finite"),
        ({"metrics": {"loss": float("inf")}}, r"bundle\.json would hold a number that is not finite"),
    ):
        with pytest.raises(BundleError, match=message):
            save_bundle(dataclasses.replace(made, **change), tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def load_copy(made: Bundle, tmp_path: Path) -> Any:
    save_bundle(made, tmp_path / "copy")
    return load_bundle(tmp_path / "copy").network


def test_a_consistent_bundle_that_describes_no_model_is_refused(made: Bundle, tmp_path: Path) -> None:
    for number, change in enumerate(
        ({"feature_names": made.feature_names[1:]}, {"spec": {**made.spec, "name": "?"}}, {"spec": {**made.spec, "extra": 1}})
    ):
        folder = tmp_path / str(number)
        save_bundle(dataclasses.replace(made, **change), folder)
        with pytest.raises(BundleError, match="does not describe a model"):
            load_bundle(folder)


def test_a_bundle_of_a_package_that_is_not_here_is_not_called_damaged(made: Bundle, tmp_path: Path) -> None:
    gone = {"indicator kama": {"package": "kama-plus", "version": "1.0", "sha256": "0"}}
    save_bundle(dataclasses.replace(made, plugins=gone), tmp_path / "model")
    with pytest.raises(
        PackageMissing, match=r"needs the package kama-plus 1.0 \(indicator kama\), which is not installed"
    ) as told:
        load_bundle(tmp_path / "model")
    answer = errors.answer(RequestFactory().get("/api/v1/models"), told.value)
    assert (answer.status_code, json.loads(answer.content)["error"]["code"]) == (409, "package_missing")


def test_features_in_another_order_are_refused_by_name(made: Bundle) -> None:
    names = list(made.feature_names)
    made.require_features(names)
    with pytest.raises(BundleError, match="feature 1 is '1h_feature_2', the bundle was trained with '1h_feature_1' there"):
        made.require_features([names[0], names[2], names[1], *names[3:]])
    with pytest.raises(BundleError, match="5 features, seen 4"):
        made.require_features(names[:4])


def test_a_bundle_whose_features_are_not_those_of_its_strategy_predicts_nothing(made: Bundle) -> None:
    with pytest.raises(BundleError, match="bundle"):
        predict_bars(made, "AAA", {}, 0)


def test_no_file_is_a_pickle(saved: Path) -> None:
    json.loads((saved / bundles.DOCUMENT).read_text())
    for name in (bundles.WEIGHTS, bundles.PREDICTIONS):
        header = (saved / name).read_bytes()
        json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
