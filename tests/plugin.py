"""Loaded before Django's settings (`-p tests.plugin`): tests get a home folder of their own and the defaults of all settings."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
#: Whatever the developer has set must not reach a test.
SETTINGS = (
    "DATABASE_URL",
    "CHECKPOINT_DIR",
    "CHECKPOINT_EPOCH_INTERVAL",
    "CHECKPOINT_TIME_INTERVAL_SECONDS",
    "CHECKPOINT_MAX_AGE_DAYS",
)

for name in [n for n in os.environ if n.startswith("KTRDR_") or n in SETTINGS]:
    del os.environ[name]

# Every process of a parallel run passes here and gets its own folder.
home = tempfile.mkdtemp(prefix="ktrdr-test-")
atexit.register(shutil.rmtree, home, ignore_errors=True)
os.environ["KTRDR_HOME"] = home
Path(home, "static").mkdir()
# A server listens there only while a test asks for one (tests.redis_server).
os.environ["REDIS_URL"] = f"unix://{home}/redis.sock?db=0"
# Compiled kernels are shared between runs: compiling them takes longer than most tests.
os.environ["NUMBA_CACHE_DIR"] = str(PROJECT / "var" / "numba")
