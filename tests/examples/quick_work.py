"""The quick worker's part, done in the test's own process: what was asked is worked on at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from rq import SimpleWorker

from tests.examples.api import Examples, make_examples, register_worker, store_bars
from training.jobs import queues


@pytest.fixture
def asking(transactional_db: None, empty_redis: Any) -> Examples:
    examples = make_examples()
    store_bars()
    register_worker("quick")
    return examples


def work() -> None:
    """Do what waits in the quick queue, in this process."""
    queue = queues.queue_of("quick")
    worker = SimpleWorker([queue], connection=queue.connection, serializer=queue.serializer)
    worker.work(burst=True, logging_level="ERROR")


@contextmanager
def worked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever is asked is done at once, before its asker waits for it."""
    enqueue = queues.enqueue_quick

    def enqueue_and_work(*args: Any) -> str:
        job = enqueue(*args)
        work()
        return job

    with monkeypatch.context() as patch:
        patch.setattr(queues, "enqueue_quick", enqueue_and_work)
        yield
