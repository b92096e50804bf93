"""`worker --tag gpu|cpu|quick`: takes jobs of one queue until it is stopped."""

from __future__ import annotations

import argparse
import logging
import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Starts a worker: gpu and cpu train, quick answers previews and predictions."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tag", required=True, choices=("gpu", "cpu", "quick"), help="the queue that it takes jobs of")
        parser.add_argument("--burst", action="store_true", help="end once the queue is empty")

    def handle(self, *args: Any, tag: str, burst: bool, **options: Any) -> None:
        from training.jobs import homes, queues
        from training.management.refusals import refusals
        from training.workers.devices import device_for, worker_environment
        from training.workers.worker import make_worker, preload

        logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
        with refusals():
            queues.ping()
            homes.require_all()
            if tag != "gpu":  # whose parent must not touch torch
                preload()
            environment = worker_environment(device_for(tag))
            worker = make_worker(tag, environment)
        self.stdout.write(f"worker {worker.name} on {environment['device_name']}, process {environment['pid']}; Ctrl-C stops it")
        self.stdout.flush()
        worker.work(burst=burst, logging_level="WARNING")
        if not (burst or worker.was_asked_to_stop):
            raise CommandError("the worker ended by itself, see above")
        self.stdout.flush()
        logging.shutdown()
        os._exit(0)  # nothing is left to do, and taking the imported libraries down orderly takes seconds
