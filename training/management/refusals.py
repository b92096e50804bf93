"""How commands end when something cannot be done: one sentence and an exit code, never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError

#: Every file that is written is named by its writer; what has no name is the output.
UNNAMED = "the output could not be written"


@contextmanager
def refusals(label: str = "") -> Iterator[None]:
    """Turn what the user can mend into a CommandError: exit code 2 for what was asked wrongly, 1 for everything else."""
    from django.db import DatabaseError
    from redis.exceptions import RedisError

    from strategies_app.grammar.reader import StrategyError
    from strategies_app.stored import UnknownStrategy
    from training.core.findings import findings_in, lines_of
    from training.core.values import Refusal

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
        from training.jobs.database_words import sentence_of

        raise CommandError(sentence_of(error)) from None
    except RedisError as error:
        from training.jobs.queues import trouble

        raise CommandError(f"{trouble(error)}; the database keeps what was asked for") from None
    except MemoryError:
        raise CommandError(
            "there is not enough memory for this; wanted a smaller network, fewer bars or fewer features"
        ) from None
    except BrokenPipeError:
        raise  # whoever read the output has read enough: the program ends without a word
    except OSError as error:
        raise CommandError(f"{error.filename or UNNAMED}: {error.strerror or error}") from None
