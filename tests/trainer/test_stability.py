"""What is wrong with a run's losses is found from its history; a run that diverges goes back, exactly, as often as it may."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from typing import Any

import numpy as np
import pytest
import torch

from tests.examples.trainer import Recorder, dataset, strategy
from training.core.values import BatchMetrics, Cancelled, Dataset, Parts, Silent, Splits
from training.trainer import engine, rollback, stability
from training.trainer.loop import Diverged, Fitted, fit

GUESSING = math.log(3)
TIMES = ("seconds", "samples_per_second")


def history(losses: list[float], norms: list[float] | None = None) -> list[dict[str, Any]]:
    """Rows as the trainer makes them, with what each of them told."""
    rows: list[dict[str, Any]] = []
    for epoch, loss in enumerate(losses):
        norm = norms[epoch] if norms else 1.0
        row = {"epoch": epoch, "train_loss": loss, "val_loss": loss, "gradient_norm": norm, "learning_rate": 0.01}
        fresh = stability.news([*rows, row], GUESSING)
        rows.append(row | ({"findings": [finding.plain() for finding in fresh]} if fresh else {}))
    return rows


def falling(count: int, first: float = 1.1) -> list[float]:
    return [first * 0.97**epoch for epoch in range(count)]


@pytest.mark.parametrize(
    ("losses", "norms", "kind", "since", "words"),
    [
        ([*falling(5), 1.7, 1.9, 2.6], None, "divergence", 5, r"rises, 2.6 after 0.9738 at its best \(guessing has 1.099\); try a lower"),
        ([*falling(5), 0.95, 22.0], None, "explosion", 6, r"the training loss is 22 where guessing has 1.099; try a lower"),
        (falling(5), [1, 2, 1.5, 2, 900], "explosion", 4, r"norm is 900, 514 times what is usual \(1.75\); try .*gradient_clip"),
        ([*falling(4), *[1.0041] * 10], None, "stall", 4, r"stands still, 1.004 after 1.004 10 epochs earlier; try a higher learning_rate"),
        ([1.0, 0.9] * 6, None, "oscillation", 1, r"up and down by 0.1 from epoch to epoch, between 0.9 and 1; try a lower"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_epoch_its_figures_and_what_to_try(
    losses: list[float], norms: list[float] | None, kind: str, since: int, words: str
) -> None:
    told = [finding for row in history(losses, norms) for finding in row.get("findings", [])]
    found = [finding for finding in told if finding["kind"] == kind]
    assert len(found) == 1 and found[0]["since"] == since

    assert re.search(words, found[0]["text"]), found[0]["text"]
    assert found[0]["text"].startswith(f"since epoch {since + 1}: ")


@pytest.mark.parametrize(
    "losses",
    [
        falling(60),
        [1.1 * 0.9**epoch + 0.02 * (-1) ** epoch for epoch in range(30)],  # a little noise
        [*falling(300, 1.1), *[1e-5] * 20],  # learned: nothing is left to fall
        [20.0 * 0.5**epoch for epoch in range(4, 12)],
        [*[0.9 * 0.5**epoch for epoch in range(5)], 0.3, 0.35, 0.4],  # it rises, and still knows more than who guesses
    ],
)
def test_a_run_that_learns_is_left_alone(losses: list[float]) -> None:
    assert stability.texts(history(losses)) == []


@pytest.mark.parametrize("per_epoch", [0.5, 0.1])
def test_a_learning_rate_that_has_gone_is_told_once_with_the_epoch_in_which_it_went(per_epoch: float) -> None:
    rows: list[dict[str, Any]] = []
    for epoch in range(120):
        row = {"epoch": epoch, "train_loss": 1.1 * 0.97**epoch, "val_loss": 1.0, "gradient_norm": 1.0}
        row["learning_rate"] = 0.01 * per_epoch**epoch
        fresh = stability.news([*rows, row], GUESSING)
        rows.append(row | ({"findings": [finding.plain() for finding in fresh]} if fresh else {}))
    told = [finding for row in rows for finding in row.get("findings", [])]
    since = next(row["epoch"] for row in rows if row["learning_rate"] <= 1.0000001e-6)
    assert [(finding["kind"], finding["since"]) for finding in told] == [("rate_gone", since)]
    assert re.search(
        rf"since epoch {since + 1}: the learning rate is down to \S+ from 0.01, .*; try fewer epochs, early", told[0]["text"]
    )


def test_a_run_in_which_nothing_improves_keeps_a_ten_thousandth_of_its_rate_unless_it_says_otherwise() -> None:
    rows, splits = dataset()
    plateau = {"type": "reduce_on_plateau", "patience": 0, "factor": 0.1}
    for settings, least in ((plateau, 0.3e-4), (plateau | {"min_rate": 0.001}, 0.001), (plateau | {"min_rate": 0}, 0.0)):
        training = {"learning_rate": 0.3, "lr_scheduler": settings, "early_stopping": {"enabled": False}}
        fitted = fit(rows, splits, strategy(epochs=40, **training), Silent())
        rates = [row["learning_rate"] for row in fitted.history]
        assert min(rates) == pytest.approx(least, rel=1e-9) if least else min(rates) < 1e-9
        kinds = [finding["kind"] for row in fitted.history for finding in row.get("findings", [])]
        assert kinds.count("rate_gone") == (least < 0.001), (settings, kinds)


def test_a_finding_is_told_once_and_again_only_after_the_window() -> None:
    rows = history([1.0, 0.9] * 60)
    epochs = [row["epoch"] for row in rows if row.get("findings")]
    assert len(epochs) >= 2 and min(b - a for a, b in itertools.pairwise(epochs)) >= stability.WINDOW - 1
    assert stability.texts(rows) == list(dict.fromkeys(f["text"] for row in rows for f in row.get("findings", [])))


@pytest.mark.parametrize(
    ("loss", "classes", "expected"),
    [("cross_entropy", 3, math.log(3)), ("focal", 2, math.log(2) / 4), ("mse", 0, 1.0), ("huber", 0, 0.5)],
)
def test_guessing_has_the_loss_of_equal_chances(loss: str, classes: int, expected: float) -> None:
    training = strategy().training.model_copy(update={"loss": loss})
    assert stability.guessing_loss(training, classes) == pytest.approx(expected)


# --- the flag of every step ---


class Poison(Recorder):
    """Makes one training row NaN during one epoch; counts how many batches that epoch still had."""

    def __init__(self, features: Any, row: int, epoch: int, reads: bool = False) -> None:
        super().__init__()
        self.features, self.row, self.epoch, self.reads = features, row, epoch, reads
        self.seen: list[int] = []

    def on_batch_end(self, metrics: BatchMetrics) -> None:
        super().on_batch_end(metrics)
        self.seen.append(metrics.epoch)
        if self.reads:
            metrics.loss()

    def on_epoch_end(self, metrics: Any, state: Any) -> None:
        super().on_epoch_end(metrics, state)
        if metrics["epoch"] == self.epoch - 1:
            self.features[self.row] = np.nan


def poisoned(reads: bool) -> tuple[Dataset, Splits, Poison]:
    rows, splits = dataset()
    features = rows.rows.features.copy()
    whole = dataclasses.replace(rows, rows=dataclasses.replace(rows.rows, features=features))
    return whole, splits, Poison(features, int(splits.train[0]), 2, reads)


def test_the_step_that_left_the_finite_numbers_is_named_and_a_reader_ends_the_epoch_there() -> None:
    told, batches = set(), []
    for reads in (False, True):
        rows, splits, poison = poisoned(reads)
        with pytest.raises(Diverged, match=r"^epoch 3: the training loss is nan since batch \d of 6; epoch 2 ended") as ended:
            fit(rows, splits, strategy(), poison)
        told.add(str(ended.value).split(";")[0])
        batches.append(poison.seen.count(2))
    assert len(told) == 1, "who looks on changes no word"
    first_bad = int(told.pop().split("batch ")[1].split(" ")[0])
    assert batches == [6, first_bad]


def test_an_infinite_norm_is_a_flag_of_its_own() -> None:
    sums = engine._Sums(3, torch.device("cpu"))
    sums.weights[:], sums.losses[:], sums.norms[1] = 1, 0.5, math.inf
    assert sums.whole(3).broken == "the gradient norm is inf since batch 2 of 3"
    sums.norms[1] = 1.0
    assert sums.whole(3).broken is None


def test_weights_and_the_validation_loss_are_looked_at_as_well() -> None:
    """The last step of an epoch may break what no loss of that epoch can show."""
    network, sound = torch.nn.Linear(2, 1), engine.EpochSums(0.5, 1.0)
    rollback.require_finite(2, sound, network)
    with torch.no_grad():
        network.weight[0, 1] = -math.inf
    with pytest.raises(Diverged, match=r"^epoch 3: a weight is not a finite number"):
        rollback.require_finite(2, sound, network)
    rollback.require_finite_validation({"epoch": 2, "val_loss": 0.5})
    with pytest.raises(Diverged, match=r"^epoch 3: the validation loss is nan"):
        rollback.require_finite_validation({"epoch": 2, "val_loss": math.nan})


def test_what_to_try_fits_the_strategy() -> None:
    rows, splits, poison = poisoned(False)
    with pytest.raises(Diverged, match=r"or a gradient_clip of 1 \(now off\), or stability: \{rollback: 3\}"):
        fit(rows, splits, strategy(gradient_clip=0.0), poison)
    rows, splits, poison = poisoned(False)
    with pytest.raises(Diverged, match=r"after 2 rollbacks; .*; try a lower learning_rate \(now 0.0025\)$"):
        fit(rows, splits, strategy(stability={"rollback": 2}), poison)


# --- rollback ---

#: Too fast for plain descent: it leaves the finite numbers until the rate was cut a few times.
WILD: dict[str, Any] = {
    "learning_rate": 8.0, "optimizer": "sgd", "gradient_clip": 0.0, "activation": "leaky_relu", "epochs": 6, "lr_scheduler": "none",
    "early_stopping": {"enabled": False},
}  # fmt: skip


def wild(**changes: Any) -> tuple[Dataset, Splits, Any]:
    rows, splits = dataset(raw=0)
    scaled = dataclasses.replace(rows.rows, features=rows.rows.features * np.float32(300))
    return dataclasses.replace(rows, rows=scaled), splits, strategy([16, 16, 16], **{**WILD, **changes})


def test_a_run_that_diverges_goes_back_with_half_the_rate_until_it_trains() -> None:
    rows, splits, spec = wild(stability={"rollback": 20})
    recorder = Recorder()
    fitted = fit(rows, splits, spec, recorder)
    count = len(fitted.rollbacks)
    assert count >= 2 and fitted.epochs_completed == 6
    assert [row["epoch"] for row in fitted.history] == list(range(6))
    assert fitted.history[-1]["rollbacks"] == count
    assert fitted.history[-1]["learning_rate"] == 8 * rollback.RATE_FACTOR**count
    assert [event["learning_rate"] for event in fitted.rollbacks] == [8 * 0.5**number for number in range(1, count + 1)]
    for number, event in enumerate(fitted.rollbacks, 1):
        assert f"(rollback {number} of 20)" in event["text"] and event["text"] in fitted.warnings
    assert all(torch.isfinite(p).all() for p in fitted.network.parameters())


def test_without_rollback_or_when_none_is_left_it_fails_as_ever() -> None:
    for allowed in (0, 1):
        rows, splits, spec = wild(stability={"rollback": allowed})
        with pytest.raises(Diverged, match="after 1 rollback;" if allowed else r"^epoch \d+: .*try a lower"):
            fit(rows, splits, spec, Silent())


def test_a_return_to_the_beginning_is_a_run_with_the_smaller_rate() -> None:
    """Same order of batches, untouched optimizer: what is left of the first try is nothing but its record."""
    rows, splits, spec = wild(stability={"rollback": 20})
    fitted = fit(rows, splits, spec, Silent())
    if any(event["to_epoch"] >= 0 for event in fitted.rollbacks):
        pytest.fail("the example no longer diverges in its first epoch")
    slower = strategy(
        [16, 16, 16], **{**WILD, "learning_rate": fitted.rollbacks[-1]["learning_rate"], "stability": {"rollback": 20}}
    )
    plain = fit(rows, splits, slower, Silent())
    assert plain.rollbacks == ()
    for a, b in zip(fitted.network.state_dict().values(), plain.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


class Faulty:
    """The network's weights are blown up at one batch while the rate is above a limit: a divergence at a known place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, epoch: int, above: float, factor: float) -> None:
        train_epoch = engine.Reference.train_epoch

        def blown(of: Any, order: Any, seed: int, metrics: BatchMetrics, on_batch_end: Any) -> Any:
            def fault(at: BatchMetrics) -> None:
                if at.epoch == epoch and at.batch == 2 and of.optimizer.param_groups[0]["lr"] > above:
                    with torch.no_grad():
                        for parameter in of.network.parameters():
                            parameter.mul_(factor)
                on_batch_end(at)

            return train_epoch(of, order, seed, metrics, fault)

        monkeypatch.setattr(engine.Reference, "train_epoch", blown)


def test_a_run_that_is_not_to_go_back_says_in_its_epoch_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    Faulty(monkeypatch, epoch=3, above=0.004, factor=40.0)
    rows, splits = dataset()
    recorder = Recorder()
    fitted = fit(rows, splits, strategy(epochs=6, early_stopping={"enabled": False}), recorder)
    assert not any("findings" in row for row in fitted.history[:3])
    (found,) = fitted.history[3]["findings"]
    assert found["kind"] == "explosion" and found["since"] == 3 and found["text"] in fitted.warnings


@pytest.mark.parametrize("scheduler", ["cosine", {"type": "step", "step_size": 4}])
def test_every_later_rate_of_a_schedule_is_halved(monkeypatch: pytest.MonkeyPatch, scheduler: Any) -> None:
    rows, splits = dataset()
    spec = strategy(epochs=7, lr_scheduler=scheduler, stability={"rollback": 3}, early_stopping={"enabled": False})
    planned = [row["learning_rate"] for row in fit(rows, splits, spec, Silent()).history]
    Faulty(monkeypatch, epoch=3, above=0.6 * planned[3], factor=1e30)
    fitted = fit(rows, splits, spec, Silent())
    assert len(fitted.rollbacks) == 1
    rates = [row["learning_rate"] for row in fitted.history]
    assert rates == pytest.approx([*planned[:3], *(rate / 2 for rate in planned[3:])])


def outcome(fitted: Fitted, parts: Parts) -> tuple[Any, ...]:
    state = json.loads(parts["state.json"])
    histories = [[{k: v for k, v in m.items() if k not in TIMES} for m in h] for h in (fitted.history, state.pop("history"))]
    weights = {name: tensor.numpy().tobytes() for name, tensor in fitted.network.state_dict().items()}
    others = {name: content for name, content in parts.items() if not name.endswith("state.json")}
    return weights, histories, fitted.rollbacks, fitted.warnings, fitted.best_epoch, fitted.early_stopped, state, others


@pytest.mark.parametrize(
    ("fused", "factor", "scheduler"),
    [
        (True, 1e30, "cosine"),
        (True, 40.0, {"type": "reduce_on_plateau", "patience": 0, "factor": 0.9}),
        (False, 40.0, "none"),
        (False, 1e30, {"type": "step", "step_size": 4}),
    ],
    ids=["not finite", "rising", "rising, plain", "not finite, plain"],
)
def test_a_run_killed_anywhere_around_a_rollback_ends_in_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, fused: bool, factor: float, scheduler: Any
) -> None:
    Faulty(monkeypatch, epoch=3, above=0.004, factor=factor)
    rows, splits = dataset()
    spec = strategy(epochs=9, lr_scheduler=scheduler, dropout=0.2, stability={"rollback": 3}, early_stopping={"patience": 50})
    whole = Recorder()
    undisturbed = fit(rows, splits, spec, whole, fused=fused)
    assert 1 <= len(undisturbed.rollbacks) <= 3 and undisturbed.epochs_completed == 9
    assert {event["to_epoch"] for event in undisturbed.rollbacks} == {2}
    expected = outcome(undisturbed, whole.states[-1]())
    for state in whole.states[1:-1]:
        again = Recorder()
        resumed = fit(rows, splits, spec, again, fused=fused, resume=state())
        assert outcome(resumed, again.states[-1]()) == expected


def test_a_checkpoint_on_the_way_up_carries_the_last_good_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    Faulty(monkeypatch, epoch=3, above=0.004, factor=40.0)
    rows, splits = dataset()
    recorder = Recorder(Cancelled(), after_epoch=3)
    with pytest.raises(Cancelled):
        fit(rows, splits, strategy(epochs=9, stability={"rollback": 3}), recorder)
    parts = recorder.states[-1]()
    assert json.loads(parts["state.json"])["epoch"] == 3 and json.loads(parts["good_state.json"])["epoch"] == 2
    plain = Recorder(Cancelled(), after_epoch=3)
    with pytest.raises(Cancelled):
        fit(rows, splits, strategy(epochs=9), plain)
    assert not any(name.startswith("good_") for name in plain.states[-1]()), "only for runs that may go back"
