"""Bars made or changed in a notebook come through the same gate as stored ones: what is wrong with them is one sentence."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from strategies_app.grammar.reader import read_strategy
from strategies_app.grammar.schema import StrategySpec
from training.bars.series import SAMPLE_BARS
from training.pipeline.arguments import WrongArgument
from training.pipeline.bars import read_bars, write_bars
from training.pipeline.frames import bar_times, fingerprint
from training.pipeline.gate import admitted
from training.pipeline.loading import RunBars
from training.pipeline.synthetic import make_bars
from training.recipe import FeatureCache, load_bars, predict_bars, prepare, train_strategy
from training.store.coverage import DataError, day_start
from training.testing import indicator_laws, label_laws, network_laws

TEXT = """
name: trial
version: "3.0"
training_data:
  symbols: {mode: single, symbol: AAPL}
  timeframes: {mode: single, timeframe: 1d}
  start_date: 2005-01-01
  end_date: 2011-12-31
indicators:
  speed: {type: roc, period: 5}
fuzzy_sets:
  speed:
    indicator: speed
    falling: {type: sigmoid, parameters: [0.0, -1.0]}
    rising: {type: sigmoid, parameters: [0.0, 1.0]}
nn_inputs: [{fuzzy_set: speed, timeframes: all}]
model: {type: mlp, architecture: {hidden_layers: [4]}}
training:
  labels: {source: zigzag, zigzag_threshold: 0.03}
  epochs: 1
  seed: 1
"""
SPEC = read_strategy(TEXT)
Edit = Callable[[pd.DataFrame], Any]


@pytest.fixture(scope="module")
def bars() -> RunBars:
    return load_bars(SPEC, SAMPLE_BARS)


@pytest.fixture(scope="module")
def bundle(bars: RunBars) -> Any:
    return train_strategy(SPEC, bars, strategy_text=TEXT, device="cpu")


def copy_of(bars: RunBars, edit: Edit = lambda frame: frame) -> RunBars:
    """The same run with other bars, everything else as it was."""
    frame = bars.frames["AAPL"]["1d"].copy(deep=True)
    edited = edit(frame)
    return dataclasses.replace(bars, frames={"AAPL": {"1d": frame if edited is None else edited}})


def put(column: str, place: int, value: float) -> Edit:
    def edit(frame: pd.DataFrame) -> None:
        frame.iloc[place, frame.columns.get_loc(column)] = value

    return edit


def high_under_low(frame: pd.DataFrame) -> None:
    frame.iloc[7, [1, 2]] = frame.iloc[7, [2, 1]].to_numpy() - 0.01


def text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({"close": str})


def with_time(frame: pd.DataFrame, place: int, time: Any) -> pd.DataFrame:
    index = frame.index.to_series()
    index.iloc[place] = time
    return frame.set_index(pd.DatetimeIndex(index))


#: What is done to sound bars → the sentence.
WRONG: dict[str, tuple[Edit, str]] = {
    "shuffled": (lambda f: f.sample(frac=1, random_state=1), "the times do not strictly increase at"),
    "reversed": (lambda f: f.iloc[::-1], "the times do not strictly increase at"),
    "doubled": (lambda f: pd.concat([f, f]).sort_index(), "the times do not strictly increase at"),
    "one twice": (lambda f: pd.concat([f.iloc[:5], f.iloc[4:]]), "the times do not strictly increase at 1 bar, first at"),
    "negative": (lambda f: f * [-1, -1, -1, -1, 1], "bars with a price that is not positive, first at"),
    "one zero": (put("low", 3, 0.0), "1 bar with a price that is not positive, first at"),
    "no close": (put("close", 3, np.nan), "1 bar with a missing price, first at .*; leave such bars out"),
    "endless": (put("high", 3, np.inf), "1 bar with an infinite value, first at"),
    "high below low": (high_under_low, "1 bar with a high below open, close or low"),
    "negative volume": (put("volume", 3, -5.0), "1 bar with a negative volume"),
    "naive times": (lambda f: f.tz_localize(None), "not stamped in UTC, .* and the times name no zone: tz_localize"),
    "times of New York": (lambda f: f.tz_convert("America/New_York"), r"not stamped in UTC, .* in America/New_York: tz_convert\('UTC'\)"),
    "no times": (lambda f: f.reset_index(drop=True), "not stamped in UTC, .* and the index is a RangeIndex"),
    "texts as times": (lambda f: f.set_index(f.index.astype(str)), "not stamped in UTC, .* and the index is a Index"),
    "a bar without a time": (lambda f: with_time(f, 9, pd.NaT), "not stamped in UTC, .* and a bar has no time"),
    "no close column": (lambda f: f.drop(columns="close"), "no column close; wanted open, high, low, close, volume"),
    "capital letters": (lambda f: f.rename(columns=str.title), "no column open, high, low, close, volume; wanted"),
    "two levels of columns": (lambda f: pd.concat({"AAPL": f}, axis=1), "no column open, high, low, close, volume; wanted"),
    "two closes": (lambda f: pd.concat([f, f["close"]], axis=1), "more than one column close; wanted one of each"),
    "texts as prices": (text, "the column close holds str and not plain numbers; wanted float64"),
    "objects as prices": (lambda f: f.astype({"open": object}), "the column open holds object and not plain numbers"),
    "no bars": (lambda f: f.iloc[:0], "0 bars in the range, wanted at least 1"),
    "weeks": (lambda f: f.iloc[:: 5].set_index(pd.date_range("2015-01-05", periods=len(f.iloc[::5]), freq="7D", tz="UTC")), "the bars are 7 d apart, not 1 d; load them as 1w"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_no_bars_can_be_is_refused_before_a_training_and_a_prediction(what: str, bars: RunBars, bundle: Any) -> None:
    edit, words = WRONG[what]
    wrong = copy_of(bars, edit)
    for act in (
        lambda: train_strategy(SPEC, wrong, device="cpu"),
        lambda: prepare(SPEC, wrong),
        lambda: predict_bars(bundle, "AAPL", wrong.frames["AAPL"], wrong.start),
    ):
        with pytest.raises(DataError, match=f"^AAPL 1d: .*{words}") as refused:
            act()
        assert "\n" not in str(refused.value)


def test_all_that_is_wrong_is_told_at_once(bars: RunBars) -> None:
    wrong = copy_of(bars, lambda f: pd.concat([f, f * -1]))
    with pytest.raises(DataError, match="and 4 more findings that stop it") as refused:
        prepare(SPEC, wrong)
    kinds = [finding.kind for finding in refused.value.findings]
    assert kinds == ["times_out_of_order", "price_not_positive", "high_too_low", "low_too_high", "negative_volume"]


def test_whole_numbers_and_narrow_ones_are_bars_too(bars: RunBars) -> None:
    whole = copy_of(bars, lambda f: (f * 1000).round().astype("int64"))
    assert len(prepare(SPEC, whole).dataset.rows) > 1000
    assert len(prepare(SPEC, copy_of(bars, lambda f: f[["volume", "close", "low", "high", "open"]])).dataset.rows) > 1000


# --- what was changed after it was loaded ------------------------------------------------------


def test_bars_as_they_were_loaded_pass_untouched(bars: RunBars) -> None:
    assert admitted(SPEC, bars) is bars
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.pipeline.gate.bar_values", None)  # nothing is looked through again
        assert admitted(SPEC, bars) is bars


def test_a_copy_with_the_same_values_passes_too(bars: RunBars) -> None:
    assert admitted(SPEC, copy_of(bars)).fingerprints == bars.fingerprints


def test_changed_bars_are_told_and_get_a_fingerprint_of_their_own(bars: RunBars, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache", 10**9)
    before = prepare(SPEC, bars, cache=cache)
    changed = copy_of(bars, lambda f: f * [1.5, 1.5, 1.5, 1.5, 1.0])
    changed.frames["AAPL"]["1d"].iloc[900:, :4] *= 1.2
    frame = changed.frames["AAPL"]["1d"]
    after = prepare(SPEC, changed, cache=cache)
    assert "AAPL 1d: the bars were changed after they were loaded, and are used as they are now" in after.notes
    assert not any("from the cache" in note for note in after.notes)
    assert (after.dataset.rows.features != before.dataset.rows.features).any()
    assert admitted(SPEC, changed).fingerprints["AAPL"]["1d"] == fingerprint(frame) != bars.fingerprints["AAPL"]["1d"]
    bundle = train_strategy(SPEC, changed, device="cpu")
    assert bundle.fingerprints == {"AAPL": {"1d": fingerprint(frame)}}


def test_bars_made_by_hand_never_share_rows_in_the_cache(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache", 10**9)

    def made(seed: int) -> RunBars:
        frame = make_bars(900, "1d", seed, start="2015-01-05")
        times = bar_times(frame)
        return RunBars({"AAPL": {"1d": frame}}, int(times[0]), int(times[-1]) + 1, {"AAPL": times}, {}, {}, {})

    rows = [prepare(SPEC, made(seed), cache=cache).dataset.rows for seed in (1, 2)]
    assert rows[0].features.shape != rows[1].features.shape or (rows[0].features != rows[1].features).any()


def in_place(frame: pd.DataFrame) -> None:
    frame.iloc[3, 3] *= 1.001


def by_column(frame: pd.DataFrame) -> None:
    frame["volume"] = frame["volume"] + 1.0


def by_label(frame: pd.DataFrame) -> None:
    frame.loc[frame.index[-1], "close"] = frame["high"].iloc[-1]


def by_name(frame: pd.DataFrame) -> None:
    frame.columns = pd.Index(["close", "high", "low", "open", "volume"])


def by_index(frame: pd.DataFrame) -> None:
    frame.index = frame.index + pd.Timedelta(days=7)


@pytest.mark.parametrize("edit", [in_place, by_column, by_label, by_name, by_index])
def test_whatever_is_written_into_a_loaded_frame_is_seen(edit: Callable[[pd.DataFrame], None]) -> None:
    bars = load_bars(SPEC, SAMPLE_BARS)
    assert admitted(SPEC, bars) is bars
    edit(bars.frames["AAPL"]["1d"])
    try:
        seen = admitted(SPEC, bars)
    except DataError:  # high and low do not hold the prices any more
        return
    assert seen.fingerprints["AAPL"]["1d"] == fingerprint(bars.frames["AAPL"]["1d"]) != bars.fingerprints["AAPL"]["1d"]


# --- a run that does not hold together ---------------------------------------------------------


def without(name: str) -> Callable[[RunBars], RunBars]:
    return lambda bars: dataclasses.replace(bars, **{name: {}})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("frames"), "bars.frames has no AAPL, it has nothing"),
        (lambda b: dataclasses.replace(b, frames={"AAPL": {"1h": b.frames["AAPL"]["1d"]}}), "AAPL: the strategy needs 1d bars, given are 1h"),
        (lambda b: dataclasses.replace(b, frames={"AAPL": b.frames["AAPL"]["1d"]}), r"bars.frames\['AAPL'\] is a DataFrame, wanted its bars by timeframe"),
        (lambda b: dataclasses.replace(b, frames={"AAPL": {"1d": None}}), "AAPL 1d is None, wanted a pandas DataFrame of bars"),
        (lambda b: dataclasses.replace(b, frames={"AAPL": {"1d": b.frames["AAPL"]["1d"].to_numpy()}}), "AAPL 1d is a ndarray, wanted a pandas DataFrame"),
        (lambda b: dataclasses.replace(b, frames=None), "bars.frames is None, wanted symbol → timeframe → bars"),
        (lambda b: dataclasses.replace(b, clock=None), "bars.clock is None, wanted symbol → times of its base bars"),
        (without("clock"), r"bars.clock\['AAPL'\] is None, wanted the opens of its base bars"),
        (lambda b: dataclasses.replace(b, clock={"AAPL": b.clock["AAPL"][5:]}), "does not hold the opens of all 1d bars inside the dates"),
        (lambda b: dataclasses.replace(b, clock={"AAPL": b.clock["AAPL"].astype(float)}), r"bars.clock\['AAPL'\] is a ndarray, wanted the opens"),
        (lambda b: dataclasses.replace(b, start=dt.date(2005, 1, 1)), "bars.start is a date, wanted µs since 1970 UTC as a whole number"),
        (lambda b: dataclasses.replace(b, start=1_420_070_400), "bars.start is 1420070400, which in µs is 1970-01-01 00:23:40.070400; wanted µs"),
        (lambda b: dataclasses.replace(b, end="2020-01-01"), "bars.end is a str, wanted µs since 1970 UTC as a whole number"),
        (lambda b: dataclasses.replace(b, end=day_start(dt.date(2011, 1, 1))), "252 bars at or after the end 2011-01-01, first at 2011-01-03"),
        (lambda b: None, r"bars is None, wanted what load_bars\(spec, folder\) gives"),
        (lambda b: dict(b.frames), r"bars is a dict, wanted what load_bars\(spec, folder\) gives"),
        (lambda b: b.frames["AAPL"]["1d"], r"bars is a DataFrame, wanted what load_bars\(spec, folder\) gives"),
    ],
)  # fmt: skip
def test_what_is_no_run_of_bars_is_a_sentence(change: Callable[[RunBars], Any], words: str, bars: RunBars) -> None:
    for act in (lambda: train_strategy(SPEC, change(bars), device="cpu"), lambda: prepare(SPEC, change(bars))):
        with pytest.raises(DataError, match=words):
            act()


# --- wrong arguments ---------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [None, Path("strategy.yaml"), TEXT, {"name": "x"}, StrategySpec])
def test_what_is_no_strategy_is_a_sentence(spec: Any, bars: RunBars) -> None:
    for act in (lambda: load_bars(spec, SAMPLE_BARS), lambda: prepare(spec, bars), lambda: train_strategy(spec, bars)):
        with pytest.raises(
            TypeError, match=r"^the strategy is .*, wanted what strategies_app.grammar.reader.read_strategy.text. gives$"
        ) as refused:
            act()
        assert isinstance(refused.value, DataError)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"callback": "x"}, "callback is a str, wanted an object with on_stage, on_batch_end, on_epoch_end"),
        ({"note": None}, "note is None, wanted a function"),
        ({"on_checks": 3}, "on_checks is an int, wanted a function"),
        ({"on_analytics": []}, "on_analytics is a list, wanted a function"),
        ({"strategy_text": Path("x")}, "strategy_text is a PosixPath, wanted the text that the strategy was read from"),
        ({"device": "gpu"}, "device is 'gpu', wanted one of None, cpu.*"),
        ({"threads": 0}, "threads is 0, wanted a whole number of at least 1"),
        ({"data_threads": "2"}, "data_threads is a str, wanted a whole number of at least 1"),
        ({"threads": True}, "threads is a bool, wanted a whole number of at least 1"),
        ({"resume": Path("x")}, "resume is a PosixPath, wanted a checkpoint's parts or None"),
        ({"cache": "/tmp"}, "cache is a str, wanted a FeatureCache or None"),
        ({"resident_limit": "1"}, "resident_limit is a str, wanted a number of bytes or None"),
        ({"memory_limit": 1.5}, "memory_limit is a float, wanted a number of bytes or None"),
    ],
)
def test_what_a_training_does_not_take_is_a_sentence(given: dict[str, Any], words: str, bars: RunBars) -> None:
    with pytest.raises(WrongArgument, match=f"^{words}$"):
        train_strategy(SPEC, bars, **given)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (lambda bundle, bars: (None, "AAPL", bars.frames["AAPL"], bars.start), "bundle is None, wanted what train_strategy or load_bundle gives"),
        (lambda bundle, bars: ("models/x", "AAPL", bars.frames["AAPL"], bars.start), "bundle is a str, wanted what"),
        (lambda bundle, bars: (bundle, None, bars.frames["AAPL"], bars.start), "symbol is None, wanted the name of a symbol"),
        (lambda bundle, bars: (bundle, "AAPL", None, bars.start), "frames is None, wanted the bars of one symbol by timeframe"),
        (lambda bundle, bars: (bundle, "AAPL", bars, bars.start), "frames is a RunBars, wanted the bars of one symbol by timeframe"),
        (lambda bundle, bars: (bundle, "AAPL", bars.frames, bars.start), "frames has AAPL, wanted the bars of one symbol by timeframe"),
        (lambda bundle, bars: (bundle, "AAPL", bars.frames["AAPL"]["1d"], bars.start), "frames is a DataFrame, wanted the bars of one symbol"),
        (lambda bundle, bars: (bundle, "AAPL", {"1h": bars.frames["AAPL"]["1d"]}, bars.start), "AAPL: the strategy needs 1d bars, given are 1h"),
        (lambda bundle, bars: (bundle, "AAPL", {"1d": bars.frames["AAPL"]["1d"]["close"]}, bars.start), "AAPL 1d is a Series, wanted a pandas DataFrame"),
        (lambda bundle, bars: (bundle, "AAPL", bars.frames["AAPL"], "2019-01-01"), "start is a str, wanted µs since 1970 UTC as a whole number"),
        (lambda bundle, bars: (bundle, "AAPL", bars.frames["AAPL"], dt.datetime(2019, 1, 1)), "start is a datetime, wanted µs"),
        (lambda bundle, bars: (bundle, "AAPL", bars.frames["AAPL"], pd.Timestamp("2019-01-01")), "start is a Timestamp, wanted µs"),
        (lambda bundle, bars: (bundle, "AAPL", bars.frames["AAPL"], None), "start is None, wanted µs"),
        (lambda bundle, bars: (bundle, "AAPL", bars.frames["AAPL"], 1_546_300_800), "start is 1546300800, which in µs is 1970-01-01"),
    ],
)  # fmt: skip
def test_what_a_prediction_does_not_take_is_a_sentence(arguments: Any, words: str, bars: RunBars, bundle: Any) -> None:
    with pytest.raises(DataError, match=f"^{words}"):
        predict_bars(*arguments(bundle, bars))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"root": None}, "the folder of stored bars is None, wanted a path"),
        ({"root": 7}, "the folder of stored bars is an int, wanted a path"),
        ({"threads": 0}, "threads is 0, wanted a whole number of at least 1"),
        ({"first_bars": 1}, "first_bars is an int, wanted those of a bundle or None"),
        ({"sources": []}, "sources is a list, wanted those of a bundle or None"),
        ({"on_stage": "x"}, "on_stage is a str, wanted a function"),
    ],
)
def test_what_loading_does_not_take_is_a_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongArgument, match=f"^{words}$"):
        load_bars(SPEC, **{"root": SAMPLE_BARS, **given})


def test_a_folder_may_be_given_as_text(bars: RunBars) -> None:
    assert load_bars(SPEC, str(SAMPLE_BARS)).fingerprints == bars.fingerprints  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given", [{"folder": "x", "limit": 1}, {"folder": Path("x"), "limit": None}, {"folder": None, "limit": 1}]
)
def test_a_cache_of_nothing_is_a_sentence(given: dict[str, Any]) -> None:
    with pytest.raises(WrongArgument, match=r"^the cache's (folder|limit) is .*, wanted a"):
        FeatureCache(**given)


@pytest.mark.parametrize("laws", [indicator_laws, label_laws, network_laws])
@pytest.mark.parametrize("name", [None, ["rsi"], 3])
def test_the_law_kit_takes_names(laws: Any, name: Any) -> None:
    with pytest.raises(WrongArgument, match=r"^the name is .*, wanted the name of an? (indicator|label|network)$"):
        laws(name)


# --- bars that a person vouches for ------------------------------------------------------------


def test_bars_that_were_told_at_load_can_be_predicted_and_hand_made_ones_say_it_in_their_attrs(
    bars: RunBars, bundle: Any
) -> None:
    frame = bars.frames["AAPL"]["1d"].iloc[::5]
    weeks = frame.set_index(pd.date_range("2000-01-05", periods=len(frame), freq="7D", tz="UTC"))
    with pytest.raises(DataError, match="7 d apart"):
        predict_bars(bundle, "AAPL", {"1d": weeks}, 0)
    weeks.attrs["timeframe_is_right"] = True
    assert len(predict_bars(bundle, "AAPL", {"1d": weeks}, 0).times) > 100


def test_a_stored_series_is_held_to_it_once(tmp_path: Path, bars: RunBars) -> None:
    write_bars(tmp_path, "AAPL", "1d", read_bars(SAMPLE_BARS, "AAPL", "1d"))
    assert load_bars(SPEC, tmp_path).fingerprints == bars.fingerprints


def test_the_callback_need_only_have_the_three_methods(bars: RunBars) -> None:
    quiet = SimpleNamespace(on_stage=lambda *a: None, on_batch_end=lambda *a: None, on_epoch_end=lambda *a: None)
    assert train_strategy(SPEC, bars, callback=quiet, device="cpu").symbols == ("AAPL",)
