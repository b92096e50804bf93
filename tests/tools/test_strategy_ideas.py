"""`strategies new`: every idea is a strategy that explains itself, and that trains on the sample bars."""

from __future__ import annotations

import math
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from strategies_app.grammar.reader import read_strategy, warnings_of
from strategies_app.grammar.schema import feature_names
from strategies_app.starters import begun, ideas
from tests.examples.api import Examples
from training.pipeline.loading import load_bars
from training.recipe import train_strategy
from training.sample_bars.build import HERE as SAMPLE_BARS


def new(*arguments: object) -> str:
    output = StringIO()
    call_command("strategies", "new", *map(str, arguments), stdout=output, stderr=StringIO())
    return output.getvalue()


def refusal(*arguments: object) -> tuple[int, str]:
    with pytest.raises(CommandError) as caught:
        new(*arguments)
    return caught.value.returncode, str(caught.value)


@pytest.mark.parametrize("idea", ideas())
def test_an_idea_is_a_whole_strategy_with_comments_and_nothing_to_warn_of(idea: str) -> None:
    spec = read_strategy(begun("mine", idea))
    assert spec.name == "mine" and spec.description and spec.hypothesis
    assert warnings_of(spec) == []
    assert sum("#" in line for line in ideas()[idea].text.splitlines()) >= 6


@pytest.mark.parametrize("idea", ideas())
def test_an_idea_trains_on_the_sample_bars(idea: str) -> None:
    text = begun("mine", idea).replace("  epochs: 40\n", "  epochs: 1\n")
    spec = read_strategy(text, symbols=["AAPL"], start="2005-01-01")
    bundle = train_strategy(spec, load_bars(spec, SAMPLE_BARS), strategy_text=text)
    assert spec.training.epochs == 1
    assert bundle.feature_names == tuple(feature_names(spec))
    assert bundle.metrics["test"]["rows"] > 50 and math.isfinite(bundle.metrics["test"]["loss"])


def test_ideas_cover_the_labels_that_are_for_different_questions() -> None:
    sources = {read_strategy(idea.text).training.labels.source for idea in ideas().values()}
    assert {"zigzag", "context", "triple_barrier", "regime"} <= sources
    assert {"mean_reversion", "trend_following", "breakout", "volatility_regime", "event_driven"} <= set(ideas())


def test_without_a_name_the_ideas_are_listed() -> None:
    lines = new().splitlines()
    assert [line.split()[0] for line in lines] == list(ideas())
    assert all(idea.glance.description in line for idea, line in zip(ideas().values(), lines, strict=True))


def test_a_new_strategy_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert new("mine", "--idea", "breakout") == ""
    assert Path("mine.yaml").read_text() == begun("mine", "breakout")
    assert refusal("mine") == (2, "mine.yaml is there already; --force writes over it")
    assert Path("mine.yaml").read_text() == begun("mine", "breakout")
    new("mine", "--force")
    assert Path("mine.yaml").read_text() == begun("mine") == new("mine", "--to", "-")


def test_a_name_that_yaml_would_take_for_a_number_is_quoted() -> None:
    assert read_strategy(begun("007")).name == "007"


def test_what_cannot_be_begun_is_said(tmp_path: Path) -> None:
    assert refusal("mine", "--idea", "breakuot") == (2, "unknown idea 'breakuot', did you mean 'breakout'?")
    assert refusal("mine", "--idea", "zzz")[1].startswith("unknown idea 'zzz', wanted one of mean_reversion, ")
    assert refusal("my idea", "--to", tmp_path / "x.yaml")[1].startswith("seen 'my idea', wanted a name of letters")
    assert refusal("--idea", "breakout") == (2, "a name is missing: strategies new NAME --idea IDEA")
    assert list(tmp_path.iterdir()) == []


def test_the_editor_offers_the_ideas_and_begins_with_one(examples: Examples) -> None:
    trainer = examples.signed_in("trainer")
    page = trainer.get("/strategies/new/").content.decode()
    assert '<optgroup label="Ideas">' in page and '<option value="breakout"' in page
    chosen = trainer.get("/strategies/new/", {"idea": "breakout"}).content.decode()
    assert "name: breakout" in chosen.partition("<textarea")[2]
