"""`strategies diff`: what differs in meaning, what that changes, and the exit code."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from strategies_app.grammar.reader import read_strategy
from strategies_app.models import Strategy
from strategies_app.tools.comparison import compare
from tests.examples.strategy_texts import RIGHT, SAMPLES, changed

SAME_WEIGHTS = "both train the same weights"


def paths(after: str, before: str = RIGHT) -> dict[str, tuple[str, str]]:
    return {d.path: (d.before, d.after) for d in compare(read_strategy(before), read_strategy(after)).differences}


def effects(after: str, before: str = RIGHT) -> str:
    return "\n".join(compare(read_strategy(before), read_strategy(after)).effects)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_strategy_does_not_differ_from_itself_with_its_defaults_written_out(path: Path) -> None:
    spec = read_strategy(path.read_text(encoding="utf-8"))
    written_out = type(spec).model_validate(spec.plain())
    assert compare(spec, written_out).differences == ()


@pytest.mark.parametrize(("old", "new"), [
    ("timeframes: all}", "timeframes: [1d, 1w]}"), ("type: rsi, period: 14", "period: 14, source: close, type: rsi"),
    ("low: [0, 25, 45]", "low: {type: triangular, parameters: [0, 25, 45.0]}"), ("indicator: rsi_14", "indicator: rsi_14.value"),
    ("{mode: single, symbol: AAPL}", "{mode: multi_symbol, list: [AAPL]}"), ("epochs: 3", "epochs: 3\n  loss: cross_entropy"),
    ("type: mlp", "type: mlp\n  architecture: {dropout: 0.2}  # said"), ("epochs: 3", "epochs: 3\n  lr_scheduler: reduce_on_plateau"),
])  # fmt: skip
def test_another_way_of_writing_makes_no_difference(old: str, new: str) -> None:
    assert paths(changed(old, new)) == {}


def test_a_key_is_told_with_both_values_and_its_meaning() -> None:
    (difference,) = compare(read_strategy(RIGHT), read_strategy(changed("epochs: 3", "epochs: 9"))).differences
    assert difference.path == "training.epochs"
    assert (difference.before, difference.after) == ("3", "9")
    assert difference.meaning == "passes over the training rows, at most"


def test_only_the_model_differs() -> None:
    said = effects(changed("epochs: 3", "epochs: 9"))
    assert "Rows: the same." in said and "Network and training: changed." in said
    assert said.endswith("only the model and how it is trained differ, so results can be compared.")


def test_features_are_compared_by_how_they_are_made() -> None:
    assert "Features: the same 5 under other names." in effects(RIGHT.replace("rsi_zone", "zone"))
    assert effects(RIGHT.replace("rsi_zone", "zone")).endswith("but neither resumes the other.")
    said = effects(changed("period: 14", "period: 15"))
    assert "Features: 5 before, 5 after; 4 gone, 4 new." in said
    assert "Rows: not the same, since the features differ." in said and SAME_WEIGHTS not in said


def test_another_order_of_memberships_or_inputs_is_another_order_of_features() -> None:
    low, high = "    low: [0, 25, 45]\n", "    high: {type: sigmoid, parameters: [65, 5]}\n"
    turned = changed(low + high, high + low)
    assert paths(turned) == {"fuzzy_sets.rsi_zone.order of memberships": ("[low, high]", "[high, low]")}
    assert "Features: the same 5 in another order." in effects(turned) and SAME_WEIGHTS not in effects(turned)


def test_labels_splits_bars_and_signals_are_told_apart() -> None:
    labels = effects(changed("{source: zigzag}", "{source: context}"))
    assert "since the labels differ" in labels and "Labels: others" in labels
    splits = effects(changed("epochs: 3", "epochs: 3\n  data_split: {train: 0.6, validation: 0.2, test: 0.2}"))
    assert "Splits: others" in splits and "results are compared with care" in splits
    assert "since the bars differ" in effects(changed("symbol: AAPL", "symbol: IBM"))
    signals = effects(changed("confidence_threshold: 0.5", "confidence_threshold: 0.7"))
    assert "Signals: by other rules." in signals and SAME_WEIGHTS in signals


def test_an_indicator_that_nothing_uses_changes_no_weights() -> None:
    spare = changed("macd_1: {type: macd}", "macd_1: {type: macd}\n  spare: {type: sma, period: 200}")
    assert list(paths(spare)) == ["indicators.spare"] and SAME_WEIGHTS in effects(spare)


def test_a_longer_window_is_other_rows() -> None:
    lstm = "type: lstm\n  architecture: {sequence_length: %d}"
    said = effects(changed("type: mlp", lstm % 20), changed("type: mlp", lstm % 10))
    assert "Rows: not the same, since the windows differ." in said and "Features: the same 5" in said


def test_words_for_people_change_no_weights() -> None:
    assert SAME_WEIGHTS in effects(changed("name: right", "name: other\ndescription: of mine"))


def diff(*arguments: object) -> tuple[int, str]:
    """Exit code, and what is printed or the error."""
    output = StringIO()
    try:
        call_command("strategies", "diff", *map(str, arguments), stdout=output)
    except SystemExit as ended:
        return int(ended.code or 0), output.getvalue()
    except CommandError as error:
        return error.returncode, str(error)
    return 0, output.getvalue()


@pytest.mark.django_db
def test_the_command_ends_with_0_for_the_same_1_for_others_and_2_for_nothing_to_compare(tmp_path: Path) -> None:
    Strategy.objects.import_text(RIGHT)
    Strategy.objects.import_text(changed("epochs: 3", "epochs: 4"))
    file = tmp_path / "mine.yaml"
    file.write_text(changed("epochs: 3", "epochs: 4 # more"))
    assert diff("right", file) == (0, f"right@2 and {file} mean the same; 2 lines are written otherwise\n")
    code, output = diff("right@1", "right")
    assert code == 1 and output.startswith(
        "training.epochs: 3 → 4  (passes over the training rows, at most)\nFeatures: the same 5"
    )
    assert "-  epochs: 3\n+  epochs: 4" in diff("right@1", "right", "--text")[1]
    assert diff("right@7", "right") == (2, "strategy 'right' has no version 7, stored: 2, 1")
    assert diff("rihgt@1", "right") == (2, "no strategy 'rihgt' is stored, did you mean 'right'?")
    file.write_text("name: [")
    assert diff("right", file) == (2, f"{file} is not valid")
    assert diff("right", tmp_path / "none.yaml") == (2, f"{tmp_path}/none.yaml does not exist")
