"""Belonging: which database a Redis, its workers and its jobs are of. A worker of another one would find no such training."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from typing import Any

from django.db import connection
from redis.exceptions import ResponseError

from training.core.values import Refusal
from training.models import Identity

#: In Redis: whose queues these are. Its workers say it again and again; when all of them are gone it is forgotten.
KEY = "ktrdr:database"
KEPT_SECONDS = 120
#: So many of the jobs that wait are looked at when a worker starts.
LOOKED_AT = 50


class Stranger(Refusal):
    """A worker, a queue and a job are not all of one database: one sentence that names both."""

    category = "resources"


@dataclass(frozen=True)
class Database:
    """A database by its own id, and as people call it."""

    key: str
    words: str


def own() -> Database:
    """The database of this process; it gets its id when somebody first asks."""
    row, _ = Identity.objects.get_or_create(name="database", defaults={"key": secrets.token_hex(16)})
    return Database(row.key, _words())


def _words() -> str:
    given = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"the SQLite database {given['NAME']}"
    return f"the database {given['NAME']} on {given['HOST'] or 'this machine'}"


def mark(database: Database) -> dict[str, Any]:
    """What a job carries of the database that it belongs to."""
    return {"database": asdict(database)}


def claim(redis: Any, database: Database) -> None:
    """These queues are the database's. Stranger if they are another one's, whose workers live."""
    text = json.dumps(asdict(database))
    try:
        if redis.set(KEY, text, nx=True, ex=KEPT_SECONDS):
            return
    except ResponseError:  # a Redis that takes no writes has no room for a stranger's either
        return
    held = redis.get(KEY)
    other = _of(json.loads(held)) if held else None
    if other is not None and other.key != database.key:
        raise Stranger(_sentence("the queues in this Redis are those of", other, database))
    redis.set(KEY, text, ex=KEPT_SECONDS)


def join(queue: Any, database: Database) -> None:
    """Before a worker takes jobs. Stranger if the queues are another database's, or what waits in this one is."""
    claim(queue.connection, database)
    for job in queue.get_jobs(0, LOOKED_AT):
        refuse(job, database)


def refuse(job: Any, database: Database) -> None:
    """Stranger if a job is of another database. One from before jobs said it is taken."""
    other = _of(job.meta.get("database"))
    if other is not None and other.key != database.key:
        raise Stranger(_sentence(f"job {job.id} is of", other, database))


def put_back(job: Any, queue: Any) -> None:
    """A job that was taken out of its queue and not begun waits at its head again."""
    with queue.connection.pipeline() as pipeline:
        pipeline.lrem(queue.intermediate_queue_key, 1, job.id)
        queue.push_job_id(job.id, pipeline=pipeline, at_front=True)
        pipeline.execute()


def _of(plain: Any) -> Database | None:
    return Database(str(plain["key"]), str(plain["words"])) if isinstance(plain, dict) and "key" in plain else None


def _sentence(what: str, other: Database, database: Database) -> str:
    return (
        f"{what} {other.words} (id {other.key[:8]}), but this worker's is {database.words} (id {database.key[:8]}): "
        "give it the same DATABASE_URL and KTRDR_HOME, or a Redis of its own by REDIS_URL"
    )
