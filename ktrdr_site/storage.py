"""Where the files that the browser asks for are collected: in the home, if it is there."""

from __future__ import annotations

from typing import Any

from django.utils.functional import cached_property
from whitenoise.storage import CompressedManifestStaticFilesStorage

from training.jobs import homes
from training.management.refusals import refusals


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
