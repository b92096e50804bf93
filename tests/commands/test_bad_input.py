"""Whatever is wrong with what a user gives, the answer is one clear sentence and an exit code, and nothing is half-written."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from strategies_app.models import Strategy
from tests.examples.homes import STRATEGY, Home
from training.bars.series import load_samples
from training.models import Operation


@pytest.fixture
def bars(db: None, settings, tmp_path: Path) -> None:
    """The sample bars of one symbol, stored."""
    settings.STORE_DIR = tmp_path / "bars"
    load_samples("AAPL", "MSFT")


GOOD = STRATEGY.format(name="bad_input", epochs=1, batch_size=128)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere", "--inline"], 2, "no strategy 'nowhere' is stored"),
        (["nowhere.yaml", "--inline"], 2, "does not exist"),
        (["GOOD"], 1, "no worker is running: start one with `manage.py worker --tag cpu`"),
        ([], 2, "wanted a strategy"),
        (["GOOD", "--inline", "--resume", "op_training_1"], 2, "not both"),
        (["--inline", "--resume", "op_training_1"], 2, "no operation 'op_training_1'"),
        (["GOOD", "--inline", "--allow-inexact"], 2, "--allow-inexact goes with --resume"),
        (["--inline", "--resume", "op_training_1", "--detailed-analytics"], 2, "without --detailed-analytics"),
        (["GOOD", "--inline", "--symbols", "APPL"], 1, "no bars of APPL are stored, did you mean AAPL?"),
        (["GOOD", "--inline", "--timeframes", "1d,3w"], 2, "1w"),
        (["GOOD", "--inline", "--timeframes", "1h,1d"], 1, "no bars of AAPL at 1h or finer are stored, only 1d"),
        (["GOOD", "--inline", "--start", "1990-01-01", "--end", "1991-01-01"], 1, "no 1d bars of AAPL between 1990-01-01 and 1991-01-01"),
        (["GOOD", "--inline", "--start", "2010-13-01"], 2, "2010-13-01"),
        (["GOOD", "--inline", "--start", "2010-01-01", "--end", "2009-01-01"], 2, "--"),
        (["GOOD", "--inline", "--validation-split", "0.9"], 2, "--validation-split"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_in_a_sentence(
    bars: None, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    path = tmp_path / "bad_input.yaml"
    path.write_text(GOOD)
    before = Operation.objects.count(), Strategy.objects.count()
    with pytest.raises(CommandError) as refused:
        call_command("train", *(str(path) if a == "GOOD" else a for a in arguments))
    assert words in str(refused.value)
    assert refused.value.returncode == code
    assert (Operation.objects.count(), Strategy.objects.count()) == before


def test_a_refusal_is_a_line_on_the_error_stream_and_an_exit_code(home: Home) -> None:
    done = home.run("train", home.strategy("refused"), "--inline", "--start", "1990-01-01", "--end", "1991-01-01")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("CommandError: no 1d bars of AAPL between 1990-01-01 and 1991-01-01: stored are")
    assert done.stderr.count("\n") == 1
    wrong = home.run("train", home.strategy("refused"), "--inline", "--symbols", ",")
    assert wrong.returncode == 2
    assert "wanted at least one name" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("type: rsi,", "type: rsii,", "did you mean 'rsi'"),
        ("period: 14", "perid: 14", "did you mean 'period'"),
        ("period: 14", "period: 1", "2"),
        ("type: rsi, period: 14", "type: zigzag", "repaints"),
        ("type: rsi, period: 14", "type: supertrend, perod: 14", "did you mean 'period'"),
        (
            "type: mlp, architecture: {hidden_layers: [16], dropout: 0.3}",
            "type: lstm, architecture: {sequence_lenght: 8}",
            "did you mean 'sequence_length'",
        ),
        ("low: [0, 30, 50]", "low: [50, 30, 0]", "a ≤ b ≤ c"),
        ("fuzzy_set: zone", "fuzzy_set: zoen", "did you mean 'zone'"),
        (
            "source: zigzag, zigzag_threshold: 0.04, label_lookahead: 10",
            "source: regime, macro_atr: 3",
            "did you mean 'macro_atr_mult'",
        ),
        ("batch_size: 128", "batch_sise: 128", "did you mean 'batch_size'"),
        ("name: bad_input", "name: &a bad_input", "anchor"),
    ],
)
def test_a_wrong_strategy_is_refused_with_its_line(db: None, tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    path = tmp_path / "wrong.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(CommandError) as refused:
        call_command("train", str(path), "--inline")
    assert refused.value.returncode == 2
    assert words in str(refused.value)
    assert "line " in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("label_lookahead: 10", "label_lookahead: 9000", "looks at least 9000 bars ahead"),
        ("zigzag_threshold: 0.04", "zigzag_threshold: 0.9", "every training row has the class HOLD"),
        (
            "source: zigzag, zigzag_threshold: 0.04, label_lookahead: 10",
            "source: regime, macro_atr_mult: 100",
            "no leg of the regime's macro zigzag is confirmed",
        ),
        ("start_date: 2003-01-01", "start_date: 2010-12-28", "wanted at least 100; choose more days"),
        ("label_lookahead: 10", "label_lookahead: 1600", "split has no rows"),
        (
            "2010-12-31\nindicators:\n  rsi_14: {type: rsi, period: 14}",
            "2005-12-31\nindicators:\n  rsi_14: {type: sma, period: 450}",
            "all its features",
        ),
    ],
)
def test_a_strategy_that_leaves_nothing_to_learn_says_why(home: Home, old: str, new: str, words: str) -> None:
    assert old in GOOD
    path = home.folder / "empty.yaml"
    path.write_text(GOOD.replace("name: bad_input", "name: nothing_left").replace(old, new))
    done = home.run("train", str(path), "--inline")
    assert done.returncode == 1
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_one_class_above_95_percent_is_a_warning_before_training(home: Home) -> None:
    path = home.folder / "one_sided.yaml"
    text = GOOD.replace("name: bad_input", "name: one_sided").replace("zigzag_threshold: 0.04", "zigzag_threshold: 0.2")
    path.write_text(text)
    done = home.run("train", str(path), "--dry-run")
    assert "of the training rows are HOLD: a model that always says HOLD is right that often" in done.stdout


def test_before_the_database_is_set_up_every_command_says_so(tmp_path: Path) -> None:
    empty = Home(tmp_path)
    path = tmp_path / "strategy.yaml"
    path.write_text(GOOD)
    for arguments in (["models", "list"], ["train", "--inline", "--resume", "op_training_1"], ["predict", "a-1", "AAPL", "1d"]):
        done = empty.run(*arguments)
        assert done.returncode == 1, done.stderr
        assert "the database is not set up yet" in done.stderr


def test_a_missing_model_names_the_nearest_one(home: Home) -> None:
    done = home.run("predict", "no_such_model", "AAPL", "1d")
    assert done.returncode == 2
    assert "no model 'no_such_model'" in done.stderr
