"""The words a strategy may use: tables of timeframes, indicators, memberships and labels; nothing here computes a value.

The reader checks a strategy against these tables, the pipeline computes what they name, and the
reference documentation is generated from them. A new indicator is a row here, a computation in
`training/pipeline/indicators.py` and a parity case in the tests. What other packages add is in `plugins`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from strategies_app.kinds import IndicatorKind, Memory, Parameter, Parameters

__all__ = ["IndicatorKind", "Memory", "Parameter", "Parameters"]

#: Timeframe name → duration of one bar in seconds, highest frequency first.
TIMEFRAMES: dict[str, int] = {
    "1m": 60,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "4h": 14400,
    "1d": 86400,
    "1w": 604800,
}

PRICE_COLUMNS = ("open", "high", "low", "close")
BAR_COLUMNS = (*PRICE_COLUMNS, "volume")
SOURCES = ("close", "open", "high", "low", "hl2", "hlc3", "ohlc4")
#: Identifiers that would be mistaken for a bar column or for a key of a fuzzy set.
RESERVED_IDS = frozenset((*BAR_COLUMNS, "indicator", "input_transform"))

_SOURCE = Parameter("source", "close", choices=SOURCES)
_HLC = ("high", "low", "close")
_HLCV = ("high", "low", "close", "volume")


def _period(default: int, low: int = 2, high: int = 500, name: str = "period", aliases: tuple[str, ...] = ()) -> Parameter:
    return Parameter(name, default, low, high, aliases=aliases)


def _factor(name: str, default: float, low: float, high: float) -> Parameter:
    return Parameter(name, default, low, high)


def _before(offset: int) -> Callable[[Parameters], tuple[int, ...]]:
    """Warm-up of a one-output indicator: period + offset bars."""
    return lambda p: (int(p["period"]) + offset,)


def _macd_warm_up(p: Parameters) -> tuple[int, ...]:
    return (p["slow_period"] + p["signal_period"] - 2,) * 3


def _stochastic_warm_up(p: Parameters) -> tuple[int, ...]:
    return (p["k_period"] + p["smooth_k"] + p["d_period"] - 3,) * 2


def _vigor_warm_up(p: Parameters) -> tuple[int, ...]:
    return p["period"] + 2, p["period"] + p["signal_period"] + 1


def _keltner_warm_up(p: Parameters) -> tuple[int, ...]:
    middle = p["period"] - 1
    band = max(middle, p["atr_period"])
    return band, middle, band


def _ichimoku_warm_up(p: Parameters) -> tuple[int, ...]:
    tenkan, kijun = p["tenkan_period"] - 1, p["kijun_period"] - 1
    return tenkan, kijun, max(tenkan, kijun), p["senkou_b_period"] - 1


def _atr_warm_up(p: Parameters) -> tuple[int, ...]:
    return (p["period"],)


_MOVING_AVERAGE = (_period(20, 1), _SOURCE)
_BANDS = (_period(20), _factor("multiplier", 2.0, 0.1, 10.0), _SOURCE)

_INDICATORS = (
    IndicatorKind(
        "rsi", ("value",), (_period(14, 2, 100), _SOURCE), warm_up=_before(0), memory="decaying", scale_free=True,
        constant="0", formula="Wilder's relative strength index, TA-Lib RSI",
    ),
    IndicatorKind(
        "sma", ("value",), _MOVING_AVERAGE, ("simplemovingaverage",), warm_up=_before(-1),
        constant="the price", formula="simple moving average, TA-Lib SMA",
    ),
    IndicatorKind(
        "ema", ("value",), _MOVING_AVERAGE, ("exponentialmovingaverage",), warm_up=_before(-1), memory="decaying",
        constant="the price", formula="exponential moving average seeded with the SMA, TA-Lib EMA",
    ),
    IndicatorKind(
        "wma", ("value",), _MOVING_AVERAGE, ("weightedmovingaverage",), warm_up=_before(-1),
        constant="the price", formula="linearly weighted moving average, TA-Lib WMA",
    ),
    IndicatorKind(
        "macd", ("line", "signal", "histogram"),
        (
            _period(12, 2, 500, "fast_period", ("fast",)),
            _period(26, 2, 500, "slow_period", ("slow",)),
            _period(9, 1, 500, "signal_period", ("signal",)),
            _SOURCE,
        ),
        warm_up=_macd_warm_up, memory="decaying", constant="0, 0, 0",
        formula="EMA(fast) − EMA(slow), its EMA(signal), their difference, TA-Lib MACD",
    ),
    IndicatorKind(
        "bbands", ("upper", "middle", "lower"), _BANDS, ("bollingerbands",), warm_up=lambda p: (p["period"] - 1,) * 3,
        constant="the price, three times", formula="SMA ± multiplier × population deviation, TA-Lib BBANDS",
    ),
    IndicatorKind(
        "bollingerbandwidth", ("value",), _BANDS, warm_up=_before(-1), scale_free=True,
        constant="0", formula="(upper − lower) / middle of TA-Lib BBANDS",
    ),
    IndicatorKind(
        "atr", ("value",), (_period(14, 1), Parameter("smoothing", "wilder", choices=("wilder", "sma"))), columns=_HLC,
        warm_up=_atr_warm_up, memory="decaying", constant="0",
        formula="average true range: Wilder's smoothing (TA-Lib ATR) or the plain mean of TA-Lib TRANGE",
        memory_if=(("smoothing", "sma", "finite"),),
    ),
    IndicatorKind(
        "adx", ("adx", "plus_di", "minus_di"), (_period(14),), columns=_HLC,
        warm_up=lambda p: (2 * p["period"] - 1, p["period"], p["period"]), memory="decaying", scale_free=True,
        constant="0, 0, 0", formula="Wilder's directional movement, TA-Lib ADX, PLUS_DI, MINUS_DI",
    ),
    IndicatorKind(
        "cci", ("value",), (_period(20),), columns=_HLC, warm_up=_before(-1), scale_free=True,
        constant="0", formula="commodity channel index, TA-Lib CCI",
    ),
    IndicatorKind(
        "stochastic", ("k", "d"),
        (_period(14, 1, 500, "k_period"), _period(3, 1, 500, "d_period"), _period(3, 1, 500, "smooth_k")),
        ("stoch",), _HLC, _stochastic_warm_up, "finite", True,
        "0, 0", "slow stochastic with simple averages, TA-Lib STOCH",
    ),
    IndicatorKind(
        "williamsr", ("value",), (_period(14),), columns=_HLC, warm_up=_before(-1), scale_free=True,
        constant="0", formula="Williams %R, TA-Lib WILLR",
    ),
    IndicatorKind(
        "momentum", ("value",), (_period(10, 1), _SOURCE), warm_up=_before(0),
        constant="0", formula="price − price `period` bars ago, TA-Lib MOM",
    ),
    IndicatorKind(
        "roc", ("value",), (_period(10, 1), _SOURCE), warm_up=_before(0), scale_free=True,
        constant="0", formula="100 · (price / price `period` bars ago − 1), TA-Lib ROC",
    ),
    IndicatorKind(
        "aroon", ("up", "down", "oscillator"), (_period(14),), columns=("high", "low"),
        warm_up=lambda p: (p["period"],) * 3, scale_free=True,
        constant="100, 100, 0", formula="bars since the last extreme in percent, TA-Lib AROON, AROONOSC",
    ),
    IndicatorKind(
        "rvi", ("rvi", "signal"), (_period(10), _period(4, 1, 500, "signal_period")), ("relativevigor",), PRICE_COLUMNS,
        _vigor_warm_up, scale_free=True, constant="0, 0",
        formula="Ehlers's relative vigor: sums over the period of close − open and of high − low, both weighted 1, 2, 2, 1 over "
        "four bars, the one divided by the other, 0 where there is no range; signal: its triangular average, TA-Lib TRIMA",
    ),
    IndicatorKind(
        "fishertransform", ("fisher", "signal"), (_period(10), _period(3, 1, 500, "smoothing")), columns=("high", "low"),
        warm_up=lambda p: (p["period"] - 1, p["period"]), memory="decaying", scale_free=True, constant="0, 0",
        formula="Ehlers's Fisher transform: x is the place of (high + low) / 2 between its extremes of the period, from −1 to 1 "
        "(0 where they are the same), smoothed with weight 1 / smoothing of the new place and cut at ±0.999; the value is "
        "½ · ln((1 + x) / (1 − x)) and half of the value before; signal: the value before",
    ),
    IndicatorKind(
        "keltnerchannels", ("upper", "middle", "lower"),
        (_period(20), _period(10, 1, 500, "atr_period"), _factor("multiplier", 2.0, 0.1, 10.0)), columns=_HLC,
        warm_up=_keltner_warm_up, memory="decaying", constant="the price, three times",
        formula="EMA of the close ± multiplier · ATR, TA-Lib EMA and ATR",
    ),
    IndicatorKind(
        "donchianchannels", ("upper", "middle", "lower"), (_period(20),), columns=("high", "low"),
        warm_up=lambda p: (p["period"] - 1,) * 3, constant="the price, three times",
        formula="highest high and lowest low of the last bars, this one included, and their mean, TA-Lib MAX and MIN",
    ),
    IndicatorKind(
        "supertrend", ("trend", "direction"), (_period(10), _factor("multiplier", 3.0, 0.1, 10.0)), columns=_HLC,
        warm_up=lambda p: (p["period"],) * 2, memory="origin", constant="the price, -1", scale_free_outputs=("direction",),
        formula="the band (high + low) / 2 ± multiplier · TA-Lib ATR that trails the price: it only comes nearer until a close "
        "passes it, then the other band takes over; direction 1 rising, −1 falling; begins as falling. Two starts agree after "
        "some turns as a rule, but nothing bounds how long that takes",
    ),
    IndicatorKind(
        "parabolicsar", ("value",),
        (_factor("initial_af", 0.02, 0.001, 1.0), _factor("step_af", 0.02, 0.001, 1.0), _factor("max_af", 0.2, 0.001, 1.0)),
        columns=("high", "low"), warm_up=lambda p: (1,), memory="origin", constant="the price",
        formula="Wilder's parabolic stop and reverse, TA-Lib SAREXT without its sign (TA-Lib SAR where both factors are the "
        "same); a factor above max_af counts as max_af. Two starts agree after some turns as a rule, but nothing bounds how "
        "long that takes",
    ),
    IndicatorKind(
        "ichimoku", ("tenkan", "kijun", "senkou_a", "senkou_b"),
        (_period(9, name="tenkan_period"), _period(26, name="kijun_period"), _period(52, name="senkou_b_period")),
        columns=("high", "low"), warm_up=_ichimoku_warm_up, constant="the price, four times",
        formula="the middle between highest high and lowest low of each period, TA-Lib MAX and MIN; senkou_a: the mean of tenkan "
        "and kijun. Nothing is displaced: a span stands at the bar from which it is known, where charts draw it "
        "kijun_period bars later",
    ),
    IndicatorKind(
        "obv", ("value",), columns=("close", "volume"), warm_up=lambda p: (0,), memory="origin",
        constant="the first bar's volume", formula="on-balance volume, TA-Lib OBV",
    ),
    IndicatorKind(
        "vwap", ("value",), (_period(20, 0), _SOURCE), columns=("close", "volume"), warm_up=lambda p: (max(p["period"] - 1, 0),),
        constant="the price", memory_if=(("period", 0, "origin"),),
        formula="volume-weighted average price: Σ price · volume / Σ volume over the period, or with period 0 over all bars so "
        "far; the plain mean of the prices where there is no volume",
    ),
    IndicatorKind(
        "mfi", ("value",), (_period(14),), columns=_HLCV, warm_up=_before(0), scale_free=True,
        constant="0", formula="money flow index, TA-Lib MFI",
    ),
    IndicatorKind(
        "cmf", ("value",), (_period(21),), columns=_HLCV, warm_up=_before(-1), scale_free=True, constant="0",
        formula="Chaikin's money flow: Σ volume · ((close − low) − (high − close)) / (high − low) over Σ volume; a bar without "
        "range counts as 0, and so does a period without volume",
    ),
    IndicatorKind(
        "adline", ("value",), columns=_HLCV, warm_up=lambda p: (0,), memory="origin", constant="0",
        formula="Chaikin's accumulation/distribution line, TA-Lib AD; a bar without range adds nothing",
    ),
    IndicatorKind(
        "volumeratio", ("value",), (_period(20),), columns=("volume",), warm_up=_before(-1), scale_free=True,
        constant="1, if the volume is constant too",
        formula="volume / its mean over the period, this bar included; 1 where the period has no volume",
    ),
    IndicatorKind(
        "distancefromma", ("value",),
        (_period(20, 1), Parameter("ma_type", "sma", choices=("sma", "ema")), _SOURCE), warm_up=_before(-1), scale_free=True,
        constant="0", memory_if=(("ma_type", "ema", "decaying"),),
        formula="100 · (price / its moving average − 1), TA-Lib SMA or EMA",
    ),
    IndicatorKind(
        "squeezeintensity", ("value",),
        (
            _period(20, name="bb_period"), _factor("bb_multiplier", 2.0, 0.1, 10.0),
            _period(20, name="kc_period"), _factor("kc_multiplier", 2.0, 0.1, 10.0),
        ),
        columns=_HLC, warm_up=lambda p: (max(p["bb_period"] - 1, p["kc_period"]),), memory="decaying", scale_free=True,
        constant="0",
        formula="how far the bands of TA-Lib BBANDS lie inside the Keltner channel (TA-Lib EMA ± kc_multiplier · TA-Lib ATR): "
        "the smaller distance from band to channel over half the channel's width, from 0 (a band touches the channel or is "
        "outside, or the channel has no width) to 1 (no width left)",
    ),
    IndicatorKind("zigzag", ("value",), (_factor("threshold", 0.05, 0.0001, 1.0),)),
)  # fmt: skip

#: Kind name → kind. `zigzag` has a row so that the reader can say why it is refused.
INDICATORS: dict[str, IndicatorKind] = {kind.name: kind for kind in _INDICATORS}
BY_SPELLING = {spelling: kind for kind in _INDICATORS for spelling in (kind.name, *kind.aliases)}
#: Kinds that use bars after the one they stand on.
REPAINTING = frozenset({"zigzag"})


@dataclass(frozen=True)
class MembershipKind:
    """A shape of membership: how its points are named, in order."""

    name: str
    points: tuple[str, ...]
    formula: str


MEMBERSHIPS: dict[str, MembershipKind] = {
    kind.name: kind
    for kind in (
        MembershipKind("triangular", ("a", "b", "c"), "1 at b, linear to 0 at a and c, 0 outside"),
        MembershipKind("trapezoidal", ("a", "b", "c", "d"), "1 on [b, c], linear to 0 at a and d, 0 outside"),
        MembershipKind("gaussian", ("mean", "deviation"), "exp(−½((x − mean)/deviation)²)"),
        MembershipKind("sigmoid", ("centre", "width"), "1/(1 + exp(−(x − centre)/width))"),
    )
}

#: Label source → its class names in the order of their numbers; no names where the label is a number.
LABEL_CLASSES: dict[str, tuple[str, ...]] = {
    "zigzag": ("BUY", "HOLD", "SELL"),
    "forward_return": (),
    "triple_barrier": ("BUY", "HOLD", "SELL"),
    "context": ("BULLISH", "BEARISH", "NEUTRAL"),
    "regime": ("UP", "DOWN", "RANGING", "VOLATILE"),
}


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The known word most like `word` (case aside), or None if nothing is close."""
    by_lower = {k.lower(): k for k in known}
    text = str(word).lower()
    if text in by_lower:
        return by_lower[text]
    close = difflib.get_close_matches(text, by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None
