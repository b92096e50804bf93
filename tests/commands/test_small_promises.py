"""What a command says at its edges: wrong use is exit code 2, odd times and changed bars are told, its help lists what is ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from strategies_app.grammar.reader import StrategyError, read_strategy
from strategies_app.models import Strategy
from tests.examples.api import TEXT, start
from tests.examples.homes import ROOT, Home
from tests.pipeline.test_loading import spec_of
from training.bars.series import SAMPLE_BARS, store_frame
from training.models import Operation
from training.pipeline.bars import read_bars, write_bars
from training.pipeline.frames import bar_frame, bar_times, bar_values
from training.pipeline.loading import load_bars
from training.pipeline.prepare import prepare
from training.pipeline.synthetic import make_bars
from training.store.coverage import DataError
from training.workers.attempt import run_operation
from training.workers.prediction import open_model, predict_stored


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "nothing-1", "AAPL", "1d"),
        ("models", "show", "nothing-1"),
        ("operations", "show", "op_nothing"),
        ("operations", "list", "--status", "sleeping"),
        ("operations", "list", "--limit", "-1"),
        ("data", "NOPE"),
        ("tokens", "revoke", "ktrdr_none"),
    ],
)
def test_wrong_use_is_exit_code_2_and_a_sentence(arguments: tuple[str, ...], home: Home) -> None:
    done = home.run(*arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr


def test_the_console_script_lists_our_commands_only() -> None:
    code = "import sys; sys.argv = ['ktrdr', '--help']; from ktrdr_site.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True
    )
    listed = [line.split()[0] for line in done.stdout.splitlines()[2:]]
    folders = [ROOT / app / "management" / "commands" for app in ("strategies_app", "training")]
    own = {path.stem for folder in folders for path in folder.glob("*.py")} - {"__init__"}
    assert listed == sorted(own | {"migrate"})


def test_a_bomb_of_anchors_is_one_problem() -> None:
    text = "a: &a [x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9))
    with pytest.raises(StrategyError) as refused:
        read_strategy(text)
    told = [problem for problem in refused.value.problems if "anchor" in problem.message or "alias" in problem.message]
    assert len(told) == 1 and "90 more anchors or aliases follow" in told[0].message


@pytest.mark.django_db
def test_bars_of_times_to_come_are_warned_of(settings: Any, tmp_path: Path) -> None:
    settings.STORE_DIR = tmp_path
    assert not [w for w in store_frame("NOW", "1d", make_bars(50, "1d"), source="x").warnings if "after today" in w]
    late = store_frame("LATE", "1d", make_bars(50, "1d", start="9999-01-01"), source="x")
    assert "50 bars after today, the last at 9999-02-19 00:00" in late.warnings
    assert "50 bars after today, the last at 9999-02-19 00:00" in late.series.quality["warnings"]


def test_bars_of_the_warm_up_do_not_count_as_bars_to_train_on(tmp_path: Path) -> None:
    write_bars(tmp_path, "AAA", "1d", make_bars(1000, "1d", start="2015-01-05"))
    mean = {"mean": {"type": "sma", "period": 3}}
    few = spec_of(("1d",), start=500, end=598, indicators=mean)
    with pytest.raises(DataError, match=r"AAA 1d: 99 bars between .*, wanted at least 100"):
        prepare(few, load_bars(few, tmp_path))


@pytest.mark.django_db(transaction=True)
def test_a_prediction_says_when_the_bars_of_its_training_were_changed(settings: Any, tmp_path: Path) -> None:
    settings.STORE_DIR = tmp_path / "bars"
    whole = read_bars(SAMPLE_BARS, "AAPL", "1d")
    store_frame("AAPL", "1d", whole, source="sample")
    operation = start(Strategy.objects.import_text(TEXT))
    assert run_operation(operation.pk, 1, device="cpu") == "completed"
    bundle = open_model(Operation.objects.get(pk=operation.pk).trained_model.name)

    def told() -> list[str]:
        return [
            n for n in predict_stored(bundle, "AAPL", "1d", "2009-01-01", None, recent=False)[1] if "since it was trained" in n
        ]

    assert told() == []
    times = bar_times(whole)
    middle = int((whole.index < "2005-06-01").sum())
    changed = bar_values(whole)[:, middle : middle + 1].copy()
    changed[4] += 1
    store_frame("AAPL", "1d", bar_frame(times[middle : middle + 1], changed), source="mended", replace=True)
    assert told() == ["the stored bars of AAPL 1d, 1w from 2003-01-01 to 2010-12-31 were changed since it was trained on them"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("kind", "words", "told"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has …", "CUDA out of memory"),
        (
            "RuntimeError",
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory",
            "the allocation failed",
        ),
    ],
)
def test_memory_that_runs_out_in_the_optimizer_is_told_in_a_sentence(
    kind: str, words: str, told: str, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from training.trainer.engine import Reference

    settings.STORE_DIR = tmp_path / "bars"
    store_frame("AAPL", "1d", read_bars(SAMPLE_BARS, "AAPL", "1d"), source="sample")

    def step(self: Reference, x: Any, y: Any, w: Any, watch: Any) -> Any:
        self.gradients.of(x, y, w)
        raise getattr(torch, kind, RuntimeError)(words)

    monkeypatch.setattr(Reference, "_step", step)
    operation = start(Strategy.objects.import_text(TEXT))
    assert run_operation(operation.pk, 1, device="cpu") == "failed"
    error = Operation.objects.get(pk=operation.pk).error
    assert error.startswith(f"there is not enough memory for this run ({told}") and "wanted a smaller network" in error
    assert "\n" not in error
