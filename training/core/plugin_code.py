"""Code of other packages at work: a kind → what its function computes, checked before anything of it is used.

It gets copies of nothing and may change nothing: the columns are read-only. Whatever it does wrong ends
the run in one sentence that names package and entry point.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies_app.grammar.plugins import Plugin, PluginError, guarded
from strategies_app.kinds import IndicatorKind, LabelKind
from training.core.values import Refusal

Columns = Mapping[str, NDArray[np.float64]]


class PluginFailed(Refusal):
    """Another package's code raised, or gave what it must not give; the message is one sentence."""

    category = "bug"


@functools.cache
def _function(module: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    if not callable(found):
        raise TypeError(f"{module}:{name} is a {type(found).__name__}, wanted a function")
    return found


def call(plugin: Plugin, *arguments: Any) -> Any:
    """What the kind's function gives, whatever that is. PluginFailed if it cannot be imported or raises."""
    module, _, name = plugin.kind.function.partition(":")
    try:
        function = guarded(plugin.source, f"names {plugin.kind.function}, which cannot be imported", _function, module, name)
        return guarded(plugin.source, "failed", function, *arguments)
    except PluginError as error:
        raise PluginFailed(str(error)) from error


def indicator_arrays(plugin: Plugin, parameters: Mapping[str, Any], columns: Columns) -> tuple[NDArray[np.float64], ...]:
    """One array per output, float64 (n,), without infinity."""
    kind = plugin.kind
    assert isinstance(kind, IndicatorKind)
    count = len(columns["close"])
    answer = call(plugin, _read_only(columns), dict(parameters))
    arrays = (answer,) if isinstance(answer, np.ndarray) and len(kind.outputs) == 1 else answer
    if not isinstance(arrays, (tuple, list)) or len(arrays) != len(kind.outputs):
        seen = f"{len(arrays)} arrays" if isinstance(arrays, (tuple, list)) else f"a {type(answer).__name__}"
        raise PluginFailed(f"{plugin.source} gave {seen}, wanted a tuple of {len(kind.outputs)}: {', '.join(kind.outputs)}")
    for output, array in zip(kind.outputs, arrays, strict=True):
        _refuse_misfit(plugin, f"output {output}", array, count, np.float64)
        infinite = np.flatnonzero(np.isinf(array))
        if len(infinite):
            raise PluginFailed(
                f"{plugin.source} gave {array[infinite[0]]} for output {output} at bar {infinite[0]} of {count}, "
                "wanted a finite number, or NaN where there is none"
            )
    return tuple(arrays)


def label_arrays(plugin: Plugin, parameters: Mapping[str, Any], columns: Columns) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """values int64 (n,) or float64 (n,), and ends int64 (n,); −1 and NaN where there is no label."""
    kind = plugin.kind
    assert isinstance(kind, LabelKind)
    count = len(columns["close"])
    answer = call(plugin, _read_only(columns), dict(parameters))
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise PluginFailed(f"{plugin.source} gave a {type(answer).__name__}, wanted two arrays: values and ends")
    values, ends = answer
    _refuse_misfit(plugin, "values", values, count, np.int64 if kind.classes else np.float64)
    _refuse_misfit(plugin, "ends", ends, count, np.int64)
    there = ends >= 0
    rows, ahead = np.arange(count), int(kind.look_ahead(parameters))
    for wrong, said in (
        (ends < -1, "wanted the position of a bar, or -1 where there is no label"),
        (there & (ends <= rows), "wanted a bar after the label's own"),
        (ends >= count, f"but there are {count} bars"),
        (there & (rows + ahead >= count), f"but its look_ahead of {ahead} bars does not lie in the {count} bars, wanted -1"),
    ):
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise PluginFailed(f"{plugin.source} gave end {ends[at]} for bar {at}, {said}")
    classes = len(kind.classes)
    bad = there & (~np.isfinite(values) if not classes else (values < 0) | (values >= classes))
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        wanted = f"wanted 0 to {classes - 1} ({', '.join(kind.classes)})" if classes else "wanted a finite number"
        raise PluginFailed(f"{plugin.source} gave {values[at]} for the label of bar {at}, {wanted}")
    return np.where(there, values, -1 if classes else np.nan), np.where(there, ends, -1)


def _read_only(columns: Columns) -> dict[str, NDArray[np.float64]]:
    views = {name: column.view() for name, column in columns.items()}
    for view in views.values():
        view.flags.writeable = False
    return views


def _refuse_misfit(plugin: Plugin, what: str, array: Any, count: int, wanted: type) -> None:
    if not isinstance(array, np.ndarray):
        raise PluginFailed(f"{plugin.source} gave a {type(array).__name__} for {what}, wanted a numpy array")
    if array.shape != (count,):
        raise PluginFailed(f"{plugin.source} gave {what} of shape {array.shape} for {count} bars, wanted ({count},)")
    if array.dtype != wanted:
        raise PluginFailed(f"{plugin.source} gave {what} of type {array.dtype}, wanted {np.dtype(wanted)}")
