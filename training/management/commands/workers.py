"""`workers`: who is there to train, on what, and what each is doing."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Lists the live workers."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        from django.utils import timezone
        from rich.table import Column, Table

        from training.jobs import queues
        from training.management.refusals import refusals
        from training.management.terminal import console_on

        console = console_on(self.stdout._out)
        with refusals():
            queues.ping()
            workers = queues.live_workers()
        if not workers:
            console.print("No worker is running: `worker --tag cpu` starts one, `up` starts everything.")
            return
        names = ("worker", "tag", "state", "operation", "device", "memory", "heard of")
        table = Table(*(Column(name, overflow="fold") for name in names), box=None, pad_edge=False, padding=(0, 2))
        for worker in workers:
            told, age = worker.environment, (timezone.now() - worker.heartbeat).total_seconds()
            memory = int(told.get("memory") or 0)
            table.add_row(
                worker.name, worker.queue, worker.state, _operation(worker.job),
                told.get("device_name", "–"), f"{memory / 1e9:.1f} GB" if memory else "–", f"{max(age, 0):.0f} s ago",
            )  # fmt: skip
        console.print(table)


def _operation(job: str | None) -> str:
    """A job is named `<operation>-<attempt>`; jobs of the quick queue belong to no operation."""
    if not job:
        return "–"
    return job.rpartition("-")[0] if job.startswith("op_") else "a short job"
