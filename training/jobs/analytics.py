"""Detailed analytics: the journal of a run, what its records say together (over-fitting, plateau, alerts), and its files.

Plain data in and out; records come from `trainer.analytics`, of each epoch one, in order.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from django.conf import settings

from training.core.files import naming
from training.jobs import homes
from training.models import Operation

Record = Mapping[str, Any]
Alert = dict[str, Any]

#: A validation loss is better only if it is lower by this part of the best, and after so many epochs without it is a plateau.
BETTER, PATIENCE = 1e-3, 5
#: Over-fitting: the validation loss lies this part above its best while the training loss has fallen further.
OVER_FITTING = 0.05
#: Vanishing: a layer's gradient norm beside the largest of all layers; exploding: a step's beside the usual of its layer.
VANISHING, EXPLODING = 1e-3, 10.0
#: Ratios of update to weight outside of these are no learning, or jumps.
LEAST_RATIO, MOST_RATIO = 1e-6, 0.1
DEAD, IMBALANCE, OVER_CONFIDENCE = 0.5, 0.7, 0.1

#: What each alert means and what to try.
WORDS = {
    "vanishing": (
        "Vanishing gradients",
        "What the loss says hardly reaches this layer, so it stays near its first weights.",
        "Fewer hidden layers, relu or leaky_relu in place of sigmoid or tanh, or normalized raw inputs.",
    ),
    "exploding": (
        "Exploding gradients",
        "Some steps are far larger than the usual ones, and one such step can undo many others.",
        "A lower learning_rate, a gradient_clip of 1, or a look at outliers among the raw inputs.",
    ),
    "dead": (
        "Dead units",
        "These units give the same value on every row that was looked at: the network is smaller than it was meant to be.",
        "leaky_relu, a lower learning_rate, or fewer units.",
    ),
    "over-fitting": (
        "Over-fitting",
        "The network learns the training rows by heart. The best epoch's weights are kept, later epochs are lost time.",
        "Fewer or smaller layers, more dropout or weight_decay, more symbols or years, or a shorter patience.",
    ),
    "imbalance": (
        "Classes out of balance",
        "The network calls some class far more or less often than it is there, and may live off the commonest one.",
        "Balanced class weights, another label threshold, or focal loss.",
    ),
    "stall": (
        "Stalled",
        "The validation loss has stopped getting better: there is nothing more to learn this way, or the steps do not fit.",
        "Another learning_rate or lr_scheduler, other indicators, or fewer epochs.",
    ),
    "over-confidence": (
        "Over-confident",
        "It is surer than it is right, so a confidence_threshold lets more through than its figure promises.",
        "More dropout or weight_decay, fewer epochs, or a higher confidence_threshold.",
    ),
}  # fmt: skip


def judged(records: Sequence[Record]) -> dict[str, Any]:
    """`epochs`: the records with over_fitting, gap, since_better and plateau; best_epoch (from 0, None without records);
    `alerts`: kind, head, seen, means, try."""
    epochs = _told(records)
    best = next((record["epoch"] for record in reversed(epochs) if record["best"]), None)
    return {"best_epoch": best, "alerts": alerts(epochs), "epochs": epochs}


def _told(records: Sequence[Record]) -> list[dict[str, Any]]:
    """over_fitting: E_val / (least E_val so far) − 1, the generalization loss of Prechelt, Early Stopping — But When?, 1998.

    gap: validation loss − training loss, the latter measured while the weights moved, with dropout. since_better: epochs
    since the validation loss was lower than its best by a thousandth; plateau: that many are at least five.
    """
    told: list[dict[str, Any]] = []
    least, mark, since = float("inf"), float("inf"), 0
    for record in records:
        loss = record["val_loss"]
        since = 0 if loss < mark * (1 - BETTER) else since + 1
        mark, least = loss if since == 0 else mark, min(least, loss)
        told.append(
            dict(record) | {
                "over_fitting": loss / least - 1 if least > 0 else None, "gap": loss - record["train_loss"],
                "since_better": since, "plateau": since >= PATIENCE,
            }
        )  # fmt: skip
    return told


def alerts(epochs: Sequence[Record]) -> list[Alert]:
    """What is amiss at the last epoch, or was in any for explosions; in the order of WORDS."""
    if not epochs:
        return []
    last = epochs[-1]
    found = [
        *_layers(last), *_explosions(epochs), *_over_fitting(epochs), *_imbalance(last), *_stall(epochs), *_over_confidence(last)
    ]  # fmt: skip
    found.sort(key=lambda alert: list(WORDS).index(alert[0]))
    return [
        {"kind": kind, "head": WORDS[kind][0], "seen": seen, "means": WORDS[kind][1], "try": WORDS[kind][2]}
        for kind, seen in found
    ]


def _layers(last: Record) -> list[tuple[str, str]]:
    layers, found = last["layers"], []
    largest = max((of["gradient_norm"] or 0.0 for of in layers.values()), default=0.0)
    for name, of in layers.items():
        norm = of["gradient_norm"] or 0.0
        if norm < VANISHING * largest:
            seen = f"In epoch {_number(last)} the gradient of {name} is {norm:.2g}, that of the strongest layer {largest:.2g}."
            found.append(("vanishing", seen))
        if (of.get("dead_share") or 0.0) > DEAD:
            found.append(("dead", f"In epoch {_number(last)} {of['dead_share']:.0%} of the units of {name} are dead."))
    return found


def _explosions(epochs: Sequence[Record]) -> list[tuple[str, str]]:
    """Of each layer the first: a sampled step far above the median of the epochs before it, or steps that rewrite the layer."""
    found = []
    for name in epochs[-1]["layers"]:
        usual: list[float] = []
        for record in epochs:
            of = record["layers"][name]
            norm, ratio = of["gradient_norm_max"] or 0.0, of["update_ratio"] or 0.0
            if len(usual) >= 2 and norm > EXPLODING * median(usual) > 0:
                times = f"{norm / median(usual):.0f} times the usual"
                seen = f"In epoch {_number(record)} a step of {name} has a gradient of {norm:.2g}, {times}."
            elif ratio > MOST_RATIO:
                seen = f"In epoch {_number(record)} a step of {name} moves its weights by {ratio:.0%} on average; 0.1 % is usual."
            else:
                usual.append(of["gradient_norm"] or 0.0)
                continue
            found.append(("exploding", seen))
            break
    return found


def _over_fitting(epochs: Sequence[Record]) -> list[tuple[str, str]]:
    last, best = epochs[-1], min(epochs, key=lambda record: record["val_loss"])
    if (last["over_fitting"] or 0.0) <= OVER_FITTING or last["train_loss"] >= best["train_loss"]:
        return []
    seen = (
        f"The validation loss is {last['over_fitting']:.0%} above that of epoch {_number(best)}, "
        f"while the training loss fell from {best['train_loss']:.4f} to {last['train_loss']:.4f}."
    )
    return [("over-fitting", seen)]


def _imbalance(last: Record) -> list[tuple[str, str]]:
    classes = last.get("per_class")
    if not classes:
        return []
    never = [name for name, of in classes.items() if of["share"] > 0 and of["predicted_share"] == 0]
    if not never and last["balance"] >= IMBALANCE:
        return []
    told = ", ".join(f"{name} {of['predicted_share']:.0%} of calls, {of['share']:.0%} of rows" for name, of in classes.items())
    return [("imbalance", f"In epoch {_number(last)}: {told}.")]


def _stall(epochs: Sequence[Record]) -> list[tuple[str, str]]:
    last = epochs[-1]
    ratios = [of["update_ratio"] for of in last["layers"].values() if of["update_ratio"] is not None]
    if ratios and max(ratios) < LEAST_RATIO:
        return [("stall", f"In epoch {_number(last)} no layer moves by more than a millionth per step.")]
    if last["plateau"] and (last["over_fitting"] or 0.0) <= OVER_FITTING:
        since = _number(last) - last["since_better"]
        return [("stall", f"No epoch since {since} has a validation loss that is lower by a thousandth.")]
    return []


def _over_confidence(last: Record) -> list[tuple[str, str]]:
    if (last.get("overconfidence") or 0.0) <= OVER_CONFIDENCE:
        return []
    right = last["confidence_mean"] - last["overconfidence"]
    seen = f"In epoch {_number(last)} it is {last['confidence_mean']:.0%} sure on average and right on {right:.0%} of the rows."
    return [("over-confidence", seen)]


def _number(record: Record) -> int:
    """Epochs as people count them."""
    return int(record["epoch"]) + 1


JOURNAL = "journal.jsonl"
#: What a person may take along: name → what it is.
FILES = {
    "analytics.json": "everything, with the alerts",
    "layers.csv": "one line per epoch and layer",
    "epochs.csv": "one line per epoch",
    "layers.parquet": "the same for programs",
    "epochs.parquet": "the same for programs",
}
TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
#: What an epoch has besides figures and words; it stands in the JSON.
_NESTED = ("layers", "calibration", "confidence", "entropy", "residuals", "residual_edges")

Table = list[dict[str, Any]]


class Journal:
    """The lines of one attempt. Raises OSError where they cannot be written."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self.folder, self.attempt = folder, attempt

    def add(self, record: Record) -> None:
        self.folder.mkdir(exist_ok=True)
        line = json.dumps({**record, "attempt": self.attempt}, allow_nan=False, separators=(",", ":")) + "\n"
        with naming(self.folder / JOURNAL), (self.folder / JOURNAL).open("a+b") as file:
            if file.tell() and not _ends_whole(file):
                file.write(b"\n")  # after a line that a killed attempt began
            file.write(line.encode())

    def finish(self) -> None:
        """Write what people and programs read; nothing if no epoch was completed."""
        records = read_journal(self.folder)
        for name in ("analytics.json", "layers.parquet", "epochs.parquet") if records else ():
            _replace(self.folder / name, as_file(name, records))


def _ends_whole(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _replace(path: Path, content: bytes) -> None:
    """The whole file or the one before it."""
    temporary = path.with_name(f".new-{path.name}-{os.getpid()}")
    try:
        with naming(path), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_journal(folder: Path) -> list[Record]:
    """The records by epoch, of each epoch the latest attempt's; none where there is no journal yet.

    An epoch that is trained again takes the place of itself and of all that followed it then. What an earlier attempt
    writes after a later one began is not the run's any more, and a half-written line is none.
    """
    try:
        lines = (folder / JOURNAL).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    records: dict[int, Record] = {}
    newest = 0
    for line in lines:
        try:
            record = json.loads(line) if line else None
        except ValueError:
            continue
        if record is None or record["attempt"] < newest:
            continue
        newest = record["attempt"]
        records = {epoch: kept for epoch, kept in records.items() if epoch < record["epoch"]} | {record["epoch"]: record}
    return list(records.values())


def as_file(name: str, records: Sequence[Record]) -> bytes:
    """The content of one of FILES."""
    if name == "analytics.json":
        return json.dumps(judged(records), ensure_ascii=False, indent=1, allow_nan=False).encode()
    stem, _, kind = name.partition(".")
    rows = layer_rows(records) if stem == "layers" else epoch_rows(records)
    return _csv(rows) if kind == "csv" else _parquet(rows)


def layer_rows(records: Sequence[Record]) -> Table:
    """One row per epoch, counted from 0, and layer."""
    return [
        {"attempt": record["attempt"], "epoch": record["epoch"], "layer": name, **figures}
        for record in records for name, figures in record["layers"].items()
    ]  # fmt: skip


def epoch_rows(records: Sequence[Record]) -> Table:
    """One row per epoch, counted from 0, with what was judged of it; a class's figures are columns of their own."""
    rows: Table = []
    for record in judged(records)["epochs"]:
        flat = {key: value for key, value in record.items() if key not in (*_NESTED, "per_class")}
        for label, figures in (record.get("per_class") or {}).items():
            flat |= {f"{label}.{key}": value for key, value in figures.items()}
        rows.append(flat)
    return rows


def _columns(rows: Table) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _csv(rows: Table) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, _columns(rows), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


def _parquet(rows: Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: Mapping[str, list[Any]] = {name: [row.get(name) for row in rows] for name in _columns(rows)}
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: _typed(values, pa) for name, values in columns.items()}), buffer)
    return buffer.getvalue()


def _typed(values: list[Any], pa: Any) -> Any:
    """A column that has no figure at all is one of figures that are missing."""
    return pa.array(values, pa.float64()) if all(value is None for value in values) else pa.array(values)


Sink = Callable[[dict[str, Any]], None]


def folder_of(operation_id: str) -> Path:
    return Path(settings.ANALYTICS_DIR) / operation_id


@contextmanager
def analytics_of(operation: Operation, note: Callable[[str], None]) -> Iterator[Sink | None]:
    """The sink of this attempt, None if the operation asked for none; files for reading are written however it ends.

    A disk that takes no more costs the analytics, not the run: it is noted.
    """
    if not operation.detailed_analytics:
        yield None
        return
    journal = Journal(folder_of(operation.pk), operation.attempt)

    def guarded(step: Callable[[], None]) -> None:
        try:
            homes.require("analytics")
            step()
        except homes.Away as away:
            note(f"the analytics could not be kept: {away}")
        except OSError as error:
            note(f"the analytics could not be kept in {journal.folder}: {error.strerror or error}")

    try:
        yield lambda record: guarded(lambda: journal.add(record))
    finally:
        guarded(journal.finish)
