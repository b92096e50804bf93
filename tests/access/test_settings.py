"""Settings come from the environment, with safe defaults, and a wrong one is named in one sentence."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from ktrdr_site.cli import command_line
from tests.examples.homes import ROOT

KEY = "from outside, as a home that is not made yet keeps none"
SHOW = """
import json, os
from ktrdr_site import settings as s
names = [n for n in dir(s) if n.isupper()]
print(json.dumps({n: getattr(s, n) for n in names} | {"NUMBA_CACHE_DIR": os.environ["NUMBA_CACHE_DIR"]}, default=str))
"""


def loaded(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The settings as a fresh process sees them with nothing set but `environment`."""
    variables = {"PATH": os.environ["PATH"], "KTRDR_HOME": str(home)} | environment
    return subprocess.run([sys.executable, "-c", SHOW], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)


def values(home: Path, **environment: str) -> dict[str, object]:
    finished = loaded(home, **environment)
    assert finished.returncode == 0, finished.stderr
    result: dict[str, object] = json.loads(finished.stdout)
    return result


def test_defaults_are_safe(tmp_path: Path) -> None:
    found = values(tmp_path)
    assert found["DEBUG"] is False
    assert found["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert found["TIME_ZONE"] == "UTC"
    assert found["USE_TZ"] is True
    assert (found["CHECKPOINT_EPOCH_INTERVAL"], found["CHECKPOINT_TIME_INTERVAL_SECONDS"], found["CHECKPOINT_MAX_AGE_DAYS"]) == (
        10,
        300,
        30,
    )
    assert len(str(found["SECRET_KEY"])) >= 50


def test_everything_that_is_written_lies_in_the_home_folder(tmp_path: Path) -> None:
    found = values(tmp_path)
    folders = {
        "HOME_DIR": "",
        "STORE_DIR": "bars",
        "CHECKPOINT_DIR": "checkpoints",
        "BUNDLE_DIR": "bundles",
        "CACHE_DIR": "cache",
    }
    folders |= {"LOG_DIR": "logs", "NUMBA_CACHE_DIR": "numba"}
    assert {name: found[name] for name in folders} == {name: str(tmp_path / folder) for name, folder in folders.items()}


def test_sqlite_is_set_up_for_several_writers(tmp_path: Path) -> None:
    for environment in ({}, {"DATABASE_URL": f"sqlite:///{tmp_path}/other.sqlite3"}):
        database = values(tmp_path, **environment)["DATABASES"]["default"]  # type: ignore[index]
        assert database["ENGINE"] == "django.db.backends.sqlite3"
        assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
        assert database["OPTIONS"]["timeout"] == 20
        assert "journal_mode=WAL" in database["OPTIONS"]["init_command"]
    assert database["NAME"].endswith("other.sqlite3")


def test_a_database_address_chooses_postgresql(tmp_path: Path) -> None:
    database = values(tmp_path, KTRDR_SECRET_KEY=KEY, DATABASE_URL="postgres://trader:secret@db.example/ktrdr")["DATABASES"][
        "default"
    ]  # type: ignore[index]
    assert (database["ENGINE"], database["HOST"], database["NAME"]) == ("django.db.backends.postgresql", "db.example", "ktrdr")
    assert "OPTIONS" not in database or "transaction_mode" not in database["OPTIONS"]


def test_on_postgresql_nothing_waits_for_ever_and_the_address_may_say_otherwise(tmp_path: Path) -> None:
    address = "postgres://u:p@db.example:5433/bars?connect_timeout=3&options=-c%20statement_timeout%3D7000"
    found: Any = values(tmp_path, KTRDR_SECRET_KEY=KEY, DATABASE_URL=address, DATABASE_AWAY_SECONDS="12")["DATABASES"]
    options = found["default"]["OPTIONS"]
    assert options["connect_timeout"] in (3, "3") and options["tcp_user_timeout"] == 12_000
    assert options["keepalives_idle"] + options["keepalives_count"] * options["keepalives_interval"] <= 13
    told = [part.strip().split("=") for part in options["options"].split("-c ") if part.strip()]
    assert dict(told)["lock_timeout"] == "20000" and dict(told)["idle_in_transaction_session_timeout"] == "36000"
    assert [value for name, value in told if name == "statement_timeout"] == ["30000", "7000"], "the last one counts"


def test_the_secret_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    with ThreadPoolExecutor(4) as pool:
        keys = {str(found["SECRET_KEY"]) for found in pool.map(lambda _: values(home), range(4))}
    assert keys == {(home / "secret_key").read_text()}
    assert stat.S_IMODE((home / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["secret_key"]


def test_where_the_database_lies_elsewhere_only_a_home_gets_a_key(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", {"DATABASE_URL": "postgres://u:p@db.example/bars"}
    home.mkdir()
    for _ in range(2):
        refused = loaded(home, **elsewhere)
        assert f"KTRDR_SECRET_KEY is not set, and the home {home} is not there or not made yet" in refused.stderr
        assert list(home.iterdir()) == []
    (home / ".ktrdr-id").write_text("0" * 32)
    assert values(home, **elsewhere)["SECRET_KEY"] == (home / "secret_key").read_text()
    (home / ".ktrdr-id").unlink()
    assert values(home, **elsewhere)["SECRET_KEY"] == (home / "secret_key").read_text(), "one of an earlier version is read"


def test_a_secret_key_of_the_environment_is_not_kept(tmp_path: Path) -> None:
    assert values(tmp_path, KTRDR_SECRET_KEY="from outside")["SECRET_KEY"] == "from outside"
    assert list(tmp_path.iterdir()) == []


def test_the_environment_sets_values(tmp_path: Path) -> None:
    found = values(
        tmp_path, KTRDR_DEBUG="on", KTRDR_ALLOWED_HOSTS="a.example, b.example", CHECKPOINT_EPOCH_INTERVAL="3",
        CHECKPOINT_TIME_INTERVAL_SECONDS="0.5", CHECKPOINT_DIR=str(tmp_path / "elsewhere"), NUMBA_CACHE_DIR="/kernels",
        KTRDR_EXCHANGE_KEYS="kraken=the-key:the-secret, binance=a:b",
    )  # fmt: skip
    assert found["EXCHANGE_KEYS"] == {"kraken": ["the-key", "the-secret"], "binance": ["a", "b"]}
    assert found["DEBUG"] is True
    assert found["ALLOWED_HOSTS"] == ["a.example", "b.example"]
    assert (found["CHECKPOINT_EPOCH_INTERVAL"], found["CHECKPOINT_TIME_INTERVAL_SECONDS"]) == (3, 0.5)
    assert (found["CHECKPOINT_DIR"], found["NUMBA_CACHE_DIR"]) == (str(tmp_path / "elsewhere"), "/kernels")


def test_a_wrong_entry_among_the_keys_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    from ktrdr_site.settings import _keys

    monkeypatch.setenv("KTRDR_EXCHANGE_KEYS", "kraken=a:b, binance=the-key")
    with pytest.raises(ImproperlyConfigured, match="entry 2 is not exchange=key:secret") as refused:
        _keys("KTRDR_EXCHANGE_KEYS")
    assert "the-key" not in str(refused.value)


def test_behind_tls_cookies_go_over_tls_only(tmp_path: Path) -> None:
    names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_PROXY_SSL_HEADER", "CSRF_TRUSTED_ORIGINS")
    found = values(tmp_path)
    assert [found[name] for name in names] == [False, False, None, []]
    found = values(tmp_path, KTRDR_BEHIND_TLS="on", KTRDR_TRUSTED_ORIGINS="https://ktrdr.example")
    assert [found[name] for name in names] == [True, True, ["HTTP_X_FORWARDED_PROTO", "https"], ["https://ktrdr.example"]]


def test_rows_are_limited_only_if_that_is_asked_for(tmp_path: Path) -> None:
    assert values(tmp_path)["RESIDENT_LIMIT_BYTES"] is None
    assert values(tmp_path, KTRDR_RESIDENT_LIMIT_BYTES="0")["RESIDENT_LIMIT_BYTES"] == 0


def test_memory_and_retries_have_their_limits(tmp_path: Path) -> None:
    found = values(tmp_path)
    assert (found["MEMORY_LIMIT"], found["RETRIES"], found["RETRY_SECONDS"]) == (None, 3, 30)
    found = values(tmp_path, KTRDR_MEMORY_LIMIT="4000000000", KTRDR_RETRIES="0", KTRDR_RETRY_SECONDS="1.5")
    assert (found["MEMORY_LIMIT"], found["RETRIES"], found["RETRY_SECONDS"]) == (4_000_000_000, 0, 1.5)


def test_symbols_share_all_cores_but_one_unless_that_is_said_otherwise(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert values(tmp_path)["DATA_THREADS"] == {1: 1, 2: 2}.get(cores, cores - 1)
    assert values(tmp_path, KTRDR_THREADS="5")["DATA_THREADS"] == 5


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("CHECKPOINT_EPOCH_INTERVAL", "often", "CHECKPOINT_EPOCH_INTERVAL is 'often', wanted a whole number of at least 1"),
        ("CHECKPOINT_EPOCH_INTERVAL", "0", "CHECKPOINT_EPOCH_INTERVAL is '0', wanted a whole number of at least 1"),
        ("CHECKPOINT_TIME_INTERVAL_SECONDS", "nan", "CHECKPOINT_TIME_INTERVAL_SECONDS is 'nan', wanted a number of at least 0"),
        ("KTRDR_RESIDENT_LIMIT_BYTES", "1e9", "KTRDR_RESIDENT_LIMIT_BYTES is '1e9', wanted a whole number of at least 0"),
        ("KTRDR_THREADS", "0", "KTRDR_THREADS is '0', wanted a whole number of at least 1"),
        ("KTRDR_DEBUG", "maybe", "KTRDR_DEBUG is 'maybe', wanted one of 1, true, yes, on, 0, false, no, off"),
        ("DATABASE_URL", "nonsense", "DATABASE_URL is not a database address"),
        ("DATABASE_URL", "oops://x", "DATABASE_URL is not a database address"),
    ],
)
def test_a_wrong_value_is_named_in_one_sentence(tmp_path: Path, name: str, value: str, sentence: str) -> None:
    variables = {"PATH": os.environ["PATH"], "KTRDR_HOME": str(tmp_path), name: value}
    command = [sys.executable, "manage.py", "check"]
    finished = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)
    assert finished.returncode != 0
    assert sentence in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_home_that_cannot_be_written_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    finished = loaded(tmp_path / "file")
    assert "set KTRDR_HOME to a folder that can be written, or KTRDR_SECRET_KEY" in finished.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["data", "load", "AAPL", "1d"], ["load_data", "AAPL", "1d"]),
        (["data"], ["data"]),
        (["data", "AAPL"], ["data", "AAPL"]),
        (["strategies", "list"], ["strategies", "list"]),
        ([], []),
    ],
)
def test_the_console_script_knows_the_same_commands(typed: list[str], meant: list[str]) -> None:
    assert command_line(["ktrdr", *typed]) == ["ktrdr", *meant]
