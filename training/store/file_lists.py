"""Which files of bars there are: one file, those of a folder, those of a zip archive. Light: no pandas."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from training.store.coverage import DataError

_TABLES = (".csv", ".tsv", ".parquet", ".pq", ".gz")
#: Taken only where there are no others: archives explain themselves in texts.
_TEXTS = (".txt", ".dat", ".prn")
ENDINGS = ", ".join((*_TABLES, *_TEXTS))


@dataclass(frozen=True)
class BarFile:
    """One file: a path, or what is under a name in a zip archive."""

    place: Path
    member: str = ""

    @property
    def name(self) -> str:
        """What it is called, without its folders."""
        return PurePosixPath(self.member).name or self.place.name

    @property
    def shown(self) -> str:
        return f"{self.place.name}: {self.member}" if self.member else self.name

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """Where it lies for as long as it is read: what is in an archive is unpacked beside."""
        if not self.member:
            yield self.place
            return
        with tempfile.TemporaryDirectory(prefix="ktrdr-") as folder:
            path = Path(folder) / self.name
            self._unpack(path)
            yield path

    def _unpack(self, path: Path) -> None:
        with _in_words(self.place), zipfile.ZipFile(self.place) as archive, archive.open(self.member) as packed:
            path.write_bytes(packed.read())


def bar_files(paths: Iterable[Path]) -> list[BarFile]:
    """The files of paths that may be folders and archives, in order; DataError for one that has none."""
    return [file for path in paths for file in _files(path)]


def _files(path: Path) -> list[BarFile]:
    if path.is_dir():
        found = {one.name: BarFile(one) for one in path.iterdir() if one.is_file()}
    elif path.is_file() and _is_archive(path):
        with _in_words(path), zipfile.ZipFile(path) as archive:
            found = {info.filename: BarFile(path, info.filename) for info in archive.infolist() if not info.is_dir()}
    else:
        return [BarFile(path)]
    chosen = bars_among(found)
    if not chosen:
        raise DataError(f"{path} has no files of bars, wanted some that end in {ENDINGS}")
    return [found[name] for name in chosen]


def bars_among(names: Iterable[str]) -> list[str]:
    """The names in a folder or archive that are those of files of bars, in order."""
    seen = sorted(name for name in names if not is_hidden(name))
    return [name for name in seen if name.lower().endswith(_TABLES)] or [name for name in seen if name.lower().endswith(_TEXTS)]


def is_hidden(name: str) -> bool:
    """Whether a system put it there, beside what a person did."""
    return name.startswith("__MACOSX/") or "/." in f"/{name}"


def _is_archive(path: Path) -> bool:
    """Whether it is a zip of files; an Excel workbook is one of another kind."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                return False
        with zipfile.ZipFile(path) as archive:
            return "[Content_Types].xml" not in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return True  # said when it is opened


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} is not a zip archive that can be read: {error}") from error
