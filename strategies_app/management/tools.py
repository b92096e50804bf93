"""`strategies migrate | new | diff | schema`: what makes strategies, brings older ones over, and compares them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

if TYPE_CHECKING:
    from strategies_app.upgrade import Note


class ToolActions(BaseCommand):
    """Actions of `strategies` that store nothing: texts and files in, texts and files out."""

    def add_tools(self, actions: Any) -> None:
        migrate = actions.add_parser("migrate", help="a version 2 file as version 3, with every change and omission named")
        migrate.add_argument("path", metavar="FILE")
        to = migrate.add_mutually_exclusive_group()
        _destination(to, "where to write; printed if not given")
        to.add_argument("--in-place", action="store_true", help="write over FILE")
        _force(migrate)

    def _migrate(self, options: dict[str, Any]) -> None:
        from strategies_app.reader import StrategyError, read_text, warnings_of
        from strategies_app.upgrade import AlreadyVersion3, upgraded

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

    if not force and (path.exists() or path.is_symlink()):
        raise FileExistsError(path)
    path = path.resolve()  # through a link, as an editor would
    mode = path.stat().st_mode if path.exists() else None
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask if mode is None else mode & 0o7777)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _destination(parser: Any, words: str) -> None:
    parser.add_argument("--to", metavar="FILE", help=words)


def _force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="write over a file that is there")


def _told(path: str, note: Note) -> str:
    return f"{path}:{note.line}: {note.path}: {note.message}" if note.line else f"{path}: {note.message}"
