"""A Redis that falls silent at any one moment of a worker's loop, as on a network that swallows packets, ends no worker."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from training.jobs import queues
from training.workers import worker
from training.workers.worker import Worker, make_worker

#: More than the commands of one turn of the loop; that they are fewer is tested too.
MOST = 60


class Silence:
    """Lets commands pass but the one of a number, counted once it is armed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, error: RedisError) -> None:
        self.number, self.error, self.seen, self.is_armed = number, error, 0, False
        command, execute = redis.Redis.execute_command, redis.client.Pipeline.execute

        def one(connection: Any, *words: Any, **options: Any) -> Any:
            self.count()
            return command(connection, *words, **options)

        def many(pipeline: Any, *words: Any, **options: Any) -> Any:
            self.count()
            return execute(pipeline, *words, **options)

        monkeypatch.setattr(redis.Redis, "execute_command", one)
        monkeypatch.setattr(redis.client.Pipeline, "execute", many)

    def count(self) -> None:
        self.seen += self.is_armed
        if self.is_armed and self.seen == self.number:
            raise self.error


def turn(monkeypatch: pytest.MonkeyPatch, number: int, error: RedisError) -> Silence:
    """One turn of an idle worker's loop, with upkeep, in which one command of Redis fails."""
    monkeypatch.setattr(worker, "REFUSED_SECONDS", 0)
    idle = make_worker("cpu", {})
    silence = Silence(monkeypatch, number, error)
    begin, end = idle.bootstrap, idle.teardown

    def bootstrap(*words: Any) -> None:
        begin(*words)
        silence.is_armed = True

    def teardown() -> None:
        silence.is_armed = False
        end()

    monkeypatch.setattr(idle, "_install_signal_handlers", lambda: None)  # this process is not its own
    monkeypatch.setattr(idle, "bootstrap", bootstrap)
    monkeypatch.setattr(idle, "teardown", teardown)
    monkeypatch.setattr(Worker, "max_connection_wait_time", 0.0)
    idle.work(burst=True)
    monkeypatch.undo()
    return silence


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [RedisTimeoutError("Timeout reading from socket"), RedisConnectionError("gone")], ids=repr)
def test_whichever_command_of_its_loop_it_falls_silent_at(
    error: RedisError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queues.queue_of("cpu").connection.flushall()
    for number in range(1, MOST):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            silence = turn(monkeypatch, number, error)
        said = [record.getMessage() for record in caplog.records]
        assert not [text for text in said if "timeout, quitting" in text or "unhandled exception" in text], (number, said)
        if silence.seen < number:
            break
    assert 5 < number < MOST - 1
