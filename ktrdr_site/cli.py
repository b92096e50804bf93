"""The console script `ktrdr`: the same commands as manage.py."""

from __future__ import annotations

import os
import sys

#: Two words of the console script that are one command of manage.py.
SPELLINGS = {("data", "load"): "load_data"}
#: As of a program that SIGPIPE ended: 128 + 13.
CLOSED_PIPE = 141


def command_line(argv: list[str]) -> list[str]:
    """`ktrdr data load AAPL 1d` → `ktrdr load_data AAPL 1d`; anything else unchanged."""
    command = SPELLINGS.get((argv[1], argv[2])) if len(argv) > 2 else None
    return [argv[0], command, *argv[3:]] if command else argv


def our_commands() -> str:
    """What the project's own commands do, one a line. Django's are there too, and listed by manage.py."""
    import django
    from django.core.management import get_commands, load_command_class

    django.setup()
    found = {name: app for name, app in get_commands().items() if app in ("strategies_app", "training")}
    lines = [f"  {name:12} {load_command_class(app, name).help}" for name, app in found.items()]
    lines.append(f"  {'migrate':12} Sets the database up, or brings it up to a newer version.")
    return "\n".join(["ktrdr COMMAND, each with --help:", "", *sorted(lines)])


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ktrdr_site.settings")
    try:
        _run()
    except BrokenPipeError:  # whoever read the output has read enough (`| head -1`): no word about it
        _forget_output()
        sys.exit(CLOSED_PIPE)
    except OSError as error:
        _forget_output()
        sys.exit(f"CommandError: {error.filename or 'the output could not be written'}: {error.strerror or error}")


def _run() -> None:
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import DatabaseError

    try:
        if os.path.basename(sys.argv[0]) != "manage.py" and sys.argv[1:] in ([], ["help"], ["--help"], ["-h"]):
            print(our_commands())  # noqa: T201 - what was asked for
            return
        execute_from_command_line(command_line(sys.argv))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)  # noqa: T201 - what a traceback would say
        sys.exit(130)
    except ImproperlyConfigured as error:
        sys.exit(f"Configuration: {error}")
    except DatabaseError as error:  # of a command that is Django's own, such as migrate
        from training.jobs.database_words import sentence_of

        sys.exit(f"CommandError: {sentence_of(error)}")
    finally:
        sys.stdout.flush()  # a full disk behind it is said, not left to the interpreter's last moment


def _forget_output() -> None:
    """What cannot be written any more would be tried again as the interpreter ends, and complained of."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
