"""How commands end when something cannot be done: one sentence and an exit code, never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.management.base import CommandError


@contextmanager
def refusals(label: str = "") -> Iterator[None]:
    """Turn what the user can mend into a CommandError: exit code 2 for what was asked wrongly, 1 for everything else."""
    from django.db import DatabaseError
    from redis.exceptions import RedisError

    from strategies_app.reader import StrategyError
    from strategies_app.stored import UnknownStrategy
    from training.pipeline.finding import findings_in, lines_of
    from training.values import Refusal

    try:
        yield
    except StrategyError as error:
        raise CommandError("\n".join(f"{label}: {p}" if label else str(p) for p in error.problems), returncode=2) from None
    except UnknownStrategy as error:
        raise CommandError(str(error), returncode=2) from None
    except Refusal as error:
        lines = [str(error), *lines_of(findings_in(error), str(error))]
        raise CommandError("\n".join(lines), returncode=error.exit_code) from None
    except DatabaseError as error:
        raise CommandError(_database_sentence(error)) from None
    except RedisError as error:
        from training.queues import trouble

        raise CommandError(f"{trouble(error)}; the database keeps what was asked for") from None
    except MemoryError:
        raise CommandError(
            "there is not enough memory for this; wanted a smaller network, fewer bars or fewer features"
        ) from None
    except OSError as error:
        raise CommandError(f"{error.filename or 'a file'}: {error.strerror or error}") from None


def _database_sentence(error: Exception) -> str:
    text = str(error).splitlines()[0]
    if "no such table" in text or "does not exist" in text or "no such column" in text:
        return "the database is not set up yet, run: python manage.py migrate"
    if "full" in text or "I/O error" in text:
        return (
            f"the disk below {settings.HOME_DIR} is full or failing ({text}); free space, "
            "then `operations list` shows what can be continued with `train --resume`"
        )
    return f"the database could not be used: {text}"
