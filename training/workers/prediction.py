"""Trained models: from a name or a path to a bundle that was checked, and from a bundle to predictions on stored bars."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from django.conf import settings

from strategies_app.grammar import plugins
from strategies_app.grammar.vocabulary import nearest
from training.core.values import Refusal
from training.jobs import homes
from training.models import TrainedModel

if TYPE_CHECKING:
    from training.recipe import Predictions
    from training.trainer.bundle import Bundle


class ModelError(Refusal):
    """No such model, or not for this symbol or timeframe: one sentence."""

    exit_code = 2


def open_model(name: str) -> Bundle:
    """The bundle of a stored model's name, or in the folder of a path; refused if a byte of it was changed."""
    folder, recorded = _found(name)
    from training.trainer.bundle import load_bundle

    if recorded and not folder.exists():
        homes.require("bundles")  # with all of them away, this one is not gone
    bundle = load_bundle(folder)
    _refuse_other(name, folder, recorded)
    return bundle


def describe_model(name: str) -> tuple[Any, list[str]]:
    """What is stored of a model, with the fields of a bundle that are no arrays, and the packages that predicting with it
    lacks, each a phrase: without them a model can still be looked at."""
    folder, recorded = _found(name)
    from training.trainer.bundle import read_document

    document, _ = read_document(folder)
    _refuse_other(name, folder, recorded)
    return SimpleNamespace(**document), plugins.missing(document["plugins"])


def _found(name: str) -> tuple[Path, str]:
    """Where the model of that name, or at that path, lies, and the sha256 that was recorded of it; "" of a path."""
    row = TrainedModel.objects.filter(name=name).first()
    if row is not None:
        return Path(settings.BUNDLE_DIR) / row.folder, row.sha256
    if Path(name).is_dir():
        return Path(name), ""
    names = list(TrainedModel.objects.values_list("name", flat=True))
    near = nearest(name, names)
    stored = f"stored are {', '.join(names[:10])}" if names else "no model is trained yet"
    raise ModelError(f"no model '{name}', {f'did you mean {near}?' if near else stored}")


def _refuse_other(name: str, folder: Path, recorded: str) -> None:
    from training.trainer.bundle import BundleError, manifest_sha256

    if recorded and manifest_sha256(folder) != recorded:
        raise BundleError(f"the bundle {folder} is not the one that was recorded for {name}")


def predict_stored(
    bundle: Bundle, symbol: str, timeframe: str, start: str | None, end: str | None, *, recent: bool
) -> tuple[Predictions, list[str]]:
    """Predictions on stored bars, and notes on how far their values can be trusted.

    The bars begin where the training's began, so that indicators are in the same state; with `recent`,
    or for another symbol, only the warm-up before `start` is read.
    """
    from pydantic import ValidationError

    from strategies_app.grammar.schema import StrategySpec
    from training.recipe import load_bars, predict_bars
    from training.store.coverage import day_start

    trained = StrategySpec.model_validate(bundle.spec)
    if timeframe != trained.base_timeframe:
        raise ModelError(f"this model predicts on {trained.base_timeframe} bars, seen {timeframe}")
    first_day, last_day = _day(start), _day(end)
    if first_day and last_day and first_day > last_day:
        raise ModelError(f"the start {first_day} is after the end {last_day}")
    try:
        spec = StrategySpec.model_validate(_for_symbol(bundle.spec, symbol, first_day, last_day))
    except ValidationError as error:
        raise ModelError(f"{symbol}: {error.errors()[0]['msg']}") from None
    known = symbol in bundle.first_bars and not recent
    bars = load_bars(
        spec,
        Path(settings.STORE_DIR),
        first_bars=bundle.first_bars if known else None,
        sources=bundle.sources if symbol in bundle.sources else None,
    )
    notes = list(bars.notes)
    if not known:
        why = "only the warm-up before the start was read" if symbol in bundle.first_bars else f"it was not trained on {symbol}"
        notes.append(f"values may differ from those in training: {why}")
    notes += [f"values may differ from those in training: {said}" for said in plugins.differences(bundle.plugins)]
    notes += _changed_since(bundle, symbol)
    first = spec.training_data.start
    predictions = predict_bars(bundle, symbol, bars.frames[symbol], day_start(first) if first else bars.start)
    if seen := predictions.splits.count("train"):
        notes.append(
            f"{seen:,} of {len(predictions.splits):,} bars are from days that it was trained on (split: train); "
            "what is right there says nothing of other days"
        )
    return predictions, notes


def _changed_since(bundle: Bundle, symbol: str) -> list[str]:
    """A note if the bars that the model was trained on are not stored any more as they were."""
    from strategies_app.grammar.schema import StrategySpec
    from training.recipe import load_bars
    from training.store.coverage import DataError, day_of

    trained = bundle.fingerprints.get(symbol)
    if trained is None:
        return []
    first, last = day_of(bundle.split["start"]).isoformat(), day_of(bundle.split["end"] - 1).isoformat()
    spec = StrategySpec.model_validate(_for_symbol(bundle.spec, symbol, first, last))
    try:
        stored = load_bars(spec, Path(settings.STORE_DIR), first_bars=bundle.first_bars, sources=bundle.sources)
    except DataError as error:
        return [f"the bars that it was trained on are not stored any more: {error}"]
    changed = [t for t, digest in trained.items() if stored.fingerprints[symbol].get(t) != digest]
    if not changed:
        return []
    return [f"the stored bars of {symbol} {', '.join(changed)} from {first} to {last} were changed since it was trained on them"]


def _day(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return dt.date.fromisoformat(text).isoformat()
    except ValueError:
        raise ModelError(f"'{text}' is not a day, wanted YYYY-MM-DD") from None


def _for_symbol(plain: dict[str, Any], symbol: str, start: str | None, end: str | None) -> dict[str, Any]:
    """The effective strategy for one symbol and other dates; open dates mean all that is stored."""
    section = {k: v for k, v in plain["training_data"].items() if k not in ("start_date", "end_date", "date_range")}
    section |= {"symbols": {"mode": "single", "symbol": symbol}}
    section |= {k: v for k, v in (("start_date", start), ("end_date", end)) if v}
    return plain | {"training_data": section}
