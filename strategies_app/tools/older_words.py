"""Other spellings of keys, kinds and values, as version 2 files and other programs have them: tables and how they are read.

A spelling is compared without case, `_`, `-` and blanks, so `Bollinger_Bands` needs no row of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from strategies_app.grammar import plugins, vocabulary
from strategies_app.kinds import IndicatorKind

#: Kinds of indicators. Those that the reader itself takes are in the vocabulary.
KINDS = {
    "relativestrengthindex": "rsi", "ma": "sma", "movingaverage": "sma", "simple": "sma", "exponential": "ema",
    "weighted": "wma", "bb": "bbands", "bollinger": "bbands", "bbwidth": "bollingerbandwidth",
    "bollingerwidth": "bollingerbandwidth", "averagetruerange": "atr", "averagedirectionalindex": "adx", "dmi": "adx",
    "commoditychannelindex": "cci", "stochasticoscillator": "stochastic", "williamspercentr": "williamsr",
    "williams%r": "williamsr", "willr": "williamsr", "mom": "momentum", "rateofchange": "roc", "relativevigorindex": "rvi",
    "fisher": "fishertransform", "keltner": "keltnerchannels", "keltnerchannel": "keltnerchannels",
    "donchian": "donchianchannels", "donchianchannel": "donchianchannels", "sar": "parabolicsar", "psar": "parabolicsar",
    "ichimokucloud": "ichimoku", "onbalancevolume": "obv", "volumeweightedaverageprice": "vwap", "moneyflowindex": "mfi",
    "chaikinmoneyflow": "cmf", "accumulationdistribution": "adline", "accumulationdistributionline": "adline", "ad": "adline",
    "adl": "adline", "distancefromaverage": "distancefromma", "squeeze": "squeezeintensity",
}  # fmt: skip

#: Parameters of indicators → what they may mean, the first that the kind has.
PARAMETERS = {
    "length": ("period",), "window": ("period",), "timeperiod": ("period",), "lookback": ("period",), "n": ("period",),
    "std": ("multiplier", "bb_multiplier"), "stddev": ("multiplier", "bb_multiplier"), "numstd": ("multiplier", "bb_multiplier"),
    "numstddev": ("multiplier",), "nbdev": ("multiplier",), "mult": ("multiplier",), "factor": ("multiplier",),
    "fastlength": ("fast_period",), "slowlength": ("slow_period",), "signallength": ("signal_period",), "k": ("k_period",),
    "d": ("d_period",), "slowing": ("smooth_k",), "smooth": ("smooth_k", "smoothing"), "price": ("source",),
    "column": ("source",), "input": ("source",), "appliedto": ("source",), "method": ("smoothing", "ma_type"),
    "tenkan": ("tenkan_period",), "kijun": ("kijun_period",), "senkou": ("senkou_b_period",), "af": ("initial_af",),
}  # fmt: skip

#: Keys of every other map → what they may mean, the first that the map knows.
KEYS = {
    "symbol": ("symbol", "symbols"), "tickers": ("symbols",), "instruments": ("symbols",),
    "timeframe": ("timeframe", "timeframes"),
    "basetf": ("base_timeframe",), "historybars": ("history_required",), "warmup": ("history_required",),
    "start": ("start", "start_date"), "from": ("start", "start_date"), "end": ("end", "end_date"), "to": ("end", "end_date"),
    "layers": ("hidden_layers", "num_layers"), "hidden": ("hidden_layers", "hidden_size"), "hiddensizes": ("hidden_layers",),
    "hiddendim": ("hidden_size",), "hiddenunits": ("hidden_size", "hidden_layers"), "dropoutrate": ("dropout",),
    "activationfunction": ("activation",), "seqlen": ("sequence_length",), "seqlength": ("sequence_length",),
    "windowsize": ("sequence_length",), "lookback": ("lookback_periods",), "lags": ("lookback_periods",),
    "lr": ("learning_rate",), "numepochs": ("epochs",), "maxepochs": ("epochs",), "batch": ("batch_size",),
    "l2": ("weight_decay",),
    "scheduler": ("lr_scheduler",), "learningratescheduler": ("lr_scheduler",), "lossfunction": ("loss",), "criterion": ("loss",),
    "gradclip": ("gradient_clip",), "maxgradnorm": ("gradient_clip",), "gradientclipping": ("gradient_clip",),
    "randomseed": ("seed",), "randomstate": ("seed",), "classweight": ("class_weights",), "split": ("data_split",),
    "splits": ("data_split",), "val": ("validation",), "valid": ("validation",), "metric": ("monitor",), "label": ("labels",),
    "kind": ("type",), "name": ("type", "source"), "method": ("source",), "type": ("type", "source"),
    "threshold": ("zigzag_threshold", "confidence_threshold"), "lookahead": ("label_lookahead", "horizon"),
    "lookaheadbars": ("label_lookahead", "horizon"), "minswing": ("min_swing_length",), "bars": ("horizon",),
    "profittarget": ("pt_multiplier",), "stoploss": ("sl_multiplier",), "maxholding": ("max_holding_period",),
    "confidence": ("confidence_threshold",), "minconfidence": ("confidence_threshold",), "output": ("output_format",),
    "minseparation": ("min_signal_separation",), "costs": ("cost_model",), "minlr": ("min_rate",),
}  # fmt: skip

#: Values of keys that take one of a few words.
WORDS = {
    "reducelronplateau": "reduce_on_plateau", "plateau": "reduce_on_plateau", "cosineannealing": "cosine",
    "cosineannealinglr": "cosine", "steplr": "step", "exponentiallr": "exponential", "crossentropyloss": "cross_entropy",
    "focalloss": "focal", "mseloss": "mse", "meansquarederror": "mse", "huberloss": "huber", "smoothl1": "huber",
    "neuralnetwork": "mlp", "nn": "mlp", "dense": "mlp", "feedforward": "mlp", "multilayerperceptron": "mlp",
    "classify": "classification", "categorical": "classification", "forwardreturns": "forward_return",
    "validationloss": "val_loss", "validationaccuracy": "val_accuracy", "triangle": "triangular", "trimf": "triangular",
    "trapezoid": "trapezoidal", "trapmf": "trapezoidal", "gauss": "gaussian", "gaussmf": "gaussian", "sigmf": "sigmoid",
    "fp32": "float32", "bf16": "bfloat16", "zscorenormalization": "zscore", "standard": "zscore",
}  # fmt: skip

#: Names of the points of a membership where it has them as keys, in order.
POINTS = {
    "triangular": (("a", "left", "low"), ("b", "peak", "center", "centre", "mid"), ("c", "right", "high")),
    "trapezoidal": (("a",), ("b",), ("c",), ("d",)),
    "gaussian": (("mean", "mu", "center", "centre"), ("deviation", "sigma", "std", "width")),
    "sigmoid": (("center", "centre", "midpoint"), ("width",)),
}  # fmt: skip

_TIMEFRAME = re.compile(r"([0-9]*)([a-z]+)([0-9]*)")
_UNITS = {
    "m": "m", "min": "m", "mins": "m", "minute": "m", "minutes": "m", "h": "h", "hr": "h",
    "hour": "h", "hours": "h", "hourly": "h",
    "d": "d", "day": "d", "days": "d", "daily": "d", "w": "w", "wk": "w", "week": "w", "weekly": "w", "weeks": "w",
}  # fmt: skip


def squeezed(word: str) -> str:
    """What two spellings of one word have in common."""
    return re.sub("[_ -]", "", word.lower())


def kind_of(spelling: object) -> IndicatorKind | None:
    """The kind of indicator that is meant, or None."""
    if not isinstance(spelling, str):
        return None
    word = squeezed(spelling)
    word = word if word in KINDS or word in plugins.indicator_spellings(repainting=True) else word.removesuffix("indicator")
    try:
        return plugins.indicator_kind(KINDS.get(word, word))
    except KeyError:
        return None


def known_key(key: str, known: Collection[str], table: dict[str, tuple[str, ...]] = KEYS) -> str | None:
    """Which of the `known` keys is meant, or None."""
    if key in known:
        return key
    word = squeezed(key)
    same = next((k for k in known if squeezed(k) == word), None)
    return same or next((k for k in table.get(word, ()) if k in known), None)


def known_word(value: str, choices: Collection[str]) -> str | None:
    """Which of the `choices` is meant, or None."""
    if value in choices:
        return value
    word = squeezed(value)
    same = next((choice for choice in choices if squeezed(choice) == word), None)
    return same or (WORDS[word] if WORDS.get(word) in choices else None)


def known_timeframe(value: str) -> str | None:
    """`H1`, `60min`, `1D`, `daily` → a timeframe, or None."""
    found = _TIMEFRAME.fullmatch(squeezed(value))
    if not found or found[2] not in _UNITS or re.fullmatch("[0-9]+M", value):  # 1M is a month, M1 a minute
        return None
    number = int(found[1] or found[3] or 1)
    name = f"{number // 60}h" if _UNITS[found[2]] == "m" and number % 60 == 0 and number else f"{number}{_UNITS[found[2]]}"
    name = {"24h": "1d", "7d": "1w"}.get(name, name)
    return name if name in vocabulary.TIMEFRAMES else None
