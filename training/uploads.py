"""Files of bars that were sent to the web site: kept in a private folder until they are loaded, dropped, or a day old.

The web process stores and forgets; what is in a file is a question to the quick worker (`upload_answers`).
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload

from strategies_app.vocabulary import TIMEFRAMES
from training import homes
from training.values import Refusal

#: What is neither loaded nor dropped goes after so long.
KEPT_SECONDS = 86_400
#: Of one user's files the oldest goes when there are more.
MOST_PER_USER = 5
TOO_LARGE = "ktrdr.upload_too_large"
#: How the end of a file's name may say its timeframe, besides the names themselves.
SPELLINGS = {
    "daily": "1d", "day": "1d", "d": "1d", "d1": "1d", "weekly": "1w", "week": "1w", "w": "1w", "w1": "1w",
    "hourly": "1h", "hour": "1h", "h": "1h", "60": "1h", "60m": "1h", "60min": "1h", "minute": "1m", "min": "1m", "240": "4h",
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
        words = ["manage.py load_data", given["symbol"] or "SYMBOL", given["timeframe"] or "TIMEFRAME", "--from", self.name]
        words += ["--tz", given["tz"]] if given["tz"] else []
        words += ["--price-scale", f"{given['price_scale']:g}"] if given["price_scale"] != 1 else []
        words += ["--calendar", given["calendar"]] if given["calendar"] else []
        words += [f"--{flag}" for flag in ("adjust", "replace") if given[flag]]
        return " ".join(words)


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
        f"the file is larger than {megabytes:,.0f} MB, which is what this site takes; "
        "on the server load it with: manage.py load_data SYMBOL TIMEFRAME --from FILE"
    )


def store(file: UploadedFile, owner: int) -> Upload:
    """Keep a file, with options guessed from its name."""
    sweep()
    name = safe_name(file.name or "")
    if not file.size:
        raise UploadError(f"{name} is empty")
    if file.size > settings.UPLOAD_LIMIT_BYTES:
        raise too_large()
    symbol, timeframe = guess(name)
    options = {"symbol": symbol, "timeframe": timeframe, "tz": "", "price_scale": 1.0, "adjust": False, "replace": False}
    options["calendar"] = ""
    upload = Upload(secrets.token_hex(16), owner, name, file.size, options)
    folder = _root() / upload.key
    try:
        homes.require("uploads").chmod(0o700)
        folder.mkdir(mode=0o700)
        with upload.path.open("xb") as stored:
            for chunk in file.chunks():
                stored.write(chunk)
        _write(upload)
    except homes.Away as away:
        raise UploadError(f"{name} could not be kept: {away}") from None
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UploadError(f"{name} could not be kept: {error.strerror or error}") from None
    for old in of_owner(owner)[MOST_PER_USER:]:
        drop(old)
    return upload


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
    return Upload(key, kept["owner"], kept["name"], kept["size"], {"calendar": "", **kept["options"]})


def change(upload: Upload, options: Mapping[str, Any]) -> Upload:
    """The same file, to be read in another way."""
    changed = Upload(upload.key, upload.owner, upload.name, upload.size, {**upload.options, **options})
    _write(changed)
    return changed


def drop(upload: Upload) -> None:
    shutil.rmtree(_root() / upload.key, ignore_errors=True)


def of_owner(owner: int) -> list[Upload]:
    """A user's files, the newest first."""
    folders = sorted(_root().glob("*/upload.json"), key=lambda path: -_changed(path))
    found = [read(path.parent.name) for path in folders]
    return [upload for upload in found if upload is not None and upload.owner == owner]


def sweep() -> int:
    """Remove what is older than a day; how many."""
    old = [folder for folder in _root().glob("[!.]*") if time.time() - _changed(folder) > KEPT_SECONDS]
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
    plain = re.sub(r"[^A-Za-z0-9._^=+-]+", "_", name.rsplit("/", 1)[-1].rsplit("\\", 1)[-1])[-100:].lstrip(".-")
    return plain if plain and plain != "upload.json" else "bars"


def guess(name: str) -> tuple[str, str]:
    """Symbol and timeframe that a file's name speaks of, "" where it says nothing: `EURUSD_1h.csv` → EURUSD, 1h."""
    stem = re.sub(r"(\.(csv|txt|gz|parquet|pq))+$", "", name, flags=re.IGNORECASE)
    words = [word for word in re.split(r"[_ \-]+", stem) if word]
    timeframe = ""
    for word in reversed(words[1:]):
        found = word.lower() if word.lower() in TIMEFRAMES else SPELLINGS.get(word.lower().removesuffix("bars"), "")
        found = found or (f"{word[1:]}{word[0].lower()}" if f"{word[1:]}{word[0].lower()}" in TIMEFRAMES else "")
        if found:
            timeframe = found
            break
    symbol = words[0] if words else ""
    symbol = symbol.upper() if symbol.islower() else symbol
    return (symbol if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._^=-]{0,31}", symbol) else "", timeframe)
