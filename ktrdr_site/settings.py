"""Settings of the Django project: every one has a safe default and can be set by an environment variable."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import secrets
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject

from training.core.modes import TooOpen, close_home, closed_sentence, may_write, umask_of


def _number(name: str, default: float, *, low: float, whole: bool = False) -> float:
    """The number in environment variable `name`, at least `low`."""
    text = os.environ.get(name, "").strip()
    wanted = f"wanted a {'whole ' if whole else ''}number of at least {low:g}"
    try:
        value = (int(text) if whole else float(text)) if text else default
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {text!r}, {wanted}") from None
    if not (math.isfinite(value) or (not text and value == default)) or value < low:
        raise ImproperlyConfigured(f"{name} is {text!r}, {wanted}")
    return value


def _flag(name: str, default: bool) -> bool:
    """The yes-or-no in environment variable `name`."""
    text = os.environ.get(name, "").strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    if text:
        raise ImproperlyConfigured(f"{name} is {text!r}, wanted one of 1, true, yes, on, 0, false, no, off")
    return default


def _names(name: str, default: list[str]) -> list[str]:
    """The comma-separated list in environment variable `name`."""
    return [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()] or default


def _keys(name: str) -> dict[str, tuple[str, str]]:
    """`exchange=key:secret, …` in environment variable `name`; what is wrong is said without a secret."""
    found = {}
    for number, part in enumerate(_names(name, []), 1):
        exchange, _, both = part.partition("=")
        key, _, secret = both.partition(":")
        if not (exchange.strip() and key.strip() and secret.strip()):
            raise ImproperlyConfigured(f"{name}: entry {number} is not exchange=key:secret")
        found[exchange.strip()] = (key.strip(), secret.strip())
    return found


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _folder(name: str, default: Path) -> Path:
    """The folder in environment variable `name`, as an absolute path; it need not exist."""
    text = os.environ.get(name, "").strip()
    return Path(text).expanduser().absolute() if text else default


def _umask(name: str) -> int:
    """What the mode in environment variable `name` leaves to nobody else."""
    text = os.environ.get(name, "").strip() or "700"
    try:
        return umask_of(text)
    except ValueError:
        raise ImproperlyConfigured(
            f"{name} is {text!r}, wanted 700 (only who owns it), 750 or 770 (its group too), or another mode that begins with 7"
        ) from None


def _elsewhere(home: Path, *folders: Path) -> list[Path]:
    """What of ours lies outside of the home: folders, and the files of an SQLite database."""
    name = str(DATABASES["default"]["NAME"]) if "sqlite3" in str(DATABASES["default"]["ENGINE"]) else ""
    files = [Path(name + end) for end in ("", "-wal", "-shm", "-journal")] if name else []
    return [path for path in [*folders, *files] if home not in path.parents]


def _let_group_write(database: dict[str, object]) -> None:
    """SQLite makes a file that only its owner may write, so it finds one."""
    if UMASK & 0o020 or database["ENGINE"] != "django.db.backends.sqlite3":
        return
    try:
        Path(str(database["NAME"])).touch(0o666)
    except OSError as error:
        raise ImproperlyConfigured(f"the database {database['NAME']} cannot be made: {error.strerror}") from None


def _close(home: Path, elsewhere: list[Path]) -> None:
    """An older version left everything open to read."""
    try:
        changed = close_home(home, elsewhere, UMASK)
    except TooOpen as error:
        raise ImproperlyConfigured(str(error)) from None
    if changed:
        sys.stderr.write(closed_sentence(home, changed) + "\n")


def _socket(home: Path) -> Path:
    """Where the embedded Redis listens: in the home, or, where that path is no good for a socket, in a short folder of its own.

    The path becomes part of a URL and of what the server tells of its clients, where a space or `=` cannot be read.
    """
    inside = home / "redis" / "redis.sock"
    if re.fullmatch(rb"[A-Za-z0-9/._-]{1,100}", os.fsencode(inside)):  # the system cuts a longer path silently
        return inside
    # The same for every process of this home, whatever TMPDIR is in each.
    return Path("/tmp") / f"ktrdr-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}" / "redis.sock"  # noqa: S108


def _stored_secret(path: Path) -> str:
    """The secret key kept in `path`, made there on the first call where that is a home.

    The finished file is linked into place, so that of two processes starting at once one wins and
    both read the same key.
    """
    try:
        if not path.exists():
            if not may_write(path.parent, str(DATABASES["default"]["NAME"])):  # it may have been made meanwhile
                raise ImproperlyConfigured(f"KTRDR_SECRET_KEY is not set, and {NO_HOME}")
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=".secret-", dir=path.parent)
            try:
                os.fchmod(descriptor, 0o666 & ~UMASK)
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(secrets.token_urlsafe(48))
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    pass
            finally:
                os.unlink(temporary)
        key = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"the secret key cannot be kept in {path} ({error.strerror}): set KTRDR_HOME to a folder that can be written, "
            "or KTRDR_SECRET_KEY"
        ) from None
    if len(key) < 32:
        raise ImproperlyConfigured(f"{path} holds no secret key (at least 32 characters): delete it and a new one is made")
    return key


def _database(url: str) -> dict[str, object]:
    try:
        database = dict(dj_database_url.parse(url, conn_health_checks=True))
    except (ValueError, dj_database_url.UnknownSchemeError):
        # The URL itself may hold a password and is not shown.
        raise ImproperlyConfigured(
            "DATABASE_URL is not a database address, wanted for example postgres://user:password@host/name"
        ) from None
    if database["ENGINE"] == "django.db.backends.sqlite3":
        # Several processes write at once: without these, half of the transactions fail with "database is locked".
        # synchronous=FULL, because NORMAL may lose the last commits at a power loss.
        busy = _number("DATABASE_BUSY_SECONDS", 20, low=0.1)
        database["OPTIONS"] = {
            "timeout": busy,
            "transaction_mode": "IMMEDIATE",
            "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout={busy * 1000:.0f};",
        }
        # A file, since threads and child processes of a test share it.
        database["TEST"] = {"NAME": str(HOME_DIR / "test_db.sqlite3")}
    elif database["ENGINE"] == "django.db.backends.postgresql":
        database = _bounded(database)
    return database


def _bounded(database: dict[str, object]) -> dict[str, object]:
    """A PostgreSQL connection on which nothing waits for ever: for a server or a network that is away, for another's lock.

    The server is told the same of us, so that a machine that vanishes inside a transaction does not keep its locks.
    What stands in DATABASE_URL itself wins.
    """
    away = _number("DATABASE_AWAY_SECONDS", 10, low=2)
    statement = _number("DATABASE_STATEMENT_SECONDS", 30, low=0)
    busy = _number("DATABASE_BUSY_SECONDS", 20, low=0.1)
    # Asked after a third of the time, then thrice in what is left of it.
    idle, interval = max(1, round(away / 3)), max(1, round(away * 2 / 9))
    session = {
        "statement_timeout": f"{statement * 1000:.0f}",
        "lock_timeout": f"{busy * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{3 * away * 1000:.0f}",
        "tcp_keepalives_idle": f"{idle}",
        "tcp_keepalives_interval": f"{interval}",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": f"{away * 1000:.0f}",
    }
    own: Any = database.get("OPTIONS", {})
    ours = {
        "connect_timeout": max(2, round(away / 2)),
        "keepalives_idle": idle,
        "keepalives_interval": interval,
        "keepalives_count": 3,
        "tcp_user_timeout": round(away * 1000),
        **own,
        "options": " ".join(
            [*(f"-c {name}={value}" for name, value in session.items()), *([own["options"]] if "options" in own else [])]
        ),
    }
    return {**database, "OPTIONS": ours}


#: Before anything is written: files are for whoever runs this, and for a group if KTRDR_HOME_MODE says so. What a command
#: writes elsewhere, where it was told to, is as open as the caller's other files.
UMASK = _umask("KTRDR_HOME_MODE")
CALLER_UMASK = os.umask(UMASK)

#: What the packages lie in: the repository, or the site-packages that a wheel was installed into.
BASE_DIR = Path(__file__).resolve().parent.parent
_PACKED_TEMPLATES = BASE_DIR / "ktrdr_site" / "templates"  # only a wheel has them there
IS_INSTALLED = _PACKED_TEMPLATES.is_dir()
TEMPLATE_DIR = _PACKED_TEMPLATES if IS_INSTALLED else BASE_DIR / "templates"
#: All that a running system writes: database, bars, checkpoints, bundles, cache, logs, the secret key.
HOME_DIR = _folder("KTRDR_HOME", Path.home() / ".ktrdr" if IS_INSTALLED else BASE_DIR / "var")
STORE_DIR = HOME_DIR / "bars"
CHECKPOINT_DIR = _folder("CHECKPOINT_DIR", HOME_DIR / "checkpoints")
BUNDLE_DIR = HOME_DIR / "bundles"
CACHE_DIR = _folder("KTRDR_CACHE_DIR", HOME_DIR / "cache")
LOG_DIR = HOME_DIR / "logs"
#: What runs with detailed analytics tell of their insides.
ANALYTICS_DIR = HOME_DIR / "analytics"
#: Files of bars that were uploaded and are not loaded yet.
UPLOAD_DIR = HOME_DIR / "uploads"

#: A checkpoint is saved at the end of an epoch after this many epochs or seconds, whichever comes first.
CHECKPOINT_EPOCH_INTERVAL = int(_number("CHECKPOINT_EPOCH_INTERVAL", 10, low=1, whole=True))
CHECKPOINT_TIME_INTERVAL_SECONDS = _number("CHECKPOINT_TIME_INTERVAL_SECONDS", 300, low=0)
CHECKPOINT_MAX_AGE_DAYS = _number("CHECKPOINT_MAX_AGE_DAYS", 30, low=0)

#: The feature cache keeps what was used last within so many bytes.
CACHE_LIMIT_BYTES = int(_number("KTRDR_CACHE_LIMIT_BYTES", 4 * 1024**3, low=0, whole=True))

#: So many symbols are loaded and worked out at a time: all cores but one, and two where there are two. A network
#: always trains on one thread. It changes no number, only how long the numbers take.
DATA_THREADS = int(_number("KTRDR_THREADS", min(_cores(), max(2, _cores() - 1)), low=1, whole=True))

#: A run's rows lie on the device as a whole if they take no more bytes than this; None: as far as there is room.
_resident = _number("KTRDR_RESIDENT_LIMIT_BYTES", math.inf, low=0, whole=True)
RESIDENT_LIMIT_BYTES = int(_resident) if math.isfinite(_resident) else None
#: So many bytes a training may take beside the program itself; features that do not fit are read from the cache's file.
#: None: as many as are free.
_memory = _number("KTRDR_MEMORY_LIMIT", math.inf, low=1, whole=True)
MEMORY_LIMIT = int(_memory) if math.isfinite(_memory) else None
#: The start form has a box for each stored symbol, and a training takes up to 10,000 of them.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_100
#: How many files of bars may come at once is said in a sentence, not by a refused request.
DATA_UPLOAD_MAX_NUMBER_FILES = 10_000
#: A larger file of bars is not taken by the web site; `load_data` takes any.
UPLOAD_LIMIT_BYTES = int(_number("KTRDR_UPLOAD_LIMIT_BYTES", 200_000_000, low=0, whole=True))
#: For exchanges that give bars only to who is known. From the environment alone: never stored, never shown, never logged.
EXCHANGE_KEYS = _keys("KTRDR_EXCHANGE_KEYS")
#: Who may read /metrics besides users and their API tokens: a scraper with this token; empty: nobody.
METRICS_TOKEN = os.environ.get("KTRDR_METRICS_TOKEN", "").strip()
FILE_UPLOAD_HANDLERS = [
    "training.jobs.uploads.Capped",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]

#: Compiled kernels are kept with the rest.
KERNEL_DIR = _folder("NUMBA_CACHE_DIR", HOME_DIR / "numba")
_own_database = quote(os.fsencode(HOME_DIR / "ktrdr.sqlite3"))  # a home may be called anything
DATABASES = {"default": _database(os.environ.get("DATABASE_URL", "").strip() or f"sqlite:///{_own_database}")}
NO_HOME = f"the home {HOME_DIR} is not there or not made yet: mount the folder, or make a new home with `manage.py migrate`"
#: Whether a file may be put into the home before the database was asked whether it is the right one.
MAY_WRITE = may_write(HOME_DIR, str(DATABASES["default"]["NAME"]))
# It must be set before numba is first imported. Empty: beside the code, or in a folder of the user's, as numba finds it.
os.environ["NUMBA_CACHE_DIR"] = str(KERNEL_DIR) if MAY_WRITE or HOME_DIR not in KERNEL_DIR.parents else ""
#: Closed like the home, though it lies outside of it.
ELSEWHERE = _elsewhere(HOME_DIR, CHECKPOINT_DIR, CACHE_DIR, KERNEL_DIR)
_close(HOME_DIR, ELSEWHERE)

DEBUG = _flag("KTRDR_DEBUG", False)


def _secret() -> str:
    return os.environ.get("KTRDR_SECRET_KEY", "").strip() or _stored_secret(HOME_DIR / "secret_key")


# Where no home is yet, only what signs something needs a key: `migrate` makes the home without one.
SECRET_KEY = _secret() if MAY_WRITE else SimpleLazyObject(_secret)
_let_group_write(DATABASES["default"])
ALLOWED_HOSTS = _names("KTRDR_ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = _names("KTRDR_TRUSTED_ORIGINS", [])

#: Behind a server that speaks TLS: cookies go over TLS only, and who asks and how is read from that server's headers.
BEHIND_TLS = _flag("KTRDR_BEHIND_TLS", False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BEHIND_TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_TLS else None

#: The server that mails go out by; without one nobody can ask for a mail.
EMAIL_HOST = os.environ.get("EMAIL_HOST", "").strip()
EMAIL_PORT = int(_number("EMAIL_PORT", 25, low=1, whole=True))
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = os.environ.get("EMAIL_HOST_USER", ""), os.environ.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS, EMAIL_USE_SSL = _flag("EMAIL_USE_TLS", False), _flag("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = _number("EMAIL_TIMEOUT", 10, low=0.1)
DEFAULT_FROM_EMAIL = os.environ.get("DEFAULT_FROM_EMAIL", "").strip() or "ktrdr@localhost"

#: A running operation whose heartbeat has not changed for so long has lost its process.
ORPHAN_TIMEOUT_SECONDS = _number("ORPHAN_TIMEOUT_SECONDS", 60, low=0.1)
ORPHAN_CHECK_INTERVAL_SECONDS = _number("ORPHAN_CHECK_INTERVAL_SECONDS", 15, low=0.1)
#: A training on a worker that failed of something passing (a lost connection) is tried again so often, after so many
#: seconds at first and twice as many each time.
RETRIES = int(_number("KTRDR_RETRIES", 3, low=0, whole=True))
RETRY_SECONDS = _number("KTRDR_RETRY_SECONDS", 30, low=0)
#: Graphics cards that have not answered after so long are left out until they do.
DEVICE_SECONDS = _number("KTRDR_DEVICE_SECONDS", 60, low=0.1)
#: A training that waits for a worker of its queue, or for any, waits so long before it is given up as failed.
WORKER_WAIT_SECONDS = _number("KTRDR_WORKER_WAIT_SECONDS", 86400, low=0.1)
HEARTBEAT_SECONDS = _number("HEARTBEAT_SECONDS", 5, low=0.1)

#: Without REDIS_URL, `up` starts a Redis of its own on this socket; its address is known to every process of this home.
REDIS_SOCKET = _socket(HOME_DIR)
REDIS_EMBEDDED = not os.environ.get("REDIS_URL", "").strip()
REDIS_URL = f"unix://{REDIS_SOCKET}?db=0" if REDIS_EMBEDDED else os.environ["REDIS_URL"].strip()
#: Kinds of workers that the `up` behind this web server keeps running; `up` says so itself.
STARTED_BY_UP = _names("KTRDR_STARTED_BY_UP", [])
RQ_QUEUES = {
    name: {"URL": REDIS_URL, "DEFAULT_TIMEOUT": timeout, "SERIALIZER": "rq.serializers.JSONSerializer"}
    for name, timeout in (("gpu", -1), ("cpu", -1), ("quick", 30))
}
RQ = {"COMMIT_MODE": "auto"}
CHANNEL_LAYERS = {
    "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}},
}

# TrainAdminConfig is a SimpleAdminConfig: finding the admin's registrations at start would cost every command; urls.py does it.
INSTALLED_APPS = [
    "ktrdr_site.apps.TrainAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "django_rq",
    "django_htmx",
    "ninja",
    "strategies_app",
    "training",
]
MIDDLEWARE = [
    # First those that add headers: whoever answers inside of them answers with them.
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "training.api.errors.ApiBoundary",
    "training.access.plain_requests.PlainRequests",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "training.web.page.BusyDatabase",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [TEMPLATE_DIR],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "training.web.page.frame",
            ]
        },
    }
]
ROOT_URLCONF = "ktrdr_site.urls"
ASGI_APPLICATION = "ktrdr_site.asgi.application"

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "static/"
STATIC_ROOT = HOME_DIR / "static"
FILE_UPLOAD_PERMISSIONS = FILE_UPLOAD_DIRECTORY_PERMISSIONS = None  # as the umask says
#: Plotly's one file comes from its own Python package, found without importing it.
STATICFILES_DIRS = [("plotly", Path(str(find_spec("plotly").origin)).parent / "package_data")]  # type: ignore[union-attr]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # The name holds a hash of the content: browsers keep a file for ever, and a new one has a new name.
    "staticfiles": {"BACKEND": "ktrdr_site.storage.HomeStorage"},
}
LOGIN_URL = "site:sign-in"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "site:home"
# Nothing comes from elsewhere and no text becomes a script. Plotly writes styles into its drawings; heat maps are data: images.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "img-src": ["'self'", "data:", "blob:"],
        "connect-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
#: An answer that refuses is one line in the server's log, and a trouble that lasts is said once a minute.
_REFUSING = (
    "request",
    *(
        f"security.{kind}"
        for kind in (
            "DisallowedHost",
            "DisallowedRedirect",
            "RequestDataTooBig",
            "SuspiciousFileOperation",
            "SuspiciousMultipartForm",
            "SuspiciousSession",
            "TooManyFieldsSent",
            "TooManyFilesSent",
        )
    ),
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "without_traceback": {"()": "ktrdr_site.log_filters.WithoutTraceback"},
        "once": {"()": "ktrdr_site.log_filters.Once"},
    },
    "loggers": {
        **{f"django.{name}": {"filters": ["without_traceback"]} for name in _REFUSING},
        **{f"training.{name}": {"filters": ["once"]} for name in ("workers.monitoring", "jobs.progress", "workers.machine_use")},
    },
}
# Of a record that cannot be written (a full disk) logging would print a traceback of its own, every time.
logging.raiseExceptions = DEBUG
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = SESSION_COOKIE_SAMESITE = "Lax"
