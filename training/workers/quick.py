"""The jobs of the quick queue: short questions that need bars or a model. Everything heavy is imported inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from training.core.values import Refusal

#: More bars than these are a file's work, not an answer's: `manage.py predict … --output FILE`.
MAX_BARS = 20_000


def answer(question: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The job: `{result}`, or `{refusal}` with what the asker can mend. Both are JSON-ready."""
    from django.db import connections

    from strategies_app.grammar.reader import StrategyError
    from training.core.findings import findings_in

    connections.close_all()  # what the fork inherited belongs to the worker
    try:
        return {"result": QUESTIONS[question](**arguments)}
    except (Refusal, StrategyError) as error:
        problems = [asdict(problem) for problem in getattr(error, "problems", ())]
        told = {"problems": problems, "findings": findings_in(error)}
        return {"refusal": {"kind": type(error).__name__, "message": str(error), **told}}


def plan(text: str, label: str, options: dict[str, Any], worker: str) -> dict[str, Any]:
    """What a training with this strategy would do; see `plans.plan`."""
    from training.workers import plan

    return plan.plan(text, label, options, worker)


def predict(model: str, symbol: str, timeframe: str, start: str | None, end: str | None) -> dict[str, Any]:
    """Probabilities or predicted return, and signal, of every bar between two days."""
    from strategies_app.grammar.schema import StrategySpec
    from training.recipe import edge_of
    from training.workers.prediction import ModelError, open_model, predict_stored

    bundle = open_model(model)
    edge = None if bundle.target_scale is None else edge_of(StrategySpec.model_validate(bundle.spec))
    predictions, notes = predict_stored(bundle, symbol, timeframe, start, end, recent=False)
    count = len(predictions.times)
    if count > MAX_BARS:
        raise ModelError(f"these are {count:,} bars, at most {MAX_BARS:,} are answered at once: ask for fewer days")
    return {
        "model": model,
        "symbol": symbol,
        "timeframe": timeframe,
        "output_format": "classification" if predictions.returns is None else "regression",
        "class_names": list(predictions.class_names),
        "edge": edge,
        "bars": _bars(predictions),
        "notes": notes,
    }


def preview(text: str, symbol: str, timeframe: str | None = None, bars: int | None = None) -> dict[str, Any]:
    """What a strategy makes of a symbol's last bars; see `previews.preview`."""
    from training.workers import preview

    return preview.preview(text, symbol, timeframe, preview.BARS if bars is None else bars)


def _bars(predictions: Any) -> list[dict[str, Any]]:
    """Each probability is the shortest number that reads back to the same float32; what a model does not say is null."""
    import numpy as np

    times = np.datetime_as_string(predictions.times.view("M8[us]").astype("M8[s]"))
    if predictions.returns is not None:
        return [
            {"timestamp": f"{time}Z", "probabilities": None, "predicted_return": said, "signal": signal, "split": split}
            for time, said, signal, split in zip(
                times, predictions.returns.tolist(), predictions.signals, predictions.splits, strict=True
            )
        ]
    return [
        {
            "timestamp": f"{time}Z",
            "probabilities": [float(str(chance)) for chance in chances],
            "predicted_return": None,
            "signal": signal,
            "split": split,
        }
        for time, chances, signal, split in zip(
            times, predictions.probabilities, predictions.signals, predictions.splits, strict=True
        )
    ]


def importance(model: str) -> dict[str, Any]:
    """What each feature and fuzzy set is worth on the validation rows; kept with the model, so it is computed once."""
    from training.workers import importance

    return importance.importance(model)


def load_sample(user: int) -> dict[str, Any]:
    """The bars and strategies that come with the program; see `upload_answers`."""
    from training.bars import upload_jobs

    return upload_jobs.load_sample(user)


def inspect_upload(key: str) -> dict[str, Any]:
    """What is in an uploaded file of bars."""
    from training.bars import upload_jobs

    return upload_jobs.inspect_upload(key)


def load_upload(key: str, user: int) -> dict[str, Any]:
    """An uploaded file's bars into the store."""
    from training.bars import upload_jobs

    return upload_jobs.load_upload(key, user)


QUESTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "plan": plan,
    "predict": predict,
    "preview": preview,
    "importance": importance,
    "load_sample": load_sample,
    "inspect_upload": inspect_upload,
    "load_upload": load_upload,
}
