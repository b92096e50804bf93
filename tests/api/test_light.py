"""The web process answers every route without torch, pandas, TA-Lib or numba."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.examples.homes import ROOT, made_home

CODE = """
import django, sys
django.setup()
from django.conf import settings
settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"  # nothing was collected
from django.test import Client
from unittest import mock
from tests.examples.api import make_examples, send
from tests.examples.role_tables import API
from tests.api.test_access import PREDICTED
from training.api import models, trainings
from training.jobs.questions import Reply

examples = make_examples()
client = examples.signed_in("admin")
fake = lambda question, arguments, user: Reply("quick-1", PREDICTED)
seen = {}
with mock.patch.object(trainings, "ask", fake), mock.patch.object(models, "ask", fake):
    for (method, path), (_, body, _) in API.items():
        filled = path.replace("{operation_id}", examples.completed.pk).replace("{checkpoint_id}", str(examples.checkpoint.pk))
        filled = filled.replace("{name}", "stored-1" if "models" in path else "stored").replace("{path:symbol}", "AAPL").replace("{timeframe}", "1d")
        seen[method, path] = send(client, method, filled, body).status_code
    seen["docs"] = client.get("/api/v1/docs").status_code, client.get("/api/v1/openapi.json").status_code
assert seen["GET", "/data/{path:symbol}/{timeframe}"] == 200 and seen["GET", "/data/{path:symbol}/{timeframe}/download"] == 200, seen
assert max(code for code in seen.values() if isinstance(code, int)) <= 503 and 500 not in seen.values(), seen
print(sorted({"torch", "pandas", "talib", "numba"} & set(sys.modules)))
"""


def test_no_route_imports_anything_heavy(tmp_path: Path) -> None:
    home = made_home(tmp_path)  # of its own: it fills the database
    environment = home.environment(DJANGO_SETTINGS_MODULE="ktrdr_site.settings", KTRDR_ALLOWED_HOSTS="testserver")
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
