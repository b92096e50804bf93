"""Loaded before Django's settings (`-p tests.plugin`): tests get a home folder, a Redis and the defaults of all settings."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from training.workers import embedded_redis

# `make test` answers the same for the same code; `make fuzz` draws other examples at every call.
settings.register_profile("same", derandomize=True)
settings.register_profile("search", print_blob=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--attacks", type=int, default=None, help="odd bodies sent by tests/access/test_attacks.py, and all else in proportion"
    )
    parser.addoption("--pictures", action="store_true", help="whole pages of the browser tests as pictures in var/pictures")
    parser.addoption("--attack-seed", type=int, default=11, help="what they are drawn from")


PROJECT = Path(__file__).resolve().parent.parent
#: Whatever the developer has set must not reach a test.
SETTINGS = (
    "EMAIL_HOST",
    "DATABASE_URL",
    "CHECKPOINT_DIR",
    "CHECKPOINT_EPOCH_INTERVAL",
    "CHECKPOINT_TIME_INTERVAL_SECONDS",
    "CHECKPOINT_MAX_AGE_DAYS",
    "ORPHAN_TIMEOUT_SECONDS",
    "ORPHAN_CHECK_INTERVAL_SECONDS",
    "HEARTBEAT_SECONDS",
    "DATABASE_BUSY_SECONDS",
    "REDIS_URL",
)

#: What a test run may be told, for tests that read it when they are asked for: here `make hosts` asks for hosts.
ASKED_FOR = ("KTRDR_TEST_HOSTS",)

# Likewise, and read here: a database of its own in place of SQLite; Django makes another beside it.
database_url = os.environ.get("KTRDR_TEST_DATABASE_URL", "")

for name in [n for n in os.environ if (n.startswith("KTRDR_") and n not in ASKED_FOR) or n in SETTINGS]:
    del os.environ[name]

if database_url:
    os.environ["DATABASE_URL"] = database_url

# Every process of a parallel run passes here and gets its own folder.
home = tempfile.mkdtemp(prefix="ktrdr-test-")
atexit.register(shutil.rmtree, home, ignore_errors=True)
os.environ["KTRDR_HOME"] = home
Path(home, "static").mkdir()
if database_url:
    Path(home, ".ktrdr-id").write_text("0" * 32)  # a home that is there, though its database lies elsewhere
# Compiled kernels are shared between runs: compiling them takes longer than most tests.
os.environ["NUMBA_CACHE_DIR"] = str(PROJECT / "var" / "numba")

# Never the Redis of a running system: tests empty theirs. A short folder of its own, since a socket's path must be short.
redis_folder = Path(tempfile.mkdtemp(prefix="ktrdr-", dir="/tmp"))
atexit.register(shutil.rmtree, redis_folder, ignore_errors=True)
atexit.register(embedded_redis.stop, embedded_redis.start(redis_folder, redis_folder / "redis.sock"))
REDIS_URL = f"unix://{redis_folder / 'redis.sock'}?db=0"
os.environ["REDIS_URL"] = REDIS_URL
