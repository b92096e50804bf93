"""How figures and refusals are written on the pages; whatever a text holds, it stays a text."""

from __future__ import annotations

from typing import Any

import pytest

from training.templatetags import words


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (None, "–"),
        (1.105321, "1.10532"),
        (431.25, "431.25"),
        (18_400_000.0, "18,400,000"),
        (1234.5, "1,234.5"),
        (0.00001234, "0.00001234"),
        (0, "0"),
    ],
)
def test_prices(number: Any, written: str) -> None:
    assert words.price(number) == written


def test_figures_that_are_not_there_are_a_dash() -> None:
    for write in (words.thousands, words.share, words.figure):
        assert write(None) == write("") == "–"
    assert (words.thousands(1234567), words.share(0.5214), words.figure(-0.0261)) == ("1,234,567", "52.1%", "-0.026")


@pytest.mark.parametrize(
    ("count", "written"),
    [(0, "–"), (900, "900 bytes"), (88_500, "88.5 KB"), (200_000_000, "200 MB"), (25_300_000_000, "25.3 GB")],
)
def test_sizes(count: int, written: str) -> None:
    assert words.size(count) == written


def test_a_refusal_becomes_a_sentence_with_its_commands_set_apart() -> None:
    told = words.coded(words.sentence("no worker: start `manage.py up`"))
    assert told == "No worker: start <code>manage.py up</code>."
    assert words.sentence("") == "" and words.sentence("did you mean AAPL?") == "Did you mean AAPL?"
    assert words.sentence("bars.csv is empty") == "bars.csv is empty." and words.sentence("1h.csv: line 2") == "1h.csv: line 2."
    assert words.sentence("there.") == "There."
    assert words.coded("a ` alone <b>") == "a ` alone &lt;b&gt;"
    assert words.coded("`<script>` and <b>") == "<code>&lt;script&gt;</code> and &lt;b&gt;"
