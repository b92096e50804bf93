"""The reference's parts that come from the vocabulary: indicators, shapes of memberships, features, timeframes."""

from __future__ import annotations

from collections.abc import Iterator

from strategies_app.grammar import vocabulary
from strategies_app.grammar.schema import StrategySpec, feature_names
from strategies_app.grammar.vocabulary import IndicatorKind, Parameter
from strategies_app.tools.meanings import EXAMPLE
from strategies_app.tools.reference_words import TYPE_WORDS, as_code, bounds_between, markdown_table

_SHAPES = {
    "triangular": ("a ≤ b ≤ c, a < c", "[a, b, c]"),
    "trapezoidal": ("a ≤ b ≤ c ≤ d, a < d; a may be `-.inf`, d `.inf`", "[a, b, c, d]"),
    "gaussian": ("deviation > 0", "–"),
    "sigmoid": ("width ≠ 0; negative: falling", "–"),
}
_MEMORIES = {
    "finite": "a window of bars",
    "decaying": "a recursion that forgets its start",
    "origin": "the first bar, for ever: warned about",
}


def indicator_blocks() -> Iterator[str]:
    yield "## indicators"
    yield (
        "A map from ids to definitions: `rsi_14: {type: rsi, period: 14}`. The first output of a kind is its primary one; name "
        "another as `id.output`. Where TA-Lib has an indicator, the value is TA-Lib's own, unchanged. There is no value in the "
        "warm-up. A bar with a missing value is taken out before indicators are computed, and counted."
    )
    kinds = [kind for kind in vocabulary.INDICATORS.values() if kind.name not in vocabulary.REPAINTING]
    columns = ("kind", "also spelled", "outputs", "memory", "scale-free")
    yield markdown_table(columns, [_overview(kind) for kind in kinds])
    yield (
        "**Memory** is what a value depends on: "
        + "; ".join(f"*{name}*, {text}" for name, text in _MEMORIES.items())
        + ". **Scale-free** means that the unit of price and volume does not matter, so symbols can be compared. "
        + f"{' and '.join(f'`{name}`' for name in sorted(vocabulary.REPAINTING))} is refused as an input, because it repaints: "
        "its past values use later bars. It exists as a label."
    )
    yield (
        "`source` is the price that an indicator works on: `hl2` is (high + low) / 2, `hlc3` is (high + low + close) / 3, "
        "`ohlc4` is (open + high + low + close) / 4."
    )
    for kind in kinds:
        yield from _indicator(kind)


def _overview(kind: IndicatorKind) -> tuple[str, ...]:
    aliases = ", ".join(f"`{a}`" for a in kind.aliases) or "–"
    return f"[{kind.name}](#{kind.name})", aliases, ", ".join(kind.outputs), _memory(kind), _scale_free(kind)


def _memory(kind: IndicatorKind) -> str:
    return "; ".join([kind.memory, *(f"{memory} with {name} {value}" for name, value, memory in kind.memory_if)])


def _scale_free(kind: IndicatorKind) -> str:
    if kind.scale_free_outputs:
        return f"only {', '.join(kind.scale_free_outputs)}"
    return "yes" if kind.scale_free else "no"


def _indicator(kind: IndicatorKind) -> Iterator[str]:
    assert kind.warm_up is not None
    yield f"### {kind.name}"
    yield f"{kind.formula[0].upper()}{kind.formula[1:]}."
    if kind.parameters:
        yield markdown_table(("parameter", "type", "values", "default", "also spelled"), [_parameter(p) for p in kind.parameters])
    else:
        yield "No parameters."
    warm_up = kind.warm_up({p.name: p.default for p in kind.parameters})
    columns = ["source" if kind.takes_source and c == "close" else c for c in kind.columns]
    yield markdown_table(
        ("outputs", "bars before the first value, with the defaults", "needs", "memory", "scale-free", "on a constant price"),
        [
            (
                ", ".join(f"`{o}`" for o in kind.outputs), ", ".join(map(str, warm_up)), ", ".join(columns), _memory(kind),
                _scale_free(kind), kind.constant,
            )
        ],
    )  # fmt: skip


def _parameter(parameter: Parameter) -> tuple[str, ...]:
    if parameter.choices:
        words, values = "text", " · ".join(f"`{c}`" for c in parameter.choices)
    else:
        words, values = TYPE_WORDS[parameter.kind], _bounds(parameter)
    aliases = ", ".join(f"`{a}`" for a in parameter.aliases) or "–"
    return f"`{parameter.name}`", words, values, as_code(parameter.default), aliases


def _bounds(parameter: Parameter) -> str:
    low, high = parameter.low, parameter.high
    return bounds_between(None if low is None else (low, True), None if high is None else (high, True))


def membership_blocks() -> Iterator[str]:
    yield "### Shapes of memberships"
    rows = []
    for kind in vocabulary.MEMBERSHIPS.values():
        rule, short = _SHAPES[kind.name]
        rows.append((f"`{kind.name}`", ", ".join(kind.points), rule, short, kind.formula))
    yield markdown_table(("type", "parameters", "rule", "as a bare list", "degree of x"), rows)
    yield (
        "Degrees lie between 0 and 1. Shoulders are closed: where a = b, the degree at a is 1. A missing value has a missing "
        "degree. Points lie within ±1e15."
    )


def feature_blocks() -> Iterator[str]:
    yield "### Names and order of features"
    yield markdown_table(
        ("feature", "name"),
        [
            ("membership of a fuzzy set", "`{timeframe}_{fuzzy set}_{membership}`"),
            ("raw input", "`{timeframe}_{reference as written}_raw`"),
            ("either, k base bars back", "the name and `_lag{k}`"),
        ],
    )
    yield (
        "Order: entry of `nn_inputs`, then timeframe, then membership as in the file; then all of them again per lag. Every name "
        "occurs once. Training, checkpoints, bundles and prediction use this order by name, and refuse another one. With"
    )
    yield (
        "```yaml\n"
        "timeframes: {mode: multi_timeframe, list: [1d, 1w]}\n"
        "rsi_zone: {indicator: rsi_14, low: [0, 25, 45], high: [55, 75, 100]}\n"
        "nn_inputs:\n"
        "  - {fuzzy_set: rsi_zone, timeframes: all}\n"
        "  - {raw_indicator: macd_1.signal, timeframes: [1d], normalization: zscore}\n"
        "model: {type: mlp, features: {lookback_periods: 1}}\n"
        "```"
    )
    names = feature_names(StrategySpec.model_validate(EXAMPLE))
    yield "the network sees"
    yield "```\n" + "\n".join(f"{number}  {name}" for number, name in enumerate(names)) + "\n```"


def timeframe_blocks() -> Iterator[str]:
    yield "## timeframes"
    yield (
        "A bar is stamped at its open, in UTC, and known at open + duration. Buckets begin at whole multiples of the duration "
        "since 1970-01-01 00:00 UTC; weeks begin on Monday. A timeframe that is not stored, or in part only, is "
        "resampled from the finest stored one that covers the dates."
    )
    yield markdown_table(
        ("timeframe", "duration in seconds"), [(f"`{name}`", f"{s:,}") for name, s in vocabulary.TIMEFRAMES.items()]
    )
