"""The label report says of the training rows what a plain count over each label's own life says, and nothing of other rows."""

from __future__ import annotations

import json
import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest

from strategies_app.grammar.schema import DataSplit, StrategySpec
from tests.examples.pipeline import LABEL_SECTIONS, label_id, market_with_holes, run_bars, strategy
from tests.laws.test_causality import changed_after
from training.pipeline.checks import ASSUMED_COST, label_report
from training.pipeline.dataset import build_dataset
from training.pipeline.features import duration
from training.pipeline.frames import bar_times
from training.pipeline.splits import cut_rows
from training.results import metric_table

SYMBOLS = ("AAA", "BBB")
SIDE = {"BUY": 1, "BULLISH": 1, "UP": 1, "SELL": -1, "BEARISH": -1, "DOWN": -1}


def frames() -> dict[str, pd.DataFrame]:
    return {s: market_with_holes("1h", "4h", 20 + n, bars=700, buckets=190) for n, s in enumerate(SYMBOLS)}


def example(labels: dict[str, Any], cost: float | None = None) -> StrategySpec:
    spec = strategy({"it": {"type": "rsi", "period": 3}}, symbols=SYMBOLS, labels=labels)
    if cost is None:
        return spec
    return StrategySpec.model_validate(
        spec.plain() | {"decisions": {"cost_model": {"round_trip_cost": cost, "min_edge_multiplier": 1.0}}}
    )


def report_of(spec: StrategySpec, market: dict[str, pd.DataFrame]) -> dict[str, Any]:
    bars = run_bars(spec, {s: {"1h": market[s]} for s in SYMBOLS})
    dataset = build_dataset(spec, bars)
    return label_report(spec, bars, dataset, cut_rows(dataset, DataSplit()))


def by_hand(spec: StrategySpec, market: dict[str, pd.DataFrame], cost: float) -> dict[str, Any]:
    """Row after row, class after class."""
    dataset = build_dataset(spec, run_bars(spec, {s: {"1h": market[s]} for s in SYMBOLS}))
    rows, train = dataset.rows, cut_rows(dataset, DataSplit()).train
    names = spec.class_names or ("above the cost", "within the cost", "below minus the cost")
    side = {**SIDE, "above the cost": 1, "below minus the cost": -1}
    seen: dict[str, list[tuple[float, float, int]]] = {name: [] for name in names}
    runs: dict[str, list[int]] = {name: [] for name in names}
    before, longest, gains = None, 0, []
    apart, free = 0, dict.fromkeys(range(len(SYMBOLS)), -1)
    for row in train:
        frame = market[SYMBOLS[rows.symbols[row]]]
        times, close = bar_times(frame).tolist(), frame["close"].tolist()
        begin, end = times.index(rows.times[row]), times.index(rows.label_ends[row] - duration("1h"))
        value = rows.labels[row]
        name = names[value] if spec.class_names else names[0 if value > cost else 2 if value < -cost else 1]
        life = close[begin + 1 : end + 1]
        up, down = max(life) / close[begin] - 1, 1 - min(life) / close[begin]
        long = side.get(name, 0) > 0 or (side.get(name, 0) == 0 and up >= down)
        best, bars = (up, life.index(max(life)) + 1) if long else (down, life.index(min(life)) + 1)
        change = close[end] / close[begin] - 1
        seen[name].append((change, best, bars))
        gains += [side[name] * change - cost] if name in side else []
        if name in side and begin >= free[rows.symbols[row]]:
            apart, free[rows.symbols[row]] = apart + 1, max(end, begin + 1)
        longest = max(longest, end - begin)
        if before == (rows.symbols[row], name):
            runs[name][-1] += 1
        else:
            runs[name].append(1)
        before = (rows.symbols[row], name)
    classes = [
        {
            "name": name, "direction": side.get(name, 0), "rows": len(found), "share": len(found) / len(train),
            "median_run": statistics.median(runs[name]) if found else None, "longest_run": max(runs[name], default=None),
            "expected_return": statistics.fmean(f[0] for f in found) if found else None,
            "best_return": statistics.fmean(f[1] for f in found) if found else None,
            "bars_to_target": statistics.median(f[2] for f in found) if found else None,
        }
        for name, found in seen.items()
    ]  # fmt: skip
    return {
        "rows": len(train), "longest_look_ahead": longest, "cost": cost, "classes": classes,
        "trades": len(gains), "independent_trades": apart,
        "fitness": statistics.fmean(gains) if gains else None,
        "paying_share": sum(g > 0 for g in gains) / len(gains) if gains else None,
    }  # fmt: skip


@pytest.mark.parametrize("section", LABEL_SECTIONS, ids=label_id)
@pytest.mark.parametrize("cost", [None, 0.0004])
def test_every_figure_is_that_of_a_plain_count(section: dict[str, Any], cost: float | None) -> None:
    market, spec = frames(), example(section, cost)
    found = report_of(spec, market)
    assert found.pop("cost_assumed") is (cost is None)
    expected = by_hand(spec, market, ASSUMED_COST if cost is None else cost)
    classes, expected_classes = found.pop("classes"), expected.pop("classes")
    assert found == pytest.approx(expected)
    assert [c["name"] for c in classes] == [c["name"] for c in expected_classes]
    for one, other in zip(classes, expected_classes, strict=True):
        assert one == {key: value if value is None or key == "name" else pytest.approx(value) for key, value in other.items()}
    assert sum(c["share"] for c in classes) == pytest.approx(1.0)
    json.dumps(found | {"classes": classes}, allow_nan=False)


@pytest.mark.parametrize("section", LABEL_SECTIONS, ids=label_id)
def test_bars_after_the_first_cut_change_no_figure(section: dict[str, Any]) -> None:
    """Training rows are known at the cut, so nothing that judges is told by their labels."""
    market, spec = frames(), example(section)
    dataset = build_dataset(spec, run_bars(spec, {s: {"1h": market[s]} for s in SYMBOLS}))
    cut = cut_rows(dataset, DataSplit()).cuts[0]
    altered = {s: changed_after(frame, bar_times(frame) + duration("1h") <= cut, 5) for s, frame in market.items()}
    assert report_of(spec, market) == report_of(spec, altered)


def test_a_class_without_rows_has_no_figures_and_no_direction_no_fitness() -> None:
    flat = example({"source": "zigzag", "zigzag_threshold": 0.9, "label_lookahead": 5})
    found = report_of(flat, frames())
    assert found["fitness"] is None and found["paying_share"] is None
    buy, hold, _ = found["classes"]
    assert buy["rows"] == 0 and buy["median_run"] is None and hold["share"] == 1.0
    assert metric_table.label_lines(found)[0] == ("BUY", ("0", "0.0%", "–", "–", "–", "–", "–"))
    assert "nothing to trade on" in metric_table.label_worth(found)


def test_the_cost_is_taken_off_every_trade_and_named_where_it_is_assumed() -> None:
    market, section = frames(), LABEL_SECTIONS[0]
    free, dear = (report_of(example(section, cost), market) for cost in (0.0, 0.01))
    assert dear["fitness"] == pytest.approx(free["fitness"] - 0.01)
    assert dear["paying_share"] < free["paying_share"]
    assumed = report_of(example(section), market)
    assert "0.10% (assumed: the strategy has no cost_model)" in metric_table.label_worth(assumed)
    assert "assumed" not in metric_table.label_worth(dear) and "1.00%" in metric_table.label_worth(dear)


def test_words_hold_the_figures() -> None:
    told = report_of(example(LABEL_SECTIONS[0]), frames())
    lines = dict(metric_table.label_lines(told))
    assert list(lines) == ["BUY", "HOLD", "SELL"] and all(len(cells) == len(metric_table.COLUMNS) for cells in lines.values())
    assert lines["SELL"][4].startswith("−") and lines["SELL"][5].startswith("+")
    assert lines["BUY"][0] == f"{told['classes'][0]['rows']:,}"
    assert np.isclose(float(lines["BUY"][1].rstrip("%")) / 100, told["classes"][0]["share"], atol=0.0006)


def test_a_handful_of_labels_is_counted_and_never_praised() -> None:
    """A threshold that the market rarely reaches: what few trades would have earned says nothing."""
    market = frames()
    rare = example({"source": "zigzag", "zigzag_threshold": 0.06, "label_lookahead": 10})
    told = report_of(rare, market)
    assert 0 < told["independent_trades"] < metric_table.FEWEST_TRADES and told["independent_trades"] < told["trades"]
    said = metric_table.label_worth(told)
    assert f"{told['independent_trades']} independent trade" in said and "too few" in said and "earn +" not in said
    enough = told | {"independent_trades": metric_table.FEWEST_TRADES}
    assert "%" not in said and "30 of them independent" in metric_table.label_worth(enough)
    plan = {
        "class_names": ["BUY", "HOLD"],
        "class_shares": {"train": {"BUY": 3 / 8000, "HOLD": 7997 / 8000}},
        "split": {"rows": {"train": 8000}},
    }
    assert metric_table.split_cells(plan, "train") == [("0.0% (3)", False), ("100.0% (7,997)", True)]
