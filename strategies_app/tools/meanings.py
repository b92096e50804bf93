"""What the keys of a strategy mean, map by map: the part of the reference that no table can tell.

A key without a meaning here fails the making of the reference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from strategies_app.grammar import schema, vocabulary
from strategies_app.grammar.schema import StrategySpec

#: A strategy whose feature names are shown, and in which single values are tried to see whether they are available.
EXAMPLE: dict[str, Any] = {
    "name": "example",
    "training_data": {
        "symbols": {"mode": "single", "symbol": "AAPL"},
        "timeframes": {"mode": "multi_timeframe", "list": ["1d", "1w"]},
    },
    "indicators": {"rsi_14": {"type": "rsi", "period": 14}, "macd_1": {"type": "macd"}},
    "fuzzy_sets": {"rsi_zone": {"indicator": "rsi_14", "low": [0, 25, 45], "high": [55, 75, 100]}},
    "nn_inputs": [
        {"fuzzy_set": "rsi_zone", "timeframes": "all"},
        {"raw_indicator": "macd_1.signal", "timeframes": ["1d"], "normalization": "zscore"},
    ],
    "model": {"type": "mlp", "features": {"lookback_periods": 1}},
    "training": {"labels": {"source": "zigzag"}},
}


@dataclass(frozen=True)
class Section:
    """One map of the grammar. `rest` is what a map of this kind needs besides the key in question, at path `where`."""

    title: str
    model: type[BaseModel]
    where: tuple[str, ...] | None
    meanings: dict[str, str]
    rest: dict[str, Any] = field(default_factory=dict)
    before: str = ""
    after: str = ""


def _labels(source: str, model: type[BaseModel], before: str, **meanings: str) -> Section:
    classes = vocabulary.LABEL_CLASSES[source]
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
    says = f"Classes: {numbered}." if classes else "No classes: the label is a number, so it needs `output_format: regression`."
    return Section(
        f"labels: {source}", model, ("training", "labels"), {"source": "what the label is made from"} | meanings,
        {"source": source}, f"{says} {before}",
    )  # fmt: skip


_TIMEFRAMES_KEY = "`all` for those of `training_data`, or some of them, in the order wanted"

TOP = Section(
    "The whole file", StrategySpec, (),
    {
        "name": "under which the strategy is stored",
        "version": "of the grammar; 3.0 without quotes is accepted",
        "description": "for people",
        "hypothesis": "for people: what you expect, and why",
        "scope": "for people: where it is meant to hold",
        "training_data": "[symbols, timeframes, dates](#training_data)",
        "indicators": "id → [indicator](#indicators)",
        "fuzzy_sets": "id → [fuzzy set](#fuzzy_sets); may be empty (`{}`) if all inputs are raw",
        "nn_inputs": "[what the network sees](#nn_inputs), in this order",
        "model": "[the network](#model)",
        "decisions": "[how probabilities become signals](#decisions)",
        "training": "[labels, splits, and how to train](#training); also accepted inside `model`, its older place",
    },
    {k: v for k, v in EXAMPLE.items() if k != "decisions"},
)  # fmt: skip

TRAINING_DATA = (
    Section(
        "training_data", schema.TrainingData, ("training_data",),
        {
            "symbols": "one of the two maps below",
            "timeframes": "one of the two maps below",
            "history_required": "bars to load before the start at least, as far as they are stored, so that indicators settle",
            "start_date": "first UTC day, inclusive; all that is stored if not given",
            "end_date": "last UTC day, inclusive; all that is stored if not given",
            "date_range": "the same two days as one map, in place of `start_date` and `end_date`",
        },
        EXAMPLE["training_data"],
        before="`--symbols`, `--timeframes`, `--start` and `--end` of `train` take the place of what stands here.",
    ),
    Section("symbols: single", schema.SingleSymbol, None, {"mode": "", "symbol": "as in `load_data`"}),
    Section(
        "symbols: multi_symbol", schema.SeveralSymbols, None,
        {"mode": "", "list": "one network learns from all of them; each is worked out by itself"},
    ),
    Section("timeframes: single", schema.SingleTimeframe, None, {"mode": "", "timeframe": "of the bars that rows are made from"}),
    Section(
        "timeframes: multi_timeframe", schema.SeveralTimeframes, None,
        {
            "mode": "", "list": "all different; their order is the order of features under `timeframes: all`",
            "base_timeframe": "if given, the highest frequency of the list: it is the one that rows are made from",
        },
    ),
    Section("date_range", schema.DateRange, None, {"start": "first UTC day, inclusive", "end": "last UTC day, inclusive"}),
)  # fmt: skip

FUZZY_SETS = (
    Section(
        "A fuzzy set", schema.FuzzySet, None,
        {
            "indicator": "an id, or `id.output`; a bare id means the primary output",
            "input_transform": "what is done to the value first",
        },
    ),
    Section(
        "input_transform", schema.InputTransform, None,
        {
            "type": "`identity`: as it is · `price_ratio`: value / close · `pct_of_price`: 100 · (value / close − 1); "
            "the close is that of the same bar of the same timeframe"
        },
    ),
    Section(
        "A membership", schema.Membership, None,
        {"type": "the shape", "parameters": "its points, see the table of shapes; `.inf` and `-.inf` where a shape allows them"},
    ),
)  # fmt: skip

NN_INPUTS = (
    Section(
        "A fuzzy input", schema.FuzzyInput, None,
        {"fuzzy_set": "an id of `fuzzy_sets`: one feature per membership", "timeframes": _TIMEFRAMES_KEY},
    ),
    Section(
        "A raw input", schema.RawInput, None,
        {
            "raw_indicator": "an id of `indicators`, or `id.output`: the number itself as a feature",
            "timeframes": _TIMEFRAMES_KEY,
            "normalization": "learned on the training rows only, over all symbols together, and fixed as the network's first "
            "layer. `zscore`: (x − mean) / deviation · `minmax`: (x − minimum) / range · `none`: as it is (warned about)",
        },
    ),
)  # fmt: skip

_LAGS = "keys below"
MODEL = (
    Section(
        "model: mlp", schema.Mlp, ("model",),
        {"type": "fully connected layers", "architecture": "keys below", "features": _LAGS}, {"type": "mlp"},
        before="The network gives one number (logit) per class, which become probabilities in evaluation and prediction. For "
        "labels that are numbers it gives one, the predicted return in training standard deviations.",
    ),
    Section(
        "architecture of mlp", schema.MlpArchitecture, ("model", "architecture"),
        {
            "hidden_layers": "width of each hidden layer, in order; an empty list gives a linear model",
            "activation": "after each hidden layer",
            "dropout": "share of values zeroed after each hidden layer while training, rounded to 1/65536",
        },
    ),
    Section(
        "model: lstm, gru", schema.Recurrent, ("model",),
        {"type": "recurrent layers over a window of base bars", "architecture": "keys below", "features": _LAGS},
        {"type": "lstm", "architecture": {"sequence_length": 2}},
        before="An example is a window: `sequence_length` base bars of one symbol, one stored after the other, each with all its "
        "features. Its last bar alone needs a label, and the network speaks on that bar. A window never holds bars of two sides "
        "of the split: rows whose window reaches back over a cut, or into the embargo behind it, belong to no side. Rows without "
        "a whole window are dropped and counted. Windows are formed before any row is dropped, and may begin before the start, "
        "as lags do. Predictions are made for bars with a whole window.",
    ),
    Section(
        "architecture of lstm, gru", schema.RecurrentArchitecture, None,
        {
            "sequence_length": "base bars in a window, its last one included", "hidden_size": "width of a layer",
            "num_layers": "layers on top of one another",
            "dropout": "share of values zeroed between layers while training; with one layer there is nothing between",
        },
    ),
    Section(
        "features", schema.Features, ("model", "features"),
        {"lookback_periods": "k adds every feature as it was 1, 2, … k base bars back"},
    ),
)  # fmt: skip

_STORED = "checked and stored; changes nothing in training or `predict` yet"
DECISIONS = (
    Section(
        "decisions", schema.Decisions, ("decisions",),
        {
            "output_format": "`classification` goes with labels that are classes, `regression` with labels that are numbers",
            "confidence_threshold": "the signal is the most probable class if its probability reaches this, "
            "else HOLD, or none where the label has no HOLD",
            "position_awareness": _STORED,
            "filters": "keys below",
            "cost_model": "keys below; needed by `regression`: a predicted return from round_trip_cost · min_edge_multiplier up "
            "is BUY, one from minus that down SELL, any other HOLD",
        },
        {"cost_model": {"round_trip_cost": 0.001, "min_edge_multiplier": 1.0}},
    ),
    Section(
        "filters", schema.Filters, None,
        {"min_signal_separation": f"bars between two signals; {_STORED}", "volume_filter": _STORED},
    ),
    Section(
        "cost_model", schema.CostModel, None,
        {
            "round_trip_cost": "of buying and selling, as a share of the price; also the cost in the label report",
            "min_edge_multiplier": "times the cost that a predicted return must reach to be a signal",
        },
    ),
)  # fmt: skip

TRAINING = (
    Section(
        "training", schema.Training, ("training",),
        {
            "labels": "[what the network learns to say](#labels)",
            "data_split": "keys below",
            "epochs": "passes over the training rows, at most",
            "batch_size": "rows per step",
            "learning_rate": "of the first epoch",
            "weight_decay": "adamw: decoupled; the others: added to the gradient",
            "seed": "of the first weights, the order of rows and dropout: the same seed gives the same weights",
            "optimizer": "sgd has momentum 0.9",
            "lr_scheduler": "a name, or the keys below",
            "loss": "`cross_entropy` and `focal` for classes, `huber` and `mse` for numbers; "
            "if not given, `cross_entropy` or `huber`",
            "focal_gamma": "of `focal`: −(1 − p)^γ · ln p of the true class",
            "huber_delta": "of `huber`, in training standard deviations of the target",
            "gradient_clip": "largest norm of all gradients together; 0 or less: no clipping",
            "early_stopping": "keys below",
            "class_weights": "`balanced`: rows / (classes · rows of the class), learned on the training rows; a class without "
            "training rows weighs 0 and is reported; without effect on labels that are numbers",
            "sampling": "`balanced`: every symbol weighs the same in an epoch",
            "precision": "of the products of a training step. `bfloat16` on CUDA, with float32 weights, optimizer, loss, "
            "validation and predictions; on another device the run computes in float32 and says so",
            "stability": "`off`, or the keys below",
        },
        EXAMPLE["training"],
    ),
    Section(
        "data_split", schema.DataSplit, ("training", "data_split"),
        {
            "train": "share of the base-bar times", "validation": "chooses the best epoch and the rate",
            "test": "measured once, after training; 0: none",
            "embargo": "share of the base-bar times left out after each cut",
        },
        before="The shares sum to 1. `--validation-split v` sets `validation` to v, keeps `test`, and gives `train` the rest.",
    ),
    Section(
        "lr_scheduler", schema.Scheduler, ("training", "lr_scheduler"),
        {
            "type": "`step`: rate × gamma^(epochs // step_size) · `exponential`: rate × gamma^epochs · `cosine`: down to "
            "min_rate over all epochs · `reduce_on_plateau`: rate × factor when the validation loss does not fall",
            "factor": "of `reduce_on_plateau`",
            "patience": "epochs without progress before `reduce_on_plateau` acts",
            "step_size": "epochs between two steps of `step`",
            "gamma": "of `step` (0.1 if not given) and `exponential` (0.95)",
            "min_rate": "the lowest rate, of `cosine` (0 if not given) and `reduce_on_plateau` (a ten-thousandth of "
            "learning_rate); 0 for none",
        },
    ),
    Section(
        "early_stopping", schema.EarlyStopping, ("training", "early_stopping"),
        {
            "enabled": "whether to stop at all",
            "patience": "epochs without progress before training stops",
            "min_delta": "what counts as progress; never what counts as best",
            "monitor": "what is watched on the validation rows. The weights of its strictly best epoch are the result. "
            "Labels that are numbers have `val_loss` only",
        },
    ),
    Section(
        "stability", schema.Stability, ("training", "stability"),
        {
            "rollback": "times to go back to the last good epoch and halve the learning rate when the run diverges: a loss, "
            "gradient or weight that is no finite number, or a training loss that rises for 3 epochs; 0: only numbers that are "
            "not finite end the run"
        },
    ),
)  # fmt: skip

_ZIGZAG = (
    "`window`: over the next `label_lookahead` bars, gain = (highest close − close) / close and loss = (close − lowest "
    "close) / close. BUY if gain ≥ threshold, gain > loss and the highest close is at least `min_swing_length` bars away; "
    "SELL mirrored; else HOLD. Known `label_lookahead` bars later.\n\n"
    "`segments`: rows of a rising leg are BUY, of a falling leg SELL, pivots HOLD. A pivot is an extreme followed by a "
    "reversal of at least the threshold. Known when the pivot that closes the leg is confirmed; rows outside the first and "
    "the last confirmed pivot have no label."
)
_BARRIER = (
    "σ is known at the bar. Upper barrier = close · (1 + pt_multiplier · σ), lower = close · (1 − sl_multiplier · σ). The "
    "first barrier that a high or low touches within `max_holding_period` bars decides; both in one bar: by that bar's "
    "close against the entry. No touch: the sign of the return, HOLD if it is smaller than ½ · σ · √max_holding_period. "
    "Known at the touch, or at the end of the holding period. A row without a whole holding period has no label."
)
_EVENTS = (
    "**Events.** With `cusum_threshold` only bars stay at which something happens: the rise, or the fall, of the log closes, "
    "cumulated since the last event of its side, reaches cusum_multiplier · σ of the bar before, and at least `cusum_threshold`. "
    "All others are dropped from features and labels alike, and counted. Predictions are made for every bar.\n\n"
    "**Weights.** With `compute_weights` a row counts in training as much as its label is unique: the mean of 1 / concurrency "
    "over the bars that the label looks at, where the concurrency of a bar is how many labels of the symbol's rows look at it. "
    "The mean over a symbol's training rows is made 1. The training loss is Σ w · l / Σ w with w the class weight times this "
    "weight; validation and test losses have class weights alone."
)
_REGIME = (
    "Two zigzags on the close, a coarse and a fine one. At bar t a reversal counts if it is at least `macro_atr_mult` "
    "(`micro_atr_mult`) times the median, over all bars up to t, of ATR(`atr_period`) / close. A leg is its opening coarse pivot "
    "and the bars before its closing one. With fewer than 4 fine pivots in it, both ends included, it is RANGING. Else it is "
    "UP if it rises and the share of its fine lows that are above the one before is at least `progression_tolerance`; DOWN if "
    "it falls and the share of its fine highs that are below the one before is; else RANGING. VOLATILE goes before all three: "
    "the deviation of the next `atr_period` log returns is more than `vol_crisis_threshold` times that of the last "
    "`vol_lookback`.\n\n"
    "Known when the coarse pivot that closes the leg is confirmed, or `atr_period` bars later if that is later; fine pivots "
    "confirmed after that pivot play no part. Rows outside the first and the last confirmed coarse pivot have no label."
)
LABELS = (
    _labels(
        "zigzag", schema.ZigzagLabels, _ZIGZAG,
        zigzag_threshold="size of a move, as a share of the price", label_lookahead="bars, mode `window`",
        min_swing_length="bars, mode `window`", mode="see above",
    ),
    _labels("forward_return", schema.ForwardReturnLabels, "close[t + horizon] / close[t] − 1.", horizon="bars"),
    _labels(
        "triple_barrier", schema.TripleBarrierLabels, f"{_BARRIER}\n\n{_EVENTS}",
        pt_multiplier="take-profit, in σ", sl_multiplier="stop-loss, in σ", max_holding_period="bars",
        vol_span="span of the exponential weights of σ, in bars",
        vol_method="`atr`: σ is the mean of (high − low) / close · `close`: the deviation of log returns",
        cusum_threshold="the least cumulated move that is an event, as a share of the price; no filter if not given",
        cusum_multiplier="the move that is an event, in σ of the bar before",
        compute_weights="weigh rows by how unique their labels are",
    ),
    _labels(
        "context", schema.ContextLabels,
        "The return over `horizon` bars: BULLISH at or above the upper threshold, BEARISH at or below the lower one, "
        "else NEUTRAL.",
        horizon="bars", bullish_threshold="above `bearish_threshold`", bearish_threshold="below `bullish_threshold`",
    ),
    _labels(
        "regime", schema.RegimeLabels, _REGIME,
        macro_atr_mult="reversal of the coarse zigzag, in ATR", micro_atr_mult="reversal of the fine zigzag, in ATR",
        atr_period="bars", vol_lookback="bars of past volatility", vol_crisis_threshold="next over past volatility for VOLATILE",
        progression_tolerance="share of fine lows (highs) that must rise (fall) for UP (DOWN)",
    ),
)  # fmt: skip

#: Every map of the grammar except the indicators, whose tables come from the vocabulary.
SECTIONS = (TOP, *TRAINING_DATA, *FUZZY_SETS, *NN_INPUTS, *MODEL, *DECISIONS, *TRAINING, *LABELS)
