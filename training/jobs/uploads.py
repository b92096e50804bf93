"""Files of bars that were sent to the web site: kept in a private folder until they are loaded, dropped, or a day old.

The web process stores and forgets; what is in a file is a question to the quick worker (`upload_answers`).
"""

from __future__ import annotations

import fcntl
import json
import re
import secrets
import shlex
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload

from training.core.values import Refusal
from training.jobs import homes
from training.store.file_lists import ENDINGS, bars_among, is_hidden
from training.store.series_names import guess

#: What is neither loaded nor dropped goes after so long.
KEPT_SECONDS = 86_400
#: So many files of one user wait at most, and together they take at most so many times what one may.
MOST_PER_USER, MOST_TIMES_LIMIT = 50, 5
TOO_LARGE = "ktrdr.upload_too_large"
SPREADSHEETS = re.compile(r"\.(xlsx?|xlsm|ods|numbers)$", re.IGNORECASE)
#: How a file is read of which nothing was said: the options of load_data.
AS_SENT: dict[str, Any] = {
    "symbol": "", "timeframe": "", "tz": "", "price_scale": 1.0, "adjust": False, "replace": False, "calendar": "",
    "timeframe_is_right": False, "columns": [], "date_format": "", "encoding": "", "thousands": "", "decimal": "", "only": "",
    "drop_impossible": False,
}  # fmt: skip


class UploadError(Refusal):
    """A file that is not taken: one sentence."""


@dataclass(frozen=True)
class Upload:
    """A stored file, whose it is, and how it is to be read: `options` are those of load_data, and `symbol`, `timeframe`."""

    key: str
    owner: int
    name: str
    size: int
    options: dict[str, Any]

    @property
    def path(self) -> Path:
        return _root() / self.key / self.name

    @property
    def command(self) -> str:
        """What does the same on the command line, for a file that lies there."""
        given = self.options
        words = ["load_data", given["symbol"] or "SYMBOL", given["timeframe"] or "TIMEFRAME", "--from", self.name]
        for name in ("tz", "date_format", "encoding", "thousands", "decimal", "only", "calendar"):
            words += [f"--{name.replace('_', '-')}", given[name]] if given[name] else []
        words += ["--columns", ",".join(name or "-" for name in given["columns"])] if given["columns"] else []
        words += ["--price-scale", f"{given['price_scale']:.12g}"] if given["price_scale"] != 1 else []
        flags = ("adjust", "drop_impossible", "replace", "timeframe_is_right")
        words += [f"--{flag.replace('_', '-')}" for flag in flags if given[flag]]
        return f"manage.py {shlex.join(words)}"


def _root() -> Path:
    return Path(settings.UPLOAD_DIR)


class Capped(FileUploadHandler):
    """Ends the reading of a request that is longer than a file may be, before any of it is kept."""

    def handle_raw_input(self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: Any = None) -> None:  # noqa: N803
        self.left = settings.UPLOAD_LIMIT_BYTES

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        self.left -= len(raw_data)
        if self.left < 0:
            if self.request is not None:
                self.request.META[TOO_LARGE] = True
            raise StopUpload(connection_reset=False)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        return None


def too_large() -> UploadError:
    megabytes = settings.UPLOAD_LIMIT_BYTES / 1e6
    return UploadError(
        f"what was sent is larger than {megabytes:,.0f} MB, which is what this site takes at once; "
        "on the server load it with: manage.py load_data SYMBOL TIMEFRAME --from FILE"
    )


def store(file: UploadedFile, owner: int) -> tuple[list[Upload], list[str]]:
    """Keep a file, or the files of a zip, each with options guessed from its name; and the names in a zip that are no bars.

    What is kept stays for its whole day: one file more than are kept for a user is refused, none makes room for it.
    """
    sweep()
    name = safe_name(file.name or "")
    if not file.size:
        raise UploadError(f"{name} is empty")
    if file.size > settings.UPLOAD_LIMIT_BYTES:
        raise too_large()
    start = file.read(4)
    file.seek(0)
    if SPREADSHEETS.search(name):
        raise UploadError(f"{name} is a spreadsheet, wanted bars as CSV or Parquet: save its sheet as CSV and upload that")
    if start == b"PK\3\4":
        return _unpacked(file, name, owner)
    return [_keep(file.name or "", file.chunks(), owner)], []


def _unpacked(file: UploadedFile, name: str, owner: int) -> tuple[list[Upload], list[str]]:
    """The files of bars in a zip. All or none of them are kept."""
    kept: list[Upload] = []
    try:
        with zipfile.ZipFile(file) as packed:
            inside = {one.filename: one for one in packed.infolist() if not one.is_dir() and not is_hidden(one.filename)}
            bars = bars_among(inside)
            if sum(inside[one].file_size for one in bars) > settings.UPLOAD_LIMIT_BYTES:
                raise UploadError(
                    f"{name} unpacks to more than {settings.UPLOAD_LIMIT_BYTES / 1e6:,.0f} MB; unpack it and send less"
                )
            for one in bars:
                with packed.open(inside[one]) as unpacked:
                    kept.append(_keep(one, _bounded(unpacked, inside[one].file_size), owner))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        _drop_all(kept)
        raise UploadError(f"{name} cannot be unpacked: {str(error) or 'it is damaged'}") from None
    except UploadError:
        _drop_all(kept)
        raise
    if not kept:
        raise UploadError(f"{name} holds no file of bars, wanted some that end in {ENDINGS}")
    return kept, [safe_name(one) for one in inside if one not in bars]


def _bounded(unpacked: IO[bytes], size: int) -> Iterator[bytes]:
    """What a zip says of a file's size is held against what comes out."""
    left = size
    while block := unpacked.read(1 << 20):
        left -= len(block)
        if left < 0:
            raise zipfile.BadZipFile("a file in it is larger than it says")
        yield block


def _keep(name: str, parts: Iterable[bytes], owner: int) -> Upload:
    symbol, timeframe = guess(name.rsplit("/", 1)[-1].rsplit("\\", 1)[-1])
    upload = Upload(secrets.token_hex(16), owner, safe_name(name), 0, {**AS_SENT, "symbol": symbol, "timeframe": timeframe})
    folder = _root() / upload.key
    try:
        homes.require("uploads")
        folder.mkdir()
        with upload.path.open("xb") as stored:
            for part in parts:
                stored.write(part)
        upload = replace(upload, size=upload.path.stat().st_size)
        with _one_at_a_time():
            _refuse_too_many(upload)
            _write(upload)
    except homes.Away as away:
        raise UploadError(f"{upload.name} could not be kept: {away}") from None
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UploadError(f"{upload.name} could not be kept: {error.strerror or error}") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return upload


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two files that come at once are counted one after the other."""
    with _root().with_name(f".{_root().name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _refuse_too_many(new: Upload) -> None:
    waiting = of_owner(new.owner)
    if len(waiting) >= MOST_PER_USER:
        raise UploadError(f"{new.name} was not kept: {len(waiting)} of your files wait already; load or drop some of them first")
    room = MOST_TIMES_LIMIT * settings.UPLOAD_LIMIT_BYTES
    if sum(upload.size for upload in waiting) + new.size > room:
        raise UploadError(
            f"{new.name} was not kept: your files that wait would take more than {room / 1e6:,.0f} MB; load or drop some first"
        )


def find(key: str, owner: int) -> Upload | None:
    """The upload of a key, for whoever sent it only."""
    upload = read(key)
    return upload if upload is not None and upload.owner == owner else None


def read(key: str) -> Upload | None:
    if not re.fullmatch(r"[0-9a-f]{32}", key):
        return None
    try:
        kept = json.loads((_root() / key / "upload.json").read_text(encoding="utf-8"))
    except OSError:
        return None  # loaded, dropped or too old
    return Upload(key, kept["owner"], kept["name"], kept["size"], {**AS_SENT, **kept["options"]})


def change(upload: Upload, options: Mapping[str, Any]) -> Upload:
    """The same file, to be read in another way; UploadError if it was loaded, dropped or removed meanwhile."""
    changed = replace(upload, options={**upload.options, **options})
    try:
        _write(changed)
    except FileNotFoundError:
        raise UploadError(f"{upload.name} is no longer kept: upload it again") from None
    return changed


def _drop_all(kept: Iterable[Upload]) -> None:
    for upload in kept:
        drop(upload)


def drop(upload: Upload) -> None:
    shutil.rmtree(_root() / upload.key, ignore_errors=True)


def of_owner(owner: int) -> list[Upload]:
    """A user's files, the newest first."""
    folders = sorted(_root().glob("*/upload.json"), key=lambda path: -_changed(path))
    found = [read(path.parent.name) for path in folders]
    return [upload for upload in found if upload is not None and upload.owner == owner]


def sweep() -> int:
    """Remove what is older than a day; how many."""
    old = [folder for folder in _root().glob("[!.]*") if folder.is_dir() and time.time() - _changed(folder) > KEPT_SECONDS]
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
    return len(old)


def _changed(path: Path) -> float:
    """When it was changed last; what another process removes meanwhile counts as new, and is left alone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _write(upload: Upload) -> None:
    folder = _root() / upload.key
    temporary = folder / f".upload.{secrets.token_hex(4)}.tmp"
    kept = {"owner": upload.owner, "name": upload.name, "size": upload.size, "options": upload.options}
    temporary.write_text(json.dumps(kept), encoding="utf-8")
    temporary.replace(folder / "upload.json")


def safe_name(name: str) -> str:
    """A file's own name with nothing in it that a path, a page or a terminal could stumble over."""
    plain = re.sub(r"[^A-Za-z0-9._^=+%~-]+", "_", name.rsplit("/", 1)[-1].rsplit("\\", 1)[-1])[-100:].lstrip(".-")
    return plain if plain and plain != "upload.json" else "bars"
