"""What a command line or a request asks for in place of a strategy's own values: plain data → plain data."""

from __future__ import annotations

import copy
from typing import Any

from strategies_app.grammar.schema import StrategySpec, highest_frequency
from strategies_app.grammar.wording import Finding, dotted, value_at

#: Where a problem stands and which option may have brought it in.
_OPTION_OF = {
    ("training_data", "symbols"): "--symbols",
    ("training_data", "timeframes"): "--timeframes",
    ("training_data", "start_date"): "--start",
    ("training_data", "end_date"): "--end",
    ("training", "data_split"): "--validation-split",
    ("nn_inputs",): "--timeframes",
}


def overridden(spec: StrategySpec, data: dict[str, Any], given: dict[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
    """A copy of `data` (which made `spec`) with the values of the `given` options, and what cannot be done."""
    data, findings = copy.deepcopy(data), []
    section = data["training_data"]
    if (symbols := given.get("--symbols")) is not None:
        section["symbols"] = (
            {"mode": "single", "symbol": symbols[0]} if len(symbols) == 1 else {"mode": "multi_symbol", "list": symbols}
        )
    if (timeframes := given.get("--timeframes")) is not None:
        section["timeframes"] = _timeframes(timeframes, value_at(section, ("timeframes", "base_timeframe")))
    if "--start" in given or "--end" in given:
        section.pop("date_range", None)
        dates = {
            "start_date": given.get("--start", spec.training_data.start),
            "end_date": given.get("--end", spec.training_data.end),
        }
        section.update({key: day for key, day in dates.items() if day is not None})
    if (share := given.get("--validation-split")) is not None:
        split = spec.training.data_split
        rest = round(1 - share - split.test, 12)  # 1 − 0.2 − 0.15 is 0.6500000000000001
        if not share > 0 or not rest > 0:
            wanted = f"above 0 and, with the test split's {split.test:g}, below 1"
            findings.append(Finding(("training", "data_split"), f"seen {share:g}, wanted {wanted}"))
        data["training"]["data_split"] = {"train": rest, "validation": share, "test": split.test, "embargo": split.embargo}
    return data, findings


def _timeframes(timeframes: list[str], base: str | None) -> dict[str, Any]:
    if len(timeframes) == 1:
        return {"mode": "single", "timeframe": timeframes[0]}
    section: dict[str, Any] = {"mode": "multi_timeframe", "list": timeframes}
    try:
        still_right = base == highest_frequency(timeframes)
    except (KeyError, ValueError):  # an unknown timeframe, or none: the schema says so
        still_right = False
    return section | {"base_timeframe": base} if still_right else section


def option_of(finding: Finding, given: dict[str, Any]) -> tuple[str, None, None, str]:
    """Path, line, column and message of a problem that an option brought in: the option is its path."""
    option = next((o for path, o in _OPTION_OF.items() if finding.path[: len(path)] == path and o in given), None)
    if option is None and finding.path == ("training_data",):
        option = next((o for o in ("--start", "--end") if o in given), None)
    says_it_all = option is not None and finding.path[:1] != ("nn_inputs",)
    message = finding.message if says_it_all else f"{dotted(finding.path)}: {finding.message}"
    return option or ", ".join(given), None, None, message
