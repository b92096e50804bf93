"""The files that the browser asks for, collected into STATIC_ROOT under names that hold their content's hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.utils.functional import cached_property
from whitenoise.storage import CompressedManifestStaticFilesStorage

from training import homes
from training.files import naming
from training.management.refusals import refusals

#: What the packages hold beside the files that a page asks for.
UNSERVED = ["widgetbundle.js", "datasets", "templates", "htmax*", "htmx-4*", "hx-*", "htmx-2-compat*"]


class HomeStorage(CompressedManifestStaticFilesStorage):
    """Files in the home, which must be there before the first one is put into it."""

    @cached_property
    def _is_there(self) -> bool:
        with refusals():
            homes.require_before_all()
        return True

    def _save(self, name: str, content: Any) -> str:
        assert self._is_there
        return str(super()._save(name, content))


def collect() -> bool:
    """Collect them, unless nothing changed since the last time, which takes seconds less; whether it did."""
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    present = _digest()
    if stamp.exists() and stamp.read_text(encoding="ascii") == present:
        return False
    # Anew: it would keep a file that is younger than the one that came in its place with an older date.
    call_command("collectstatic", interactive=False, clear=True, verbosity=0, ignore_patterns=UNSERVED)
    with naming(stamp):
        stamp.write_text(present, encoding="ascii")
    return True


def _digest() -> str:
    """Of every file's place, size and time."""
    found = []
    for finder in get_finders():
        for name, storage in finder.list(UNSERVED):
            status = Path(storage.path(name)).stat()
            found.append((getattr(storage, "prefix", "") or "", name, status.st_size, status.st_mtime_ns))
    return hashlib.sha256(json.dumps([settings.STORAGES["staticfiles"], sorted(found)]).encode()).hexdigest()
