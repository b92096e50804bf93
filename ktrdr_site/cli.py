"""The console script `ktrdr`: the same commands as manage.py."""

from __future__ import annotations

import os
import sys

#: Two words of the console script that are one command of manage.py.
SPELLINGS = {("data", "load"): "load_data"}


def command_line(argv: list[str]) -> list[str]:
    """`ktrdr data load AAPL 1d` → `ktrdr load_data AAPL 1d`; anything else unchanged."""
    command = SPELLINGS.get((argv[1], argv[2])) if len(argv) > 2 else None
    return [argv[0], command, *argv[3:]] if command else argv


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ktrdr_site.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(command_line(sys.argv))
    except ImproperlyConfigured as error:
        sys.exit(f"Configuration: {error}")
