"""`strategies migrate | new | diff | schema`: what makes strategies, brings older ones over, and compares them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

if TYPE_CHECKING:
    from strategies_app.grammar.reader import StrategyError
    from strategies_app.grammar.schema import StrategySpec
    from strategies_app.stored import FoundStrategy
    from strategies_app.tools.upgrade import Note


class ToolActions(BaseCommand):
    """Actions of `strategies` that store nothing: texts and files in, texts and files out."""

    if TYPE_CHECKING:  # of the command itself

        def _found(self, name_or_path: str, number: int | None = None) -> FoundStrategy: ...

        def _read(self, found: FoundStrategy) -> StrategySpec: ...

        def _write_problems(self, label: str, error: StrategyError) -> None: ...

    def add_tools(self, actions: Any) -> None:
        migrate = actions.add_parser("migrate", help="a version 2 file as version 3, with every change and omission named")
        migrate.add_argument("path", metavar="FILE")
        to = migrate.add_mutually_exclusive_group()
        _destination(to, "where to write; printed if not given")
        to.add_argument("--in-place", action="store_true", help="write over FILE")
        _force(migrate)

        new = actions.add_parser("new", help="begin a strategy from an idea; without NAME, the ideas")
        new.add_argument("name", nargs="?", metavar="NAME")
        new.add_argument("--idea", metavar="IDEA", help="which idea to begin with; mean_reversion if not given")
        as_schema = actions.add_parser("schema", help="the grammar as JSON Schema, for editors that check and complete")
        _destination(as_schema, "where to write; printed if not given")
        _force(as_schema)
        diff = actions.add_parser("diff", help="what differs in meaning between two strategies; exit code 1 if anything does")
        diff.add_argument("before", metavar="A", help="NAME, NAME@VERSION or a file")
        diff.add_argument("after", metavar="B")
        diff.add_argument("--text", action="store_true", help="the lines that differ as well")
        _destination(new, "where to write, - to print; NAME.yaml if not given")
        _force(new)

    def _new(self, options: dict[str, Any]) -> None:
        from strategies_app.starters import FIRST, UnknownIdea, begun, ideas

        name = options["name"]
        if name is None:
            if options["idea"] or options["to"]:
                raise CommandError("a name is missing: strategies new NAME --idea IDEA", returncode=2)
            width = max(map(len, ideas()))
            for idea in ideas().values():
                self.stdout.write(f"{idea.name.ljust(width)}  {idea.glance.description}")
            return
        try:
            text = begun(name, options["idea"] or FIRST)
        except (UnknownIdea, ValueError) as error:
            raise CommandError(str(error), returncode=2) from None
        self._deliver(text, options["to"] or f"{name}.yaml", options["force"])

    def _schema(self, options: dict[str, Any]) -> None:
        import json

        from strategies_app.tools.json_schema import strategy_schema

        self._deliver(json.dumps(strategy_schema(), ensure_ascii=False, indent=1) + "\n", options["to"], options["force"])

    def _diff(self, options: dict[str, Any]) -> None:
        """Exit code as that of `diff`: 0 the same, 1 different, 2 not to be compared."""
        from strategies_app.stored import difference_lines
        from strategies_app.tools.comparison import compare

        found = [self._found(options["before"]), self._found(options["after"])]
        result = compare(self._read(found[0]), self._read(found[1]))
        labels = found[0].label, found[1].label
        lines = difference_lines(found[0].text, found[1].text, labels)
        for difference in result.differences:
            meaning = f"  ({difference.meaning})" if difference.meaning else ""
            self.stdout.write(f"{difference.path}: {difference.before} → {difference.after}{meaning}")
        if not result.differences:
            count = sum(line.kind in ("added", "removed") for line in lines)
            rest = f"; {count} lines are written otherwise" if count else ""
            self.stdout.write(f"{labels[0]} and {labels[1]} mean the same{rest}")
        for sentence in result.effects:
            self.stdout.write(sentence)
        if options["text"]:
            self.stdout.write("\n".join(line.text for line in lines))
        if result.differences:
            sys.exit(1)

    def _migrate(self, options: dict[str, Any]) -> None:
        from strategies_app.grammar.reader import StrategyError, read_text, warnings_of
        from strategies_app.tools.upgrade import AlreadyVersion3, upgraded

        path = options["path"]
        try:
            result = upgraded(read_text(path))
        except AlreadyVersion3:
            self._say(f"{path} is a version 3 strategy already; `strategies validate` checks it")
            return
        except StrategyError as error:
            self._write_problems(path, error)
            raise CommandError(f"{path} was not migrated, nothing is written", returncode=2) from None
        for note in result.changed:
            self._say(_told(path, note))
        for note in result.left_out:
            self._say(f"{_told(path, note)}, left out and kept as a comment at the end")
        for warning in warnings_of(result.spec):
            self._say(f"{path}: warning: {warning}")
        self._deliver(result.text, path if options["in_place"] else options["to"], options["force"] or options["in_place"])

    def _say(self, sentence: str) -> None:
        """Beside the text, which may be on its way into a file."""
        self.stderr.write(sentence, lambda words: words)

    def _deliver(self, text: str, to: str | None, force: bool) -> None:
        """Print the text, or write it to a file that is not there yet."""
        if to in (None, "-"):
            self.stdout.write(text, ending="")
            return
        try:
            write_file(Path(str(to)), text, force)
        except FileExistsError:
            raise CommandError(f"{to} is there already; --force writes over it", returncode=2) from None
        except OSError as error:
            raise CommandError(f"{to} cannot be written: {error.strerror}") from None
        self._say(f"{to} is written")


def write_file(path: Path, text: str, force: bool) -> None:
    """The whole text or nothing; FileExistsError if something is there and `force` is off."""
    import os
    import tempfile

    from django.conf import settings

    if not force and (path.exists() or path.is_symlink()):
        raise FileExistsError(path)
    path = path.resolve()  # through a link, as an editor would
    mode = path.stat().st_mode if path.exists() else None
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:  # of a write to a full disk the system tells no name
            raise OSError(error.errno, error.strerror, str(path)) from error
        os.chmod(temporary, 0o666 & ~settings.CALLER_UMASK if mode is None else mode & 0o7777)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _destination(parser: Any, words: str) -> None:
    parser.add_argument("--to", metavar="FILE", help=words)


def _force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="write over a file that is there")


def _told(path: str, note: Note) -> str:
    return f"{path}:{note.line}: {note.path}: {note.message}" if note.line else f"{path}: {note.message}"
