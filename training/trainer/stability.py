"""Stability: the epochs so far → what is wrong with how the losses move, since when, and what to try. Pure.

Only the last `WINDOW` epochs and the first are looked at, so that a long run costs no more than a short one.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from strategies_app.grammar.schema import Stability, Training
from training.core.values import EpochMetrics

#: Epochs that are looked back on; a kind of finding is told again after so many epochs at the earliest.
WINDOW = 50
#: Divergence: so many epochs in a row above the loss of guessing and above so many times the best loss before them.
DIVERGING_EPOCHS, DIVERGING_TIMES = 3, 1.5
#: Explosion: a training loss so many times that of guessing, or a gradient norm so many times its usual one.
EXPLODED_LOSS, EXPLODED_NORM = 10.0, 100.0
#: Stall: so many epochs in which the training loss did not fall by this share below its best.
STALLED_EPOCHS, STALLED_SHARE = 10, 0.001
#: Rate gone: so many epochs at no more than this share of the first learning rate, after which weights hardly move.
GONE_EPOCHS, GONE_SHARE = 10, 1e-4
#: Oscillation: so many epochs of which nearly every one turns round, by this share of the loss on average.
SWINGING_EPOCHS, SWINGING_TURNS, SWINGING_SHARE = 10, 8, 0.05
#: A loss of so small a share of guessing's is learned; that it falls no further is no stall.
LEARNED_SHARE = 0.01


@dataclass(frozen=True)
class Finding:
    """kind: divergence, explosion, stall, rate_gone, oscillation or rollback; since: the epoch, from 0; seen: with
    figures; advice: what to try."""

    kind: str
    since: int
    seen: str
    advice: str = ""

    @property
    def text(self) -> str:
        """In one sentence."""
        return f"since epoch {self.since + 1}: {self.seen}; try {self.advice}" if self.advice else self.seen

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "text": self.text}


def guessing_loss(training: Training, classes: int) -> float:
    """The loss of knowing nothing: every class alike, or the mean return (huber's is at most ½ in units of the deviation)."""
    if not classes:
        return 0.5 if training.loss_name == "huber" else 1.0
    loss = math.log(classes)
    return loss * (1 - 1 / classes) ** training.focal_gamma if training.loss_name == "focal" else loss


def findings(history: Sequence[EpochMetrics], guessing: float) -> list[Finding]:
    """What is wrong at the last epoch of `history`; `guessing` is the loss of knowing nothing."""
    window = history[-WINDOW:]
    moving = [diverging(window, guessing), _exploded(window, guessing), _swinging(window)]
    found = [finding for finding in moving if finding is not None]
    gone = _rate_gone(history)
    if gone is not None:
        return [*found, gone]
    # A loss that moves too much does not fall either, but a higher rate is no cure of that.
    return found or [finding for finding in [_stalled(window, guessing)] if finding is not None]


def news(history: Sequence[EpochMetrics], guessing: float) -> list[Finding]:
    """Those findings of the last epoch that were not told within the window: rows carry what they told as `findings`."""
    told = {finding["kind"] for row in history[-WINDOW:-1] for finding in row.get("findings", ())}
    return [finding for finding in findings(history, guessing) if finding.kind not in told]


def texts(history: Sequence[EpochMetrics]) -> list[str]:
    """All that was told in a run, in order."""
    return list(dict.fromkeys(finding["text"] for row in history for finding in row.get("findings", ())))


def is_good(history: Sequence[EpochMetrics], guessing: float) -> bool:
    """Whether the last epoch is one to come back to: not far worse than guessing, and not on the way up."""
    losses = _losses(history[-WINDOW:])
    return losses[-1] <= 2 * guessing and losses[-1] <= max(DIVERGING_TIMES * min(losses), guessing)


def diverging(history: Sequence[EpochMetrics], guessing: float) -> Finding | None:
    """The training loss rises for good, in finite numbers."""
    losses = _losses(history[-WINDOW:])
    if len(losses) <= DIVERGING_EPOCHS:
        return None
    best = min(losses[:-DIVERGING_EPOCHS])
    if min(losses[-DIVERGING_EPOCHS:]) <= max(DIVERGING_TIMES * best, guessing):
        return None
    seen = f"the training loss rises, {losses[-1]:.4g} after {best:.4g} at its best (guessing has {guessing:.4g})"
    return Finding("divergence", _epoch(history, -DIVERGING_EPOCHS), seen, _slower(history))


def _exploded(history: Sequence[EpochMetrics], guessing: float) -> Finding | None:
    loss, norm = history[-1]["train_loss"], history[-1]["gradient_norm"]
    norms = [row["gradient_norm"] for row in history[:-1]]
    usual = statistics.median(norms) if len(norms) >= 3 else math.inf
    advice = f"{_slower(history)}, a gradient_clip of 1, or normalized inputs"
    if loss > EXPLODED_LOSS * guessing:
        return Finding(
            "explosion", _epoch(history, -1), f"the training loss is {loss:.4g} where guessing has {guessing:.4g}", advice
        )
    if norm > max(EXPLODED_NORM * usual, 1.0):
        seen = f"the largest gradient norm is {norm:.4g}, {norm / usual:,.0f} times what is usual ({usual:.4g})" if usual else (
            f"the largest gradient norm is {norm:.4g} after norms of 0"
        )  # fmt: skip
        return Finding("explosion", _epoch(history, -1), seen, advice)
    return None


def _stalled(history: Sequence[EpochMetrics], guessing: float) -> Finding | None:
    losses = _losses(history)
    if len(losses) <= STALLED_EPOCHS:
        return None
    best, latest = min(losses[:-STALLED_EPOCHS]), min(losses[-STALLED_EPOCHS:])
    if latest < best * (1 - STALLED_SHARE) or best < LEARNED_SHARE * guessing:
        return None
    seen = f"the training loss stands still, {losses[-1]:.4g} after {best:.4g} {STALLED_EPOCHS} epochs earlier"
    advice = f"a higher learning_rate (now {_rate(history)}), a larger network or other inputs"
    return Finding("stall", _epoch(history, -STALLED_EPOCHS), seen, advice)


def _rate_gone(history: Sequence[EpochMetrics]) -> Finding | None:
    """In the epoch in which the rate has been next to nothing for GONE_EPOCHS epochs, whichever schedule took it there."""
    if len(history) <= GONE_EPOCHS:
        return None
    first = history[0]["learning_rate"]
    before, since = (history[place]["learning_rate"] for place in (-GONE_EPOCHS - 1, -GONE_EPOCHS))
    most = GONE_SHARE * first * (1 + 1e-9)
    if not since <= most < before:
        return None
    seen = f"the learning rate is down to {_rate(history)} from {first:.4g}, and the weights hardly change any more"
    return Finding("rate_gone", _epoch(history, -GONE_EPOCHS), seen, "fewer epochs, early stopping, or a larger min_rate")


def _swinging(history: Sequence[EpochMetrics]) -> Finding | None:
    losses = _losses(history)[-SWINGING_EPOCHS - 1 :]
    if len(losses) <= SWINGING_EPOCHS:
        return None
    steps = [after - before for before, after in itertools.pairwise(losses)]
    turns = sum(a * b < 0 for a, b in itertools.pairwise(steps))
    swing = statistics.fmean(map(abs, steps))
    if turns < SWINGING_TURNS or swing < SWINGING_SHARE * statistics.fmean(losses) or abs(losses[-1] - losses[0]) > 2 * swing:
        return None
    seen = (
        f"the training loss goes up and down by {swing:.4g} from epoch to epoch, between {min(losses):.4g} and {max(losses):.4g}"
    )
    return Finding("oscillation", _epoch(history, -SWINGING_EPOCHS), seen, f"{_slower(history)} or a larger batch_size")


def _losses(history: Sequence[EpochMetrics]) -> list[float]:
    return [row["train_loss"] for row in history]


def _epoch(history: Sequence[EpochMetrics], place: int) -> int:
    return int(history[place]["epoch"])


def _rate(history: Sequence[EpochMetrics]) -> str:
    return f"{history[-1]['learning_rate']:.4g}"


def _slower(history: Sequence[EpochMetrics]) -> str:
    return f"a lower learning_rate (now {_rate(history)})"


# --- numbers that are not finite ---


def not_finite(values: Sequence[float], norms: Sequence[float], batches: int) -> str | None:
    """The first step of an epoch whose loss or gradient norm is no finite number, in words; None if there is none."""
    for batch, (loss, norm) in enumerate(zip(values, norms, strict=True)):
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = f"the gradient norm is {norm}" if math.isfinite(loss) else f"the training loss is {loss}"
            return f"{what} since batch {batch + 1} of {batches}"
    return None


def divergence_text(what: str, history: Sequence[EpochMetrics], training: Training, rate: float) -> str:
    """What ended a run, what was seen before it, and what to try."""
    parts = []
    if history:
        last = history[-1]
        loss, norm = last["train_loss"], last["gradient_norm"]
        parts.append(f"epoch {last['epoch'] + 1} ended with a training loss of {loss:.4g} and a gradient norm up to {norm:.4g}")
    advice = f"a lower learning_rate (now {rate:.4g})"
    if not 0 < training.gradient_clip <= 1:
        advice += f" or a gradient_clip of 1 (now {f'{training.gradient_clip:g}' if training.gradient_clip > 0 else 'off'})"
    if not rollbacks_allowed(training):
        advice += ", or stability: {rollback: 3}, which goes back and tries that by itself"
    return "; ".join([what, *parts, f"try {advice}"])


def rollbacks_allowed(training: Training) -> int:
    """How often a run may go back to its last good epoch."""
    return training.stability.rollback if isinstance(training.stability, Stability) else 0
