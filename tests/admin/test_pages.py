"""Pages of the admin: escaped, cheap, live, light; files are handed out whole; keys are shown once; roles are given by admins."""

from __future__ import annotations

import io
import json
import re
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from redis import Redis
from redis.exceptions import ConnectionError as NoConnection

from strategies_app.models import Strategy, StrategyVersion
from tests.examples import admin_rows as rows
from tests.examples.homes import Home
from training.access import tokens
from training.admin.parts import address_of, coarse, size, span
from training.jobs import queues
from training.models import ApiToken, AuditEntry, BarSeries, Checkpoint, Operation, Status, TrainedModel

pytestmark = pytest.mark.django_db
EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
LISTS = [
    "training_operation", "training_trainedmodel", "training_checkpoint", "training_barseries", "training_apitoken",
    "training_auditentry", "strategies_app_strategy", "strategies_app_strategyversion", "auth_user", "auth_group",
]  # fmt: skip


@pytest.fixture
def ada() -> User:
    return rows.person("ada", "admin")


@pytest.fixture
def boss(ada: User) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer
    return str(answer.content.decode())


# --- escaped ---


@pytest.fixture
def hostile(ada: User) -> dict[str, Any]:
    """Rows with markup wherever text can be."""
    version = rows.version("plain")
    strategy = version.strategy
    Strategy.objects.update(name=EVIL[:100])
    StrategyVersion.objects.update(text=f"name: plain\n# {EVIL}\n", source_path=EVIL)
    second = StrategyVersion.objects.create(
        strategy=strategy, number=2, text=f"# {EVIL} again\n", sha256="0" * 64, source_path=EVIL
    )
    spec = {"training_data": {"symbols": {"list": [EVIL]}, "timeframes": {"list": [EVIL]}}, EVIL: EVIL}
    User.objects.filter(pk=ada.pk).update(first_name=EVIL[:150], email=EVIL[:200])
    author = User.objects.create(username=EVIL[:150])
    fields = {
        "spec": json.dumps(spec), "notes": [EVIL], "error": EVIL, "certificate": EVIL, "reason": EVIL, "stage": EVIL[:32],
        "host": EVIL, "device": EVIL, "process": EVIL, "task_id": EVIL, "fingerprints": {EVIL: {EVIL: EVIL}}, "user": author,
    }  # fmt: skip
    operation = Operation.objects.create(strategy_version=second, status=Status.FAILED, **fields)
    rows.log(operation, f"{EVIL}\n")
    checkpoint = Checkpoint.objects.create(
        operation=operation, attempt=1, epoch=1, kind="periodic", folder=EVIL, sha256="x", size=1
    )
    metrics = json.loads(json.dumps(rows.METRICS).replace("HOLD", json.dumps(EVIL)[1:-1]))
    model = TrainedModel.objects.create(operation=operation, name=EVIL, folder="nowhere", sha256="x", metrics=metrics)
    series = rows.bars()
    BarSeries.objects.update(symbol=EVIL[:32], source=EVIL, quality={"warnings": [EVIL], "gaps": {}, EVIL: EVIL})
    token = tokens.create(ada, EVIL, "read")[0]
    entry = rows.audit(operation.pk, username=EVIL, action=EVIL[:32], details={EVIL: EVIL, "via": EVIL})
    rows.audit(EVIL, username=EVIL)
    return {"operation": operation, "checkpoint": checkpoint, "model": model, "series": series, "token": token, "entry": entry,
            "strategy": strategy, "version": second, "person": ada}  # fmt: skip


def test_no_text_becomes_markup(boss: Client, hostile: dict[str, Any]) -> None:
    pages = [reverse(f"admin:{name}_changelist") for name in LISTS]
    pages += [address_of(row) for row in hostile.values()]
    pages += [address_of(row, page) for row in hostile.values() for page in ("history", "delete")]
    pages += [address_of(hostile["operation"], "resume"), address_of(hostile["token"], "revoke"), reverse("admin:index")]
    seen = 0
    for page in pages:
        answer = boss.get(page, follow=True)
        content = answer.content.decode()
        assert answer.status_code in (200, 403), page
        assert not re.search(r"<script>alert|<img src=x", content), page
        seen += "&lt;script&gt;" in content
    assert seen > 20


def test_hostile_answers_and_reasons_are_escaped_in_messages(boss: Client, hostile: dict[str, Any]) -> None:
    operation = hostile["operation"]
    Operation.objects.update(status=Status.RUNNING, queue="")
    page = boss.post(address_of(operation, "cancel"), {"reason": EVIL}, follow=True)
    assert "<script>alert" not in text(page) and Operation.objects.get().reason == EVIL
    assert "<script>alert" not in text(boss.get(reverse("admin:training_operation_changelist"), {"q": EVIL, "strategy": EVIL}))


def test_a_hostile_strategy_text_is_escaped_in_the_form(boss: Client) -> None:
    page = text(boss.post(reverse("admin:strategies_app_strategy_add"), {"text": f"</textarea>{EVIL}: {EVIL}"}))
    assert "<script>alert" not in page and "</textarea><script" not in page


def test_pages_have_no_inline_script_or_style(boss: Client) -> None:
    operation = rows.operation(Status.RUNNING, epochs=3)
    for page in (
        reverse("admin:training_operation_changelist"),
        address_of(operation),
        address_of(operation.strategy_version.strategy),
    ):
        content = text(boss.get(page))
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\son\w+=|\sstyle=", content), page


# --- cheap ---


def many(ada: User, count: int = 500) -> None:
    """So many rows of every kind, of many strategies and people."""
    people = [User.objects.create(username=f"person {n}") for n in range(20)]
    versions = [rows.version(f"strategy_{n}", epochs=n + 1) for n in range(20)]
    template = rows.operation(Status.COMPLETED)
    operations = Operation.objects.bulk_create(
        Operation(strategy_version=versions[n % 20], spec=template.spec, user=people[n % 20], status=list(Status)[n % 7])
        for n in range(count)
    )
    strategies = Strategy.objects.bulk_create(Strategy(name=f"other_{n}") for n in range(count))
    StrategyVersion.objects.bulk_create(
        StrategyVersion(strategy=s, number=1, text="name: x", sha256="0" * 64) for s in strategies
    )
    TrainedModel.objects.bulk_create(
        TrainedModel(operation=o, name=f"m{n}", folder=f"f{n}", sha256="0", metrics=rows.METRICS)
        for n, o in enumerate(operations)
    )
    Checkpoint.objects.bulk_create(
        Checkpoint(operation=o, attempt=1, epoch=n, kind="periodic", folder=f"c{n}", sha256="0", size=1)
        for n, o in enumerate(operations)
    )
    now = timezone.now()
    BarSeries.objects.bulk_create(
        BarSeries(symbol=f"S{n}", timeframe="1d", first=now, last=now, rows=1, sha256="0") for n in range(count)
    )
    ApiToken.objects.bulk_create(
        ApiToken(user=people[n % 20], name=f"t{n}", prefix="ktrdr_", sha256=f"{n}") for n in range(count)
    )
    AuditEntry.objects.bulk_create(
        AuditEntry(user=people[n % 20], username="x", action=f"a{n % 9}", target=operations[n].pk) for n in range(count)
    )
    User.objects.bulk_create(User(username=f"many {n}") for n in range(count))


def test_no_list_asks_the_database_more_than_twelve_times(boss: Client, ada: User) -> None:
    many(ada)
    trainer = Client()
    trainer.force_login(rows.person("tom", "trainer"))
    for client in (boss, trainer):
        for name in LISTS:
            for query in ("", "?q=strategy_1"):
                with CaptureQueriesContext(
                    connection,
                ) as asked:
                    answer = client.get(reverse(f"admin:{name}_changelist") + query)
                assert answer.status_code in (200, 302, 403)
                assert len(asked) <= 12, f"{name}{query}: {len(asked)}\n" + "\n".join(q["sql"][:200] for q in asked)


def test_a_page_with_many_epochs_shows_the_last_ones(boss: Client) -> None:
    operation = rows.operation(Status.RUNNING, epochs=450)
    with CaptureQueriesContext(connection) as asked:
        page = text(boss.get(address_of(operation)))
    assert len(asked) <= 15 and "1 to 200 of 450, newest first" in page
    assert "401 to 450 of 450" in text(boss.get(address_of(operation) + "?metrics_page=3"))


# --- found ---


@pytest.mark.parametrize(
    ("word", "found"),
    [("momentum", True), ("aapl", True), ("AAPL momentum", True), ("AAP", False), ("single", False), ("[", False), ("\\", False)],
)
def test_operations_are_found_by_strategy_and_symbol(boss: Client, word: str, found: bool) -> None:
    rows.operation()
    answer = boss.get(reverse("admin:training_operation_changelist"), {"q": word})
    assert answer.context["cl"].result_count == int(found)


def test_operations_are_found_by_the_end_of_their_id(boss: Client) -> None:
    operation = rows.operation()
    rows.operation()
    answer = boss.get(reverse("admin:training_operation_changelist"), {"q": operation.pk[-8:]})
    assert [o.pk for o in answer.context["cl"].result_list] == [operation.pk]


# --- live ---


def test_the_live_address_tells_what_changes(boss: Client) -> None:
    running, done = rows.operation(Status.RUNNING, epochs=12), rows.operation(Status.COMPLETED)
    rows.log(running, "epoch 12\n")
    live = reverse("admin:training_operation_live")
    answer = boss.get(live, {"ids": f"{running.pk},{done.pk},op_unknown"})
    told = answer.json()["operations"]
    assert set(told) == {running.pk, done.pk} and "log" not in answer.json()
    assert (told[running.pk]["status"], told[running.pk]["share"], told[running.pk]["doing"]) == (
        "running",
        "46%",
        "train, epoch 12",
    )
    assert told[running.pk]["live"] and not told[done.pk]["live"]
    assert boss.get(live, {"ids": running.pk, "log": "1"}).json()["log"] == "epoch 12"
    with CaptureQueriesContext(connection) as asked:
        boss.get(live, {"ids": running.pk})
    assert len(asked) <= 4


def test_every_live_value_has_its_place_on_the_page(boss: Client) -> None:
    """The script writes values into elements that name them: a name without a value would say `undefined`."""
    operation = rows.operation(Status.RUNNING, epochs=3)
    values = boss.get(reverse("admin:training_operation_live"), {"ids": operation.pk}).json()["operations"][operation.pk]
    for page in (address_of(operation), reverse("admin:training_operation_changelist")):
        names = set(re.findall(r'data-live="(\w+)"', text(boss.get(page))))
        assert names and names <= set(values)


# --- workers ---


def test_the_workers_page_says_how_to_start_one(boss: Client, empty_redis: Any) -> None:
    assert "manage.py worker --tag cpu" in text(boss.get(reverse("admin:workers")))


def test_the_workers_page_shows_who_trains_what(boss: Client, empty_redis: Any) -> None:
    from rq import Worker

    worker = Worker([queues.queue_of("cpu")], connection=empty_redis, name="cpu-desk-12345678")
    worker.register_birth()
    empty_redis.hset(queues.environment_key(worker.name), mapping={"host": "desk", "device_name": EVIL, "memory": "34359738368"})
    worker.set_state("busy")
    worker.prepare_execution(queues.queue_of("cpu").create_job("x", job_id="op_training_20260101_000000_abcdef12-3", timeout=-1))
    page = text(boss.get(reverse("admin:workers")))
    worker.register_death()
    assert (
        "cpu-desk-12345678" in page
        and "34.4 GB" in page
        and "abcdef12</a> attempt 3" in page
        and "busy</span>" in page
        and "<script>alert" not in page
    )


def test_the_workers_page_bears_a_redis_that_is_down(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*args: object, **kwargs: object) -> None:
        raise NoConnection("Error 2 connecting")

    monkeypatch.setattr(Redis, "execute_command", down)
    assert "Error 2 connecting" in text(boss.get(reverse("admin:workers")))


# --- models ---


def test_a_model_is_judged_beside_the_majority(boss: Client) -> None:
    model = rows.model(rows.operation())
    page = text(boss.get(address_of(model)))
    assert "Better than the majority class" in page and "52.1%" in page and "always HOLD" in page and "seed: 42" in page
    listed = text(boss.get(reverse("admin:training_trainedmodel_changelist")))
    assert "52.1%" in listed and "47.3% HOLD" in listed and "0.118" in listed


def test_a_model_without_files_or_measures_still_has_a_page(boss: Client) -> None:
    model = TrainedModel.objects.create(operation=rows.operation(), name="empty-1", folder="nowhere", sha256="x")
    assert "cannot be read" in text(boss.get(address_of(model)))
    assert "empty-1" in text(boss.get(reverse("admin:training_trainedmodel_changelist")))


def test_a_bundle_is_handed_out_whole_and_with_a_trace(boss: Client) -> None:
    model = rows.model(rows.operation())
    answer = boss.get(address_of(model, "download"))
    assert answer.streaming and answer["Content-Disposition"] == 'attachment; filename="momentum_daily-1.zip"'
    with zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content))) as archive:
        assert set(archive.namelist()) == {
            f"momentum_daily-1/{name}"
            for name in ("weights.safetensors", "predictions.safetensors", "strategy.yaml", "bundle.json", "manifest.json")
        }
        assert archive.read("momentum_daily-1/weights.safetensors") == b"w" * 4000
    assert AuditEntry.objects.get(action="export").target == model.name


@pytest.mark.parametrize("harm", ["change", "remove", "add", "all", "exchange"])
def test_a_bundle_with_a_changed_byte_is_not_handed_out(boss: Client, harm: str) -> None:
    model = rows.model(rows.operation())
    folder = Path(settings.BUNDLE_DIR) / model.folder
    if harm == "change":
        (folder / "weights.safetensors").write_bytes(b"w" * 3999 + b"x")
    elif harm == "remove":
        (folder / "bundle.json").unlink()
    elif harm == "add":
        (folder / "more.bin").write_bytes(b"")
    elif harm == "all":
        folder.rename(folder.with_suffix(".gone"))
    else:
        TrainedModel.objects.update(sha256="0" * 64)
    answer = boss.get(address_of(model, "download"))
    assert answer.status_code == 302
    assert "is not handed out" in str(next(iter(get_messages(answer.wsgi_request))))
    assert not AuditEntry.objects.filter(action="export").exists()


# --- keys ---


def make_token(client: Client, **fields: str) -> Any:
    return client.post(
        reverse("admin:training_apitoken_add"), {"name": "notebook", "scope": "read", "expires_0": "", "expires_1": ""} | fields
    )


def test_a_secret_is_shown_once_and_stored_nowhere(boss: Client) -> None:
    answer = make_token(boss)
    secret = re.search(r"ktrdr_[\w-]{20,}", text(answer)).group()  # type: ignore[union-attr]
    token = ApiToken.objects.get()
    assert tokens.find(secret) == token and "no-store" in answer["Cache-Control"]
    pages = (address_of(token), reverse("admin:training_apitoken_changelist"), address_of(token, "history"))
    assert not any(secret in text(boss.get(page)) for page in pages)
    assert secret not in json.dumps(list(AuditEntry.objects.values("target", "details")))


@pytest.mark.parametrize(("role", "scope", "made"), [
    ("viewer", "read", True), ("viewer", "train", False), ("viewer", "admin", False),
    ("trainer", "train", True), ("trainer", "admin", False), ("admin", "admin", True),
])  # fmt: skip
def test_a_scope_is_never_more_than_the_role(role: str, scope: str, made: bool) -> None:
    client = Client()
    client.force_login(rows.person("someone", role))
    make_token(client, scope=scope)
    assert ApiToken.objects.filter(user__username="someone", scope=scope).exists() is made


def test_a_token_does_not_expire_in_the_past(boss: Client) -> None:
    assert "cannot expire in the past" in text(make_token(boss, expires_0="2020-01-01", expires_1="00:00:00"))
    tomorrow = timezone.now() + timedelta(days=1)
    make_token(boss, expires_0=f"{tomorrow:%Y-%m-%d}", expires_1="00:00:00")
    assert ApiToken.objects.count() == 1


def test_ones_own_token_is_revoked_and_anothers_is_not_seen(ada: User) -> None:
    tom = rows.person("tom", "trainer")
    client = Client()
    client.force_login(tom)
    (mine, secret), (anothers, _) = tokens.create(tom, "mine", "train"), tokens.create(ada, "hers", "admin")
    assert "hers" not in text(client.get(reverse("admin:training_apitoken_changelist")))
    assert client.post(address_of(anothers, "revoke")).status_code == 404
    chosen = {"action": "revoke_selected", "_selected_action": [mine.pk, anothers.pk], "confirmed": "yes"}
    client.post(reverse("admin:training_apitoken_changelist"), chosen)
    assert tokens.find(secret) is None
    assert [t.revoked is None for t in ApiToken.objects.order_by("name")] == [True, False]
    assert AuditEntry.objects.get(action="revoke token").username == "tom"


# --- people ---


def person_fields(**fields: str) -> dict[str, str]:
    return {"username": "tom", "role": "trainer", "is_active": "on", "first_name": "", "last_name": "", "email": ""} | fields


def test_an_admin_gives_a_role(boss: Client) -> None:
    tom = rows.person("tom", "trainer")
    boss.post(address_of(tom), person_fields(role="viewer"))
    tom = User.objects.get(pk=tom.pk)
    assert [g.name for g in tom.groups.all()] == ["viewer"] and not tom.has_perm("training.start_operation") and tom.is_staff
    assert AuditEntry.objects.get(action="give role").details["role"] == "viewer"
    boss.post(address_of(tom), person_fields(role="admin"))
    assert User.objects.get(pk=tom.pk).is_superuser


def test_a_role_is_all_that_a_page_gives(boss: Client) -> None:
    tom = rows.person("tom", "viewer")
    boss.post(address_of(tom), person_fields(role="viewer", is_superuser="on", groups="1", user_permissions="1"))
    tom = User.objects.get(pk=tom.pk)
    assert not tom.is_superuser and not tom.user_permissions.exists() and tom.groups.get().name == "viewer"


def test_a_new_user_has_a_role_at_once(boss: Client) -> None:
    secret = "correct horse battery"
    fields = {"username": "neu", "usable_password": "true", "password1": secret, "password2": secret, "role": "trainer"}
    boss.post(reverse("admin:auth_user_add"), fields)
    assert User.objects.get(username="neu").has_perm("training.start_operation")


def test_an_admin_cannot_lock_everyone_out(boss: Client, ada: User) -> None:
    page = boss.post(address_of(ada), person_fields(username="ada", role="viewer", is_active=""))
    assert "cannot take the admin" in text(page) and "cannot lock yourself out" in text(page)
    assert boss.post(address_of(ada, "delete"), {"post": "yes"}).status_code == 403
    assert User.objects.get(pk=ada.pk).is_superuser


def test_a_deleted_user_leaves_operations_and_traces(boss: Client) -> None:
    tom = rows.person("tom", "trainer")
    operation = rows.operation(user=tom)
    tokens.create(tom, "mine", "read")
    rows.audit(operation.pk, user=tom, username="tom")
    boss.post(address_of(tom, "delete"), {"post": "yes"})
    assert not User.objects.filter(username="tom").exists() and not ApiToken.objects.exists()
    assert Operation.objects.get().user is None and AuditEntry.objects.get(action="start").username == "tom"


# --- light ---

SERVE = """
import django, sys
django.setup()
from django.conf import settings
settings.ALLOWED_HOSTS = ["testserver"]
settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"  # nothing was collected
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from tests.examples import admin_rows as rows
from training.admin.parts import address_of
client = Client()
client.force_login(rows.person("light", "admin"))
operation = rows.operation(epochs=3, of=rows.version("light"))
found = [rows.model(operation), rows.checkpoint(operation, 1), rows.bars("LIGHT"), operation, operation.strategy_version,
         operation.strategy_version.strategy]
pages = [address_of(row) for row in found] + [address_of(found[0], "download"), reverse("admin:index"), reverse("admin:workers")]
pages += [reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_changelist") for row in found]
for page in pages:
    assert client.get(page).status_code == 200, page
assert client.post(address_of(operation.strategy_version.strategy), {"text": rows.text_of("light", 7)}).status_code == 302
print(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "pandas", "talib", "numba"}))
"""


def test_serving_the_admin_loads_nothing_heavy(home: Home) -> None:
    import subprocess
    import sys

    environment = home.environment(DJANGO_SETTINGS_MODULE="ktrdr_site.settings", PYTHONWARNINGS="ignore")
    done = subprocess.run([sys.executable, "-c", SERVE], env=environment, capture_output=True, text=True, timeout=110)
    assert done.stdout.strip() == "[]", done.stderr


# --- words ---


def test_sizes_and_spans_read_well() -> None:
    assert [size(n) for n in (0, 999, 184_320, 34_000_000_000)] == ["0 B", "999 B", "184.3 kB", "34.0 GB"]
    assert [span(n) for n in (0, 59.4, 200, 3599, 7260, 200_000)] == [
        "0 s",
        "59 s",
        "3 min 20 s",
        "59 min",
        "2 h 1 min",
        "2 days",
    ]
    assert [coarse(n) for n in (0, 59.4, 200, 3599, 7260, 200_000)] == ["0 s", "59 s", "3 min", "59 min", "2 h", "2 days"]
