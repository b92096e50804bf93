"""A network that calls nearly every row by one class is told of when it begins, by the epoch, and when it is over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.examples.trainer import dataset, strategy
from training.core.values import COLLAPSED, EpochMetrics, Silent, collapse_notes
from training.jobs import checkpoints
from training.jobs.progress import Progress
from training.jobs.status import standing_of
from training.models import Operation
from training.trainer.loop import fit


def epochs(*shares: float) -> list[EpochMetrics]:
    return [{"epoch": k, "predicted_shares": {"BUY": share, "SELL": 1 - share}} for k, share in enumerate(shares)]


def test_the_epoch_in_which_it_begins_and_ends_is_named_once() -> None:
    began = "epoch 3: 96.0% of the validation rows are called BUY, the classes have collapsed into one; "
    assert collapse_notes(epochs(0.5, COLLAPSED, 0.96, 0.99, 0.7, 0.6)) == [
        began + "try class_weights: balanced, a lower learning_rate or another label",
        "epoch 5: the predicted classes have come apart again, BUY is at 70.0%",
    ]
    assert [note[:7] for note in collapse_notes(epochs(0.99, 0.01, 0.01))] == ["epoch 1", "epoch 2"]  # into the other class
    assert collapse_notes([{"epoch": 0, "val_loss": 1.0}]) == []  # a predicted return has no classes


def test_classes_that_take_turns_are_told_of_a_few_times() -> None:
    notes = collapse_notes(epochs(*(0.99, 0.01) * 50, 0.5))
    assert [note.partition(":")[0] for note in notes] == ["epoch 1", "epoch 2", "epoch 3", "epoch 4"]
    assert notes[-1] == (
        "epoch 4: the classes have collapsed again, for the 4th time, into SELL; what follows of it is in the shares of the "
        "epochs and not told any more"
    )
    assert len(collapse_notes(epochs(*(0.99, 0.5) * 50))) == 7  # three times both ways


def test_a_training_that_collapses_ends_with_the_note() -> None:
    rows, splits = dataset()
    rows.rows.features[:] = np.float32(0.5)  # nothing to tell the classes by
    warnings = fit(rows, splits, strategy(epochs=3, early_stopping={"enabled": False}), Silent()).warnings
    assert any(w.startswith("epoch 1: 100.0% of the validation rows are called ") for w in warnings)


class Terminal:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def stage(self, *args: Any) -> None: ...

    def batch(self, *args: Any) -> None: ...

    def epoch(self, *args: Any) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.django_db
def test_it_is_told_while_it_trains_on_the_terminal_and_in_the_status(examples: Any, empty_redis: Any) -> None:
    from training.jobs import lifecycle

    lifecycle.claim(examples.own.pk, 1)
    terminal = Terminal()
    progress = Progress(examples.own.pk, 1, checkpoints.Schedule(1000, 1e9), [terminal])
    for metrics in epochs(0.5, 0.97, 0.98):
        progress.on_epoch_end({**metrics, "train_loss": 1.0, "val_loss": 1.0}, dict)
    progress.write()
    (note,) = terminal.notes
    assert note.startswith("epoch 2: 97.0% of the validation rows are called BUY")
    assert standing_of(Operation.objects.get(pk=examples.own.pk))["warnings"] == [note]
