"""`strategies list | validate | show | features | vocabulary | import`: strategies stored and in files. Others: `tools`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from strategies_app.management.tools import ToolActions

if TYPE_CHECKING:
    from strategies_app.grammar.reader import Problem, StrategyError
    from strategies_app.grammar.schema import StrategySpec
    from strategies_app.stored import FoundStrategy


class Command(ToolActions):
    help = "Lists, checks, shows, imports, compares and migrates strategies, and begins new ones."
    requires_system_checks = ()  # `validate PATH` needs no database and starts at once

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=argparse.ArgumentParser)
        actions.add_parser("list", help="the stored strategies")
        validate = actions.add_parser("validate", help="every problem of stored strategies or files, with line and column")
        validate.add_argument("strategies", nargs="+", metavar="NAME_OR_PATH")
        show = actions.add_parser("show", help="the text of a stored strategy")
        show.add_argument("strategy", metavar="NAME")
        show.add_argument("--version", type=int, dest="number", metavar="N", help="a version number; the newest if not given")
        features = actions.add_parser("features", help="what the network sees, in its order")
        features.add_argument("strategy", metavar="NAME_OR_PATH")
        actions.add_parser("vocabulary", help="every indicator, label and network, and the package that adds it")
        importing = actions.add_parser("import", help="store files as strategies; a changed text is a new version")
        importing.add_argument("paths", nargs="+", metavar="PATH")
        self.add_tools(actions)

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        getattr(self, f"_{action}")(options)

    def _list(self, options: dict[str, Any]) -> None:
        from strategies_app.models import StrategyVersion

        versions = list(StrategyVersion.objects.select_related("strategy").order_by("strategy__name", "number"))
        if not versions:
            self.stdout.write("No strategy is stored yet: `strategies import PATH` stores one.")
            return
        newest = {version.strategy_id: version for version in versions}
        rows = [(v.strategy.name, str(v.number), f"{v.created:%Y-%m-%d %H:%M}", v.source_path or "–") for v in newest.values()]
        self._table(("name", "versions", "newest (UTC)", "from"), rows)

    def _validate(self, options: dict[str, Any]) -> None:
        wrong = [name for name in options["strategies"] if not self._is_valid(name)]
        if wrong:
            raise CommandError(f"{len(wrong)} of {len(options['strategies'])} not valid: {', '.join(wrong)}", returncode=2)

    def _is_valid(self, name_or_path: str) -> bool:
        from strategies_app.grammar.reader import StrategyError, read_strategy, warnings_of
        from strategies_app.grammar.schema import feature_names
        from strategies_app.stored import UnknownStrategy, find_strategy

        label = name_or_path
        try:
            found = find_strategy(name_or_path)
            label = found.label
            spec = read_strategy(found.text)
        except UnknownStrategy as error:
            self.stdout.write(f"{label}: {error}")
            return False
        except StrategyError as error:
            self._write_problems(label, error)
            return False
        self.stdout.write(f"{label}: valid, {len(feature_names(spec))} features, labels {spec.training.labels.source}")
        for warning in warnings_of(spec):
            self.stdout.write(f"{label}: warning: {warning}")
        return True

    def _show(self, options: dict[str, Any]) -> None:
        found = self._found(options["strategy"], options["number"])
        self.stdout.write(found.text, ending="" if found.text.endswith("\n") else "\n")

    def _features(self, options: dict[str, Any]) -> None:
        from strategies_app.grammar.schema import feature_names

        found = self._found(options["strategy"])
        spec = self._read(found)
        names = feature_names(spec)
        self.stdout.write(f"{spec.name}: {len(names)} features, in the order in which the network takes them")
        for number, name in enumerate(names):
            self.stdout.write(f"{number:4d}  {name}")

    def _vocabulary(self, options: dict[str, Any]) -> None:
        from strategies_app.tools.reference import HEADS, faults, vocabulary_rows

        for title, rows in vocabulary_rows().items():
            self.stdout.write(f"{title}\n")
            self._table(HEADS, rows)
            self.stdout.write("")
        for message in faults():
            self.stdout.write(f"cannot be used: {message}")

    def _import(self, options: dict[str, Any]) -> None:
        from pathlib import Path

        from strategies_app.grammar.reader import StrategyError, read_text
        from strategies_app.models import Strategy

        wrong = []
        for path in options["paths"]:
            try:
                version = Strategy.objects.import_text(read_text(path), str(Path(path).absolute()))
            except StrategyError as error:
                self._write_problems(path, error)
                wrong.append(path)
            else:
                self.stdout.write(f"{path}: {version.strategy.name} version {version.number}")
        if wrong:
            raise CommandError(f"{len(wrong)} of {len(options['paths'])} not imported: {', '.join(wrong)}", returncode=2)

    def _found(self, name_or_path: str, number: int | None = None) -> FoundStrategy:
        from strategies_app.grammar.reader import StrategyError
        from strategies_app.stored import UnknownStrategy, find_strategy

        try:
            return find_strategy(name_or_path, number)
        except (UnknownStrategy, StrategyError) as error:
            raise CommandError(str(error), returncode=2) from None

    def _read(self, found: FoundStrategy) -> StrategySpec:
        from strategies_app.grammar.reader import StrategyError, read_strategy

        try:
            return read_strategy(found.text)
        except StrategyError as error:
            self._write_problems(found.label, error)
            raise CommandError(f"{found.label} is not valid", returncode=2) from None

    def _write_problems(self, label: str, error: StrategyError) -> None:
        for problem in error.problems:
            self.stdout.write(_with_place(label, problem))

    def _table(self, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
        for row in [heads, *rows]:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _with_place(label: str, problem: Problem) -> str:
    """`file:line:column: path: message`, which editors turn into a link."""
    place = f"{label}:{problem.line}:{problem.column}" if problem.line is not None else label
    return ": ".join(part for part in (place, problem.path, problem.message) if part)
