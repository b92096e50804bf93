"""`strategies migrate`: a version 2 file becomes the same strategy in version 3, and what is lost is named with its line."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from strategies_app.grammar.reader import StrategyError, read_strategy
from strategies_app.grammar.schema import StrategySpec, feature_names
from strategies_app.tools.older_words import kind_of, known_timeframe
from strategies_app.tools.upgrade import AlreadyVersion3, Upgraded, upgraded
from tests.examples.strategy_texts import RIGHT, SAMPLES, changed

OLD = """\
# On the euro.
name: "old rules"   # short
version: "2.0"
training_data:
  symbols: {mode: multi_symbol, list: [AAPL, MSFT]}
  timeframes: {mode: single, timeframe: 1D}
# where it runs
deployment:
  target_symbols: {mode: universal}
indicators:
  # momentum
  - name: rsi
    feature_id: rsi_14   # its id
    period: 14
  - {name: MACD, feature_id: macd_12_26_9, fast: 12, slow: 26, signal: 9}
  - {name: bollinger_bands, length: 20, std: 2.0, colour: red}
fuzzy_sets:
  rsi_14:
    oversold: {type: triangular, parameters: [0, 20, 40]}   # cheap # and low
    overbought: {type: trapezoid, params: [60, 80, 100, 100]}
  macd_12_26_9:
    positive: {type: sigmoid, parameters: [0, 2]}
  bollinger_bands_upper:
    input_transform: {type: price_ratio, reference: close}
    near: {type: gaussian, mean: 1.0, sigma: 0.02}
model:
  type: MLP
  architecture: {hidden_layers: [50, 25], activation: ReLU, output_activation: softmax}
  features: {include_price_context: true, lookback_periods: 1}
  training:
    learning_rate: 0.01   # fast
    epochs: 90
    early_stopping: true
training:
  method: supervised
  epochs: 80
  labels: {source: zigzag, threshold: 0.05, label_lookahead: 20}
  data_split: {train: 70, val: 15, test: 15}
# the end
"""


def line_of(words: str, text: str = OLD) -> int:
    """The number of the one line that holds the words."""
    found = [number for number, line in enumerate(text.splitlines(), 1) if words in line]
    assert len(found) == 1, words
    return found[0]


@pytest.fixture(scope="module")
def new() -> Upgraded:
    return upgraded(OLD)


@pytest.fixture(scope="module")
def spec(new: Upgraded) -> StrategySpec:
    return read_strategy(new.text)


def test_indicators_are_a_map_from_their_feature_ids(spec: StrategySpec) -> None:
    made = {name: (i.type, i.parameters) for name, i in spec.indicators.items()}
    assert made["rsi_14"] == ("rsi", {"period": 14, "source": "close"})
    assert made["macd_12_26_9"] == ("macd", {"fast_period": 12, "slow_period": 26, "signal_period": 9, "source": "close"})
    assert made["bbands_20"] == ("bbands", {"period": 20, "multiplier": 2.0, "source": "close"})


def test_fuzzy_sets_name_the_indicator_that_they_were_named_after(spec: StrategySpec) -> None:
    assert {name: s.indicator for name, s in spec.fuzzy_sets.items()} == {
        "rsi_14": "rsi_14", "macd_12_26_9": "macd_12_26_9", "bollinger_bands_upper": "bbands_20.upper",
    }  # fmt: skip
    points = {(s, m): (v.type, v.parameters) for s, f in spec.fuzzy_sets.items() for m, v in f.memberships.items()}
    assert points["rsi_14", "overbought"] == ("trapezoidal", [60, 80, 100, 100])
    assert points["bollinger_bands_upper", "near"] == ("gaussian", [1.0, 0.02])
    assert spec.fuzzy_sets["bollinger_bands_upper"].input_transform.type == "price_ratio"


def test_each_fuzzy_set_is_one_input_in_their_order(spec: StrategySpec) -> None:
    assert [entry.fuzzy_set for entry in spec.nn_inputs] == list(spec.fuzzy_sets)
    assert feature_names(spec)[:4] == [
        "1d_rsi_14_oversold", "1d_rsi_14_overbought", "1d_macd_12_26_9_positive", "1d_bollinger_bands_upper_near",
    ]  # fmt: skip


def test_training_inside_the_model_becomes_part_of_the_section_which_wins(new: Upgraded, spec: StrategySpec) -> None:
    assert (spec.training.learning_rate, spec.training.epochs, spec.training.early_stopping.enabled) == (0.01, 80, True)
    assert (line_of("epochs: 90"), "model.training.epochs") in [(n.line, n.path) for n in new.left_out]


def test_other_spellings_are_read(spec: StrategySpec) -> None:
    assert (spec.name, spec.timeframes, spec.symbols) == ("old_rules", ("1d",), ("AAPL", "MSFT"))
    assert (spec.model.type, spec.model.architecture.activation) == ("mlp", "relu")
    assert spec.training.labels.zigzag_threshold == 0.05
    assert spec.training.data_split.validation == 0.15


def test_all_that_has_no_place_is_named_with_its_line_and_kept_as_a_comment(new: Upgraded) -> None:
    lost = {
        "deployment": "deployment:", "indicators[2].colour": "colour", "model.architecture.output_activation": "softmax",
        "model.features.include_price_context": "include_price_context", "model.training.epochs": "epochs: 90",
        "training.method": "supervised",
    }  # fmt: skip
    assert {note.path: note.line for note in new.left_out} == {path: line_of(words) for path, words in lost.items()}
    end = new.text.partition("# Left out")[2]
    assert [word for word in ("universal", "red", "softmax", "true", "90", "supervised") if word not in end] == []


def test_no_comment_is_lost(new: Upgraded) -> None:
    comments = (
        "# On the euro.",
        "# short",
        "# momentum",
        "# its id",
        "# cheap # and low",
        "# fast",
        "# where it runs",
        "# the end",
    )
    assert [comment for comment in comments if new.text.count(comment) != 1] == []
    assert "\n  # momentum\n  # its id\n  rsi_14: {" in new.text
    assert "oversold: [0, 20, 40]  # cheap" in new.text


def test_what_is_written_is_plain_yaml(new: Upgraded) -> None:
    assert yaml.safe_load(new.text)["indicators"]["rsi_14"] == {"type": "rsi", "period": 14}


def test_a_version_3_strategy_is_left_as_it_is() -> None:
    for text in (RIGHT, *(path.read_text(encoding="utf-8") for path in SAMPLES), changed("epochs: 3", "epochs: 0")):
        with pytest.raises(AlreadyVersion3):
            upgraded(text)


def refused(text: str) -> list[tuple[int | None, str, str]]:
    with pytest.raises(StrategyError) as caught:
        upgraded(text)
    return [(p.line, p.path, p.message) for p in caught.value.problems]


def test_a_broken_file_is_refused_at_the_lines_of_the_file() -> None:
    unknown = changed("name: rsi", "name: rsx", OLD)
    assert refused(unknown)[0] == (line_of("rsx", unknown), "indicators[0]", "unknown indicator 'rsx', did you mean 'rsi'?")
    other = changed("  macd_12_26_9:\n", "  momentum:\n", OLD)
    assert refused(other) == [
        (line_of("  momentum:", other), "fuzzy_sets.momentum",
         ("fuzzy set 'momentum' stands on 'momentum', but no indicator is called so, wanted one of rsi_14, macd_12_26_9, "
          "bbands_20; add 'indicator: ID' to it")),
    ]  # fmt: skip
    wide = changed("[0, 20, 40]", "[50, 20, 40]", OLD)
    assert refused(wide)[0][0] == line_of("[50, 20, 40]", wide)
    late = changed("period: 14", "period: 1400", OLD)
    assert refused(late) == [(line_of("1400", late), "indicators.rsi_14.period", "seen 1400, wanted at most 100")]


def test_two_indicators_of_one_id_are_refused() -> None:
    two = changed("feature_id: macd_12_26_9", "feature_id: rsi_14", OLD)
    assert "the id 'rsi_14' is that of indicators[0] as well, wanted two ids" in [message for *_, message in refused(two)]


def test_a_name_that_several_indicators_share_asks_which() -> None:
    two = changed("name: MACD, feature_id: macd_12_26_9, fast: 12, slow: 26, signal: 9", "name: rsi, period: 21", OLD)
    two = changed("  macd_12_26_9:\n", "  rsi:\n", two)
    assert "fuzzy set 'rsi' stands on 'rsi', but rsi_14, rsi_21 are meant by it; add 'indicator: ID' to it" in str(refused(two))


@pytest.mark.parametrize("text", ["", "- a\n", "a: &x 1\nb: *x\n", "name: [\n", "name: x\n", "\x00"])
def test_what_is_no_strategy_is_refused(text: str) -> None:
    assert refused(text)


def mutations() -> Iterator[str]:
    """The old text, each time with another value left out or replaced by what does not belong there."""
    data = yaml.safe_load(OLD)

    def places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        yield path
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
            yield from places(inner, (*path, key))

    for number, path in enumerate(list(places(data, ()))[1:]):
        whole = copy.deepcopy(data)
        holder = whole
        for part in path[:-1]:
            holder = holder[part]
        wrong = (None, "x y", [[{"a": [1]}]], {"type": {"b": 1}}, ...)[number % 5]
        if wrong is ...:
            del holder[path[-1]]
        else:
            holder[path[-1]] = wrong
        yield yaml.safe_dump(whole, sort_keys=False)


def test_whatever_stands_anywhere_is_migrated_or_refused_in_words() -> None:
    outcomes = set()
    for text in mutations():
        try:
            result = upgraded(text)
        except (StrategyError, AlreadyVersion3) as error:
            outcomes.add(type(error))
        else:
            read_strategy(result.text)
            outcomes.add(Upgraded)
    assert {Upgraded, StrategyError} <= outcomes


@pytest.mark.parametrize(("spelling", "kind"), [
    ("RSI", "rsi"), ("SimpleMovingAverage", "sma"), ("simple_moving_average", "sma"), ("weighted_moving_average", "wma"),
    ("BollingerBands", "bbands"), ("Stochastic Oscillator", "stochastic"), ("williams_r", "williamsr"), ("PSAR", "parabolicsar"),
    ("RSIIndicator", "rsi"), ("zigzag", "zigzag"),
])  # fmt: skip
def test_kinds_are_known_by_many_names(spelling: str, kind: str) -> None:
    found = kind_of(spelling)
    assert found is not None and found.name == kind


def test_timeframes_are_known_by_many_names() -> None:
    names = {"H1": "1h", "60m": "1h", "M15": "15m", "daily": "1d", "1D": "1d", "W1": "1w", "240min": "4h", "1M": None, "3h": None}
    assert {name: known_timeframe(name) for name in names} == names


def migrate(*arguments: object) -> tuple[str, str]:
    """What `strategies migrate …` prints, and what it says beside it."""
    output, beside = StringIO(), StringIO()
    call_command("strategies", "migrate", *map(str, arguments), stdout=output, stderr=beside)
    return output.getvalue(), beside.getvalue()


def refusal(*arguments: object) -> tuple[int, str]:
    with pytest.raises(CommandError) as caught:
        migrate(*arguments)
    return caught.value.returncode, str(caught.value)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.yaml"
    path.write_text(OLD)
    return path


def test_the_command_prints_the_text_alone_and_says_the_rest_beside_it(old: Path, new: Upgraded) -> None:
    text, beside = migrate(old)
    assert text == new.text
    assert f"{old}:{line_of('deployment:')}: deployment: version 3 has no place for it, left out" in beside
    assert f"{old}:{line_of('fast: 12')}: indicators[1].fast: parameter 'fast' is called 'fast_period'" in beside


def test_a_file_that_is_there_is_written_over_only_when_asked(old: Path, new: Upgraded) -> None:
    out = old.with_name("new.yaml")
    assert migrate(old, "--to", out)[0] == ""
    assert out.read_text() == new.text
    out.write_text("mine")
    assert refusal(old, "--to", out) == (2, f"{out} is there already; --force writes over it")
    assert out.read_text() == "mine"
    migrate(old, "--to", out, "--force")
    assert out.read_text() == new.text


def test_in_place_changes_the_file_and_nothing_when_it_is_refused(old: Path, new: Upgraded) -> None:
    old.chmod(0o600)
    migrate(old, "--in-place")
    assert old.read_text() == new.text and old.stat().st_mode & 0o777 == 0o600
    assert "is a version 3 strategy already" in migrate(old, "--in-place")[1]
    broken = changed("name: rsi", "name: rsx", OLD)
    old.write_text(broken)
    assert refusal(old, "--in-place") == (2, f"{old} was not migrated, nothing is written")
    assert old.read_text() == broken
    assert list(old.parent.iterdir()) == [old]


def test_a_place_that_cannot_be_written_is_said(old: Path) -> None:
    out = old.parent / "nowhere" / "new.yaml"
    assert refusal(old, "--to", out) == (1, f"{out} cannot be written: No such file or directory")
    assert refusal(old.with_name("none.yaml"))[0] == 2
