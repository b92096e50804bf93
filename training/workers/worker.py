"""The worker: takes jobs of one queue and forks a process (the horse) for each; RQ does the work, here are its small hooks.

A stop asked of the worker reaches the horse whenever it comes, and a horse does not outlive its worker.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import logging
import os
import re
import secrets
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import rq
from django.conf import settings
from django.db import DatabaseError, connections
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import worker_registration
from rq.exceptions import InvalidJobOperation, NoSuchJobError, StopRequested
from rq.executions import ExecutionRegistry
from rq.job import JobStatus

from training.core.processes import die_with, end_in_words
from training.jobs import belonging, lifecycle, queues
from training.jobs.notices import mail_end
from training.models import LIVE, Operation, Status
from training.workers.attempt import STOP_SIGNALS

#: Imported by the parents of cpu and quick workers, so that a job begins at once. Importing is safe, running would not be:
#: a fork after a threaded operation of torch hangs.
PRELOADED = (
    "training.recipe", "training.pipeline.loading", "training.trainer.bundle", "training.trainer.device",
    "training.trainer.state", "training.workers.plan", "training.workers.prediction", "training.workers.quick",
    "torch._dynamo",  # which the first optimizer imports, for a second or two in which nothing would notice a stop
)  # fmt: skip
WORKER_SECONDS = 25
MONITORING_SECONDS = 5
ENVIRONMENT_SECONDS = 120
#: Who waits for the end of a training looks up so often.
DOZE_SECONDS = 1.0
#: A Redis that takes no writes, or does not answer, is tried again so often.
REFUSED_SECONDS = 5
AWAY = (RedisConnectionError, RedisTimeoutError)
log = logging.getLogger(__name__)


def make_worker(tag: str, environment: dict[str, str]) -> Worker:
    """A worker of one queue under a name of its own. Stranger if the queue is another database's."""
    queue, database = queues.queue_of(tag), belonging.own()
    belonging.join(queue, database)
    connections.close_all()  # or the next fork would inherit them
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
    return Worker(
        [queue], name=f"{tag}-{host}-{secrets.token_hex(4)}", connection=queue.connection, serializer=queue.serializer,
        environment=environment, database=database, worker_ttl=WORKER_SECONDS, job_monitoring_interval=MONITORING_SECONDS,
        # A turn of the waiting loop and this make up the interval in which orphans are looked for.
        maintenance_interval=max(0, int(settings.ORPHAN_CHECK_INTERVAL_SECONDS) - waiting_seconds()),
    )  # fmt: skip


def waiting_seconds() -> int:
    """One turn of the loop that waits for a job."""
    return max(1, min(WORKER_SECONDS - 15, int(settings.ORPHAN_CHECK_INTERVAL_SECONDS) // 2))


def preload() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # what every fork shares need not be looked through, and so copied, in each


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[Callable[[], object]]:
    """Gives what sleeps for a second, or until the process ends; where the system cannot tell of that, for a moment."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        yield lambda: time.sleep(DOZE_SECONDS / 20)
        return
    try:
        yield lambda: select.select([descriptor], [], [], DOZE_SECONDS)
    finally:
        os.close(descriptor)


def _too_late(number: int, frame: FrameType | None) -> None:
    """A request to stop for a run that has ended."""


class Worker(rq.Worker):
    """An RQ worker that hands stops over to its horse, tells what it is, and looks after orphans."""

    max_connection_wait_time = 5.0

    def __init__(
        self,
        *args: Any,
        environment: dict[str, str] | None = None,
        database: belonging.Database | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.environment = (environment or {}) | ({"database": database.key} if database else {})
        self.database = database
        self._end: int | None = None
        self._ended_horse = 0
        self._reaper: Any = None
        self._is_refused = False

    @property
    def dequeue_timeout(self) -> int:
        return waiting_seconds()

    # --- stopping ---

    @property
    def was_asked_to_stop(self) -> bool:
        return self._shutdown_requested_date is not None

    def _leave(self, stranger: belonging.Stranger) -> None:
        """The queues are another database's now: this worker ends, and nothing of what waits is lost."""
        log.error("the worker ends: %s", stranger)
        self._stop_requested = True

    def fork_work_horse(self, *args: Any, **kwargs: Any) -> None:
        # Blocked in the horse from its first moment, so that a signal waits until the job takes it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            super().fork_work_horse(*args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        with contextlib.suppress(OSError):  # it has its group already, or is gone
            os.setpgid(self.horse_pid, self.horse_pid)
        if self.was_asked_to_stop:  # asked while the horse had no number yet
            self.handle_warm_shutdown_request()

    def setup_work_horse_signals(self) -> None:
        """In the horse, before its job."""
        super().setup_work_horse_signals()
        # Before the run takes it, it waits; after the run it comes too late, and a library's thread that does not block it
        # would die of it, and the job with it.
        is_quick = self.queue_names() == ["quick"]
        signal.signal(signal.SIGUSR1, signal.SIG_DFL if is_quick else _too_late)
        die_with(self.pid or 0, signal.SIGTERM)
        if self.was_asked_to_stop:  # asked before the fork
            os.kill(os.getpid(), signal.SIGUSR1)
        if is_quick:  # has nothing to save: ends at once
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def handle_warm_shutdown_request(self) -> None:
        if self.horse_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGUSR1)

    def kill_horse(self, *args: Any, **kwargs: Any) -> None:
        if self.horse_pid:  # without a number RQ would kill the worker's own group
            super().kill_horse(*args, **kwargs)

    def unsubscribe(self) -> None:
        if self.pubsub_thread is not None:  # told before its last message comes, it need not be waited for
            self.pubsub_thread.stop()
        super().unsubscribe()

    # --- a Redis that takes no writes, or is away ---

    def _refused(self, error: RedisError) -> None:
        """Redis is full or the like: told once, until it takes a write again."""
        if not queues.takes_no_writes(error):
            raise error
        if not self._is_refused:
            log.warning("%s; the worker waits", queues.trouble(error))
        self._is_refused = True

    def _patiently(self, act: Callable[[], Any]) -> Any:
        """What the act gives, once Redis takes the writes that it needs. StopRequested if the worker is to end meanwhile."""
        while True:
            try:
                return act()
            except ResponseError as error:
                self._refused(error)
            except AWAY as error:
                self._wait_for_redis(error)
                continue
            if self._stop_requested:
                raise StopRequested
            time.sleep(REFUSED_SECONDS)

    def check_for_suspension(self, burst: bool) -> None:
        """It writes a heartbeat, and is the first that the waiting loop does after a job."""
        self._patiently(functools.partial(super().check_for_suspension, burst))

    def dequeue_job_and_maintain_ttl(self, *args: Any, **kwargs: Any) -> Any:
        return self._patiently(functools.partial(super().dequeue_job_and_maintain_ttl, *args, **kwargs))

    def _wait_for_redis(self, error: RedisError) -> None:
        """A network that swallows what is said to Redis ends no worker, which had nothing to do with it."""
        log.warning("Redis does not answer (%s); the worker waits", error)
        while True:
            if self._stop_requested:
                raise StopRequested
            try:
                self.connection.ping()
            except AWAY:
                time.sleep(REFUSED_SECONDS)
            else:
                log.warning("Redis answers again; the worker goes on")
                return

    def _pubsub_exception_handler(self, exc: Exception, pubsub: Any, pubsub_thread: Any) -> None:
        """A connection that keepalives found dead is made anew: by it the worker hears that it is to end a job by force."""
        lost = RedisConnectionError(str(exc)) if isinstance(exc, RedisTimeoutError) else exc
        super()._pubsub_exception_handler(lost, pubsub, pubsub_thread)

    def execute_job(self, job: Any, queue: Any) -> None:
        try:
            if self.database is not None:
                belonging.refuse(job, self.database)
            super().execute_job(job, queue)
        except belonging.Stranger as stranger:
            belonging.put_back(job, queue)
            self._leave(stranger)
        except ResponseError as error:  # before its process was forked, or after it has ended: the database knows how
            self._refused(error)
            self.executions.clear()
        except AWAY as error:  # likewise
            self.executions.clear()
            self._wait_for_redis(error)

    def set_shutdown_requested_date(self) -> None:
        with contextlib.suppress(RedisError):  # in a signal's handler, where it would end what waits for the horse
            super().set_shutdown_requested_date()

    def perform_job(self, job: Any, *args: Any, **kwargs: Any) -> bool:
        """In the horse: what RQ itself wants to write of the job."""
        try:
            return bool(super().perform_job(job, *args, **kwargs))
        except ResponseError as error:
            if not queues.takes_no_writes(error):
                raise
            return False

    def handle_exception(self, job: Any, *exc_info: Any) -> None:
        if not (isinstance(exc_info[1], ResponseError) and queues.takes_no_writes(exc_info[1])):
            super().handle_exception(job, *exc_info)

    def register_death(self) -> None:
        try:
            super().register_death()
        except ResponseError as error:  # its entry expires by itself
            self._refused(error)
        except AWAY as error:  # likewise
            log.warning("Redis does not answer (%s); the worker ends without a word to it", error)

    # --- the end of a horse ---

    def monitor_work_horse(self, job: Any, *args: Any, **kwargs: Any) -> None:
        self._end = None
        try:
            super().monitor_work_horse(job, *args, **kwargs)
            if self._end == 0:
                self._tidy(job, *args, **kwargs)
        finally:
            if self._end is not None and job.func_name == queues.JOB:
                self._settle(*job.args, self._end, self._ended_horse)

    def _tidy(self, job: Any, queue: Any, execution: Any) -> None:
        """A job that was left in the middle, cancelled with nothing to save, is taken off RQ's books."""
        with contextlib.suppress(RedisError, NoSuchJobError, InvalidJobOperation):  # RQ takes it off itself after a minute
            if job.get_status(refresh=True) == JobStatus.STARTED:
                with self.connection.pipeline() as pipeline:
                    execution.delete(job=job, pipeline=pipeline)
                    pipeline.execute()
                job.delete()

    def wait_for_horse(self) -> Any:
        """Woken every second: RQ's alarm, which is for the next heartbeat, goes to any thread of a process that was frozen,
        and who waits without end would never hear of it."""
        self._ended_horse = self.horse_pid
        ended = self._look_for_end()
        with _watched(self.horse_pid) as doze:
            while ended[0] == 0:
                doze()
                ended = self._look_for_end()
        if ended[1] is not None:
            self._end = os.waitstatus_to_exitcode(ended[1])
        return ended

    def _look_for_end(self) -> tuple[int | None, int | None, Any]:
        """As os.wait4 gives it: (0, …) while it runs; Nones if it is gone already."""
        try:
            return os.wait4(self.horse_pid, os.WNOHANG)
        except ChildProcessError:
            return None, None, None

    def _settle(self, operation_id: str, attempt: int, code: int, horse: int) -> None:
        """A horse that is gone but whose attempt is still live ended without a word: killed by force, or from outside.

        The attempt of another process, for which this horse found nothing to do, is that one's.
        """
        try:
            live = Operation.objects.filter(pk=operation_id, attempt=attempt, status__in=LIVE)
            seen = live.filter(host=socket.gethostname(), process__startswith=f"{horse}@").first()
            if seen is not None:
                after = Status.CANCELLED if seen.status == Status.CANCELLING else Status.INTERRUPTED
                words = f"its process {end_in_words(code)}"
                if after == Status.CANCELLED or self.was_asked_to_stop:
                    words = "stopped by force"
                if lifecycle.stop(operation_id, attempt, after, words):
                    mail_end(operation_id)
                log.warning("%s attempt %s is %s: %s", operation_id, attempt, after, words)
        except DatabaseError as error:
            log.warning("the end of %s could not be recorded, which is left to the reaper: %s", operation_id, error)
        finally:
            connections.close_all()  # or the next fork would inherit them

    # --- telling and looking after ---

    def _set_ip_address(self, connection: Any) -> None:
        try:
            super()._set_ip_address(connection)
        except ValueError:  # a socket whose path holds a space or `=`
            self.ip_address = "unknown"

    def register_birth(self) -> None:
        super().register_birth()
        self._tell()

    def heartbeat(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().heartbeat(*args, **kwargs)
            self._tell()
        except ResponseError as error:  # between two jobs it would end the worker
            self._refused(error)
            return
        except AWAY:  # likewise; whoever asks for the next job waits until it answers
            return
        if self._is_refused:
            log.warning("Redis takes writes again; the worker goes on")
        self._is_refused = False

    def _tell(self) -> None:
        """What it is, and that it is there: Redis may have been emptied, or others may have taken it for dead and its name
        off the list while the machine slept."""
        if self.is_horse or self.birth_date is None:
            return
        key = queues.environment_key(self.name)
        with self.connection.pipeline() as pipeline:
            worker_registration.register(self, pipeline)
            state = {} if self._state is None else {"state": str(getattr(self._state, "value", self._state))}
            pipeline.hset(self.key, mapping=self.serialize() | state)
            pipeline.expire(self.key, WORKER_SECONDS + 60)
            if self.environment:
                pipeline.hset(key, mapping=self.environment)
                pipeline.expire(key, ENVIRONMENT_SECONDS)
            pipeline.execute()

    def maintain_heartbeats(self, job: Any, execution: Any) -> None:
        """While a job runs. A Redis that is away for a moment must not end hours of training."""
        try:
            super().maintain_heartbeats(job, execution)
            if not self.connection.exists(job.key):
                self._restore(job, execution)
            if self.should_run_maintenance_tasks:
                self.run_maintenance_tasks()
        except RedisError as error:
            if queues.takes_no_writes(error):
                self._refused(error)
            else:
                log.warning("Redis does not answer, the training goes on: %s", error)

    def _restore(self, job: Any, execution: Any) -> None:
        """The job that is at work, in a Redis that was emptied: by it the work is seen, and can be stopped by force."""
        ttl = MONITORING_SECONDS + 60
        with self.connection.pipeline() as pipeline:
            job.worker_name = self.name
            job.set_status(JobStatus.STARTED, pipeline=pipeline)
            job.save(pipeline=pipeline)
            pipeline.persist(job.key)
            execution.save(ttl=ttl, pipeline=pipeline)
            ExecutionRegistry(job_id=job.id, connection=pipeline).add(execution=execution, ttl=ttl, pipeline=pipeline)
            job.started_job_registry.add_execution(execution, pipeline=pipeline, ttl=ttl, xx=False)
            pipeline.sadd(execution.worker_executions_key, execution.composite_key)
            pipeline.expire(execution.worker_executions_key, ttl + 60)
            pipeline.execute()
        log.warning("Redis was emptied: the worker is listed again, with the job that it is at")

    def run_maintenance_tasks(self) -> None:
        """Redis may refuse a write here or fall silent, and the loop around it would end: the next time comes."""
        for part in (super().run_maintenance_tasks, self._claim, self._look_after):
            try:
                part()
            except ResponseError as error:
                self._refused(error)
            except AWAY as error:
                log.warning("Redis does not answer (%s); what waits is looked after later", error)
                return
            if self._stop_requested:
                return

    def _claim(self) -> None:
        try:
            if self.database is not None:
                belonging.claim(self.connection, self.database)
        except belonging.Stranger as stranger:
            self._leave(stranger)

    def _look_after(self) -> None:
        from training.workers.reaper import Reaper

        self._reaper = self._reaper or Reaper()
        try:
            for sentence in self._reaper.look():
                log.info(sentence)
        except queues.NoWorker as refusal:
            log.info("waiting trainings are looked after later: %s", refusal)
        except DatabaseError as error:
            log.warning("the database could not be looked through: %s", error)
        finally:
            connections.close_all()
