"""The reference of the strategy grammar: schema, vocabulary and meanings → Markdown.

python -m strategies_app.tools.reference > docs/strategy-reference.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from strategies_app.grammar import vocabulary
from strategies_app.grammar.yaml_text import MAX_SIZE
from strategies_app.tools.meanings import DECISIONS, FUZZY_SETS, LABELS, MODEL, NN_INPUTS, TOP, TRAINING, TRAINING_DATA
from strategies_app.tools.reference_keys import section_blocks
from strategies_app.tools.reference_tables import feature_blocks, indicator_blocks, membership_blocks, timeframe_blocks

__all__ = ["COMMAND", "reference_markdown"]

COMMAND = "python -m strategies_app.tools.reference > docs/strategy-reference.md"


def reference_markdown() -> str:
    """The whole document."""
    blocks = [_HEAD, *section_blocks(TOP), *_grammar_parts(), *timeframe_blocks()]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


_HEAD = f"""\
# Strategy reference

A strategy is one YAML file. This page lists every key, indicator, membership and label of grammar version 3. It is made from
the tables that the reader itself checks with; do not edit it, run `{COMMAND}`.

New here? The [tutorial](tutorial.md) builds a strategy step by step, and the [samples](../strategies_app/samples) are commented.

- The file is UTF-8, at most {MAX_SIZE // 1024} KiB. Scalars are those of YAML 1.2: `ON` and `NO` are text, `1e-4` is a number.
- Anchors, aliases, merge keys, tags and duplicate keys are refused. So is every key that this page does not name.
- All problems are reported at once, with line, column, path and the nearest valid name: `ktrdr strategies validate FILE`.
- An **id** is of your choice: a letter, then letters, digits, `_` and `-`, at most 100. These are reserved:
  {", ".join(f"`{word}`" for word in sorted(vocabulary.RESERVED_IDS))}.
- A default of – means that the key may be left out; the last column says what happens then, if anything does."""


def _grammar_parts() -> Iterator[str]:
    yield "## training_data"
    for section in TRAINING_DATA:
        yield from section_blocks(section, level="" if section.title == "training_data" else "###")
    yield from indicator_blocks()
    yield "## fuzzy_sets"
    yield "A map from ids to fuzzy sets. Two sets may use one indicator."
    for section in FUZZY_SETS:
        yield from section_blocks(section)
    yield from membership_blocks()
    yield "## nn_inputs"
    yield "A list. It alone decides which features there are, and their order."
    for section in NN_INPUTS:
        yield from section_blocks(section)
    yield from feature_blocks()
    for heading, sections in (("model", MODEL), ("decisions", DECISIONS), ("training", TRAINING), ("labels", LABELS)):
        yield f"## {heading}"
        if heading == "labels":
            yield _LABELS_HEAD
        for section in sections:
            yield from section_blocks(section, level="" if section.title == heading else "###")


_LABELS_HEAD = """\
`training.labels` says what the network learns to say about a row. Labels are made on the base timeframe, per symbol, from bars
after the row's own, and from close prices unless said otherwise. A row whose look-ahead does not lie wholly inside the dates
has no label: it is dropped and counted, never called HOLD. When one class has more than 95 % of the training rows, the run
says so."""


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(reference_markdown())
