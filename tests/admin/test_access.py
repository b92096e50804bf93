"""Who may open which page of the admin: one table for all of them, and a walk that finds pages without a row."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from tests.examples import admin_rows as rows
from tests.examples.role_tables import ADMIN_PAGES
from training.access import tokens
from training.models import Operation, Status

pytestmark = pytest.mark.django_db

#: RQ's own pages: superusers only. What they show needs a Redis and is RQ's affair.
DASHBOARD = ("django_rq_",)
#: The state in which a verb can be asked.
STATES = {"cancel": Status.RUNNING, "force": Status.CANCELLING, "resume": Status.FAILED, "delete": Status.FAILED}


def named_pages(resolver: URLResolver | None = None) -> Iterator[URLPattern]:
    """Every page of the admin's site."""
    for pattern in (resolver or get_resolver("ktrdr_site.urls")).url_patterns:
        if isinstance(pattern, URLResolver):
            if resolver is not None or pattern.app_name == "admin":
                yield from named_pages(pattern)
        elif resolver is not None:
            yield pattern


@pytest.fixture
def people() -> dict[str, User]:
    return {
        "viewer": rows.person("vera", "viewer"),
        "trainer": rows.person("tom", "trainer"),
        "admin": rows.person("ada", "admin"),
    }


def client_of(user: User | None) -> Client:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


def address(name: str, owner: User, other: User) -> str:
    """The address of a page, on rows that belong to `owner`."""
    if name.startswith("app_list"):
        return reverse("admin:app_list", args=[name.split()[1]])
    verb = name.rpartition("_")[2]
    if name.startswith("training_operation_") and verb in (*STATES, "change", "history"):
        return reverse(f"admin:{name}", args=[quote(rows.operation(STATES.get(verb, Status.RUNNING), user=owner).pk)])
    if verb in ("changelist", "add", "live") or "_" not in name or name.startswith("password_"):
        return reverse(f"admin:{name}")
    return reverse(f"admin:{name}", args=[row_for(name, owner, other)])


def row_for(name: str, owner: User, other: User) -> int:
    kind = name.split("_")[-2]
    if kind == "trainedmodel":
        return rows.model(rows.operation(user=owner)).pk
    if kind == "checkpoint":
        return rows.checkpoint(rows.operation(Status.FAILED, user=owner), 9).pk
    if kind == "barseries":
        return rows.bars().pk
    if kind == "apitoken":
        return tokens.create(owner, "mine", "read")[0].pk
    if kind == "auditentry":
        return rows.audit("x").pk
    if kind == "strategyversion":
        return rows.version("seen").pk
    if kind == "strategy":
        return rows.version("seen").strategy_id
    return Group.objects.get(name="viewer").pk if kind == "group" else other.pk


def test_every_page_has_a_row() -> None:
    names = {str(pattern.name) for pattern in named_pages() if pattern.name}
    ours = {name for name in names if not name.startswith(DASHBOARD)}
    assert ours == {name.split()[0] for name in ADMIN_PAGES}


@pytest.mark.parametrize("name", ADMIN_PAGES)
def test_a_page_opens_for_whom_the_table_says(name: str, people: dict[str, User]) -> None:
    tom, ada, vera = people["trainer"], people["admin"], people["viewer"]
    asked = [(vera, tom), (tom, tom), (tom, ada), (ada, ada)]
    seen = []
    for user, owner in asked:
        rows.clear()
        seen.append(client_of(user).get(address(name, owner, vera)).status_code)
    assert tuple(seen) == ADMIN_PAGES[name]


@pytest.mark.parametrize("name", [name for name in ADMIN_PAGES if name not in ("login", "logout")])
def test_nobody_sees_a_page_without_signing_in(name: str, people: dict[str, User]) -> None:
    answer = Client().get(address(name, people["trainer"], people["viewer"]))
    assert answer.status_code == 302 and answer["Location"].startswith("/admin/login/")


def test_rqs_dashboard_is_for_superusers(people: dict[str, User]) -> None:
    pages = [p for p in named_pages() if str(p.name).startswith(DASHBOARD)]
    assert len(pages) > 15
    for pattern in pages:
        arguments = {key: 0 if "index" in key else "x" for key in pattern.pattern.converters}
        arguments = arguments if arguments else ["1"] if pattern.pattern.converters else {}
        where = reverse(f"admin:{pattern.name}", kwargs=arguments if isinstance(arguments, dict) else None)
        for role in ("viewer", "trainer"):
            for ask in (client_of(people[role]).get, client_of(people[role]).post):
                assert ask(where).status_code == 403, (pattern.name, role)


def test_a_superuser_sees_rqs_dashboard(people: dict[str, User], empty_redis: object) -> None:
    client = client_of(people["admin"])
    for name in ("django_rq_dashboard_changelist", "django_rq_home", "django_rq_home_json"):
        assert client.get(reverse(f"admin:{name}")).status_code == 200, name
    assert client.get(reverse("admin:django_rq_jobs", args=[0])).status_code == 200
    assert b"ktrdr_operations" in client.get(reverse("admin:django_rq_metrics")).content


@pytest.mark.parametrize(("verb", "before"), STATES.items())
@pytest.mark.parametrize(("role", "own"), [("viewer", False), ("trainer", False)])
def test_a_verb_on_what_is_not_ones_own_changes_nothing(
    verb: str, before: str, role: str, own: bool, people: dict[str, User]
) -> None:
    operation = rows.operation(before, user=people["admin"])
    answer = client_of(people[role]).post(
        reverse(f"admin:training_operation_{verb}", args=[quote(operation.pk)]), {"confirmed": "yes"}
    )
    assert answer.status_code == 403
    assert Operation.objects.get(pk=operation.pk).status == before


def test_a_viewer_has_no_verbs_and_no_editor(people: dict[str, User]) -> None:
    client = client_of(people["viewer"])
    operation = rows.operation(Status.RUNNING)
    listed = client.get(reverse("admin:training_operation_changelist")).content.decode()
    page = client.get(reverse("admin:training_operation_change", args=[quote(operation.pk)])).content.decode()
    strategy = client.get(reverse("admin:strategies_app_strategy_change", args=[operation.strategy_version.strategy_id]))
    assert 'name="action"' not in listed and "/cancel/" not in page
    assert "<textarea" not in strategy.content.decode() and "name: momentum_daily" in strategy.content.decode()


def test_a_viewer_cannot_store_a_text(people: dict[str, User]) -> None:
    strategy = rows.version("kept").strategy
    answer = client_of(people["viewer"]).post(
        reverse("admin:strategies_app_strategy_change", args=[strategy.pk]), {"text": rows.text_of("kept", epochs=9)}
    )
    assert answer.status_code == 403 and strategy.versions.count() == 1


def test_the_site_registers_what_the_index_shows_in_order(people: dict[str, User]) -> None:
    page = client_of(people["admin"]).get(reverse("admin:index")).content.decode()
    places = [
        page.index(f">{name}</a>") for name in ("Operations", "Trained models", "Workers", "API tokens", "Strategies", "Users")
    ]
    assert places == sorted(places) and "KTRDR Train" in page
    assert "delete_selected" not in dict(admin.site.actions)
