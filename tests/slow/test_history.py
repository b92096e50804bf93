"""No epoch is missing from the history of a resumed run: it is killed between every two of its writes to the database."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.examples.homes import ROOT, made_home

EPOCHS = 6
#: Each run is a fork, killed by force before its n-th write, then resumed in another fork; until a run has no more writes.
RUNS = """
import itertools, json, os, signal, sys
import django
django.setup()
from django.db import connections
from django.db.backends.signals import connection_created
from strategies_app.stored import find_strategy
from training.jobs import lifecycle, requests
from training.jobs.downloads import bundle_folder
from training.models import Operation
from training.jobs.status import replaced
from training.jobs.requests import Actor
from training.workers.worker import preload
from training.workers.attempt import run_operation

preload()

def forked(work):
    connections.close_all()
    child = os.fork()
    if child == 0:
        work()
        connections.close_all()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def killing(last):
    counted = itertools.count(1)
    def wrapper(execute, sql, parameters, many, context):
        if sql.split(None, 1)[0] in ("INSERT", "UPDATE", "DELETE", "RELEASE") and next(counted) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(sql, parameters, many, context)
    return wrapper

def killed_run(operation, last):
    wrapper = killing(last)  # of every thread: each has a connection of its own
    def watch(connection, **more):
        connection.execute_wrappers.append(wrapper)
    connection_created.connect(watch)
    run_operation(operation.pk, 1)

last, found = 0, []
while True:
    last += 1
    operation, _ = requests.start_training(find_strategy(sys.argv[1]), {}, Actor(), inline=True)
    code = forked(lambda: killed_run(operation, last))
    if code == -signal.SIGKILL:
        operation.refresh_from_db()
        lifecycle.reap(operation)
        operation.refresh_from_db()
        if operation.status != "completed":
            if operation.status == "pending":
                attempt = operation.attempt
            else:
                attempt = requests.resume(operation, Actor(), inline=True)
            code = forked(lambda: run_operation(operation.pk, attempt))
    operation.refresh_from_db()
    gone = replaced(operation)
    rows = [epoch for key, epoch in operation.epoch_metrics.order_by("epoch").values_list("pk", "epoch") if key not in gone]
    bundle = bundle_folder(operation.trained_model)
    found.append({
        "killed before write": last, "ended with": code, "status": operation.status, "attempt": operation.attempt, "rows": rows,
        "history": [epoch["epoch"] for epoch in operation.trained_model.metrics["history"]],
        "weights": (bundle / "weights.safetensors").read_bytes().hex()[-64:], "certificate": operation.certificate,
    })
    if operation.attempt == 1 and operation.status == "completed" and code == 0 and last > 5:
        break
print(json.dumps(found))
"""


def test_no_epoch_is_missing_after_a_kill_between_any_two_writes(tmp_path: Path) -> None:
    home = made_home(tmp_path / "home")
    environment = home.environment(DJANGO_SETTINGS_MODULE="ktrdr_site.settings", CHECKPOINT_EPOCH_INTERVAL=2)
    done = subprocess.run(
        [sys.executable, "-c", RUNS, home.strategy("written", EPOCHS, 64)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout)
    whole = list(range(EPOCHS))
    undisturbed = runs[-1]
    assert undisturbed["attempt"] == 1, "the last run was not killed any more"
    wrong = [run for run in runs if (run["status"], run["rows"], run["history"]) != ("completed", whole, whole)]
    assert wrong == []
    assert {run["weights"] for run in runs} == {undisturbed["weights"]}
    continued = {run["certificate"] for run in runs}
    from_checkpoint = {certificate for certificate in continued if certificate.startswith("continues bit for bit from epoch")}
    assert from_checkpoint and continued - from_checkpoint - {""}, "kills came before and after saves"
