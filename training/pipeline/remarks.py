"""Remarks: what a run has to say of its symbols, one sentence each → what it says of many of them, said once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from training.store.coverage import named

#: So many sentences that differ in symbol and figures alone are read one by one.
FEW = 3
_FIGURES = re.compile(r"\d[\d,.:%-]*")


def gathered(remarks: Iterable[str], symbols: Sequence[str]) -> list[str]:
    """The remarks in order, each once. More than FEW that begin with a symbol and differ in it and in their figures alone
    become the first of them, with the names of the others behind it."""
    known, alike = set(symbols), dict[str, dict[str, str]]()
    for remark in remarks:
        symbol, _, rest = remark.partition(" ")
        shape = f" {_FIGURES.sub('#', rest)}" if symbol in known else remark
        alike.setdefault(shape, {})[remark] = symbol
    told: list[str] = []
    for same in alike.values():
        first, *others = same
        if len(same) <= FEW:
            told += same
            continue
        names = list(dict.fromkeys(same[remark] for remark in others))
        told.append(f"{first}; likewise {len(names):,} more: {named(names)}")
    return told
