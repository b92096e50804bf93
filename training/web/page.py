"""What pages share: who may see one, its frame, what lists read from an address, questions to the quick worker."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from redis.exceptions import RedisError

from training.access.audit import Actor
from training.access.plain_requests import READ
from training.access.roles import may_control
from training.jobs import homes, questions, queues
from training.jobs.database_words import AWAY, BUSY, PUBLIC, kind_of, sentence_of
from training.jobs.lifecycle import stored
from training.jobs.questions import Broken, Refused, Reply, TookTooLong, UnknownJob
from training.jobs.queues import NoWorker
from training.models import Operation

#: Longer addresses are in no link of ours.
LONGEST = 2000
View = Callable[..., HttpResponse]


def page(permission: str, *methods: str) -> Callable[[View], View]:
    """Decorator: only for signed-in users who have `app.codename`, and by these methods; by none named, only read."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.is_authenticated:
                return _to_sign_in(request)
            if not request.user.has_perm(permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        guarded.methods = methods or READ  # type: ignore[attr-defined]
        return guarded

    return decorate


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    """A part of a page cannot show the sign-in page in its place: the whole page goes there."""
    if request.htmx:  # type: ignore[attr-defined]
        answer = HttpResponse(status=204)
        answer["HX-Refresh"] = "true"
        return answer
    return redirect_to_login(request.get_full_path())


def next_of(request: HttpRequest, otherwise: str) -> str:
    """`next`, if it is a path of this site."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    is_path = wanted.startswith("/") and wanted.isprintable() and len(wanted) <= LONGEST
    return wanted if is_path and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None) else otherwise


def actor_of(request: HttpRequest) -> Actor:
    return Actor(request.user, "web")


def operation_or_404(operation_id: str) -> Operation:
    operation = stored(operation_id)
    if operation is None:
        raise Http404(f"There is no operation {operation_id}.")
    return operation


def must_control(request: HttpRequest, operation: Operation, permission: str) -> None:
    """PermissionDenied unless it is the user's own operation, or the user is an admin."""
    if not may_control(request.user, operation, permission):
        raise PermissionDenied


#: The side list: the word, the address, the permission to look.
PLACES = (
    ("Home", "site:home", "training.view_operation"),
    ("Strategies", "strategies:list", "strategies_app.view_strategy"),
    ("Operations", "site:operations", "training.view_operation"),
    ("Compare", "site:compare", "training.view_operation"),
    ("Models", "site:models", "training.view_trainedmodel"),
    ("Data", "site:data", "training.view_barseries"),
    ("Workers", "site:workers", "training.view_operation"),
)


def frame(request: HttpRequest) -> dict[str, Any]:
    """A context processor: the places that the user may look at, with the present one marked, and what is wrong with folders."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    places = [_place(request, word, reverse(name)) for word, name, needed in PLACES if user.has_perm(needed)]
    return {"places": places, "folders_away": homes.watch.sentence()}


def _place(request: HttpRequest, word: str, address: str) -> dict[str, Any]:
    here = request.path == address or (address != "/" and request.path.startswith(address))
    return {"word": word, "address": address, "here": here}


def searched(request: HttpRequest, name: str = "q") -> str:
    """The words to look for; without what no database takes."""
    return request.GET.get(name, "").strip()[:200].replace("\0", "")


def without_page(request: HttpRequest) -> str:
    """The address's query without the page's number."""
    kept = request.GET.copy()
    kept.pop("page", None)
    return kept.urlencode()


def sentence(text: str) -> SafeString:
    """`no worker is running: start one with \\`manage.py up\\`` → a capital, a full stop, and commands as code."""
    text = text.strip()
    whole = f"{text[:1].upper()}{text[1:]}"
    whole = whole if whole.endswith((".", "?", "…")) else f"{whole}."
    parts = re.split(r"`([^`]*)`", whole)
    marked = (format_html("<code>{}</code>" if number % 2 else "{}", part) for number, part in enumerate(parts))
    return format_html_join("", "{}", ((part,) for part in marked))


log = logging.getLogger(__name__)
#: A page is shown without the answer when it takes longer, and asks again by itself.
SECONDS = 2


@dataclass(frozen=True)
class Told:
    """One of three: the result, the sentence on why there is none, or neither, while the job is still to be waited for."""

    job: str = ""
    result: dict[str, Any] | None = None
    problem: str = ""
    took_too_long: bool = False

    @property
    def is_waiting(self) -> bool:
        return self.result is None and not self.problem


def ask(question: str, arguments: dict[str, Any], user: Any, seconds: float = SECONDS) -> Told:
    """Put a question and wait for it so long."""
    return _told(lambda: questions.ask(question, arguments, user, seconds))


def look(job: str, user: Any) -> Told:
    """How a question stands that was put before."""
    told = _told(lambda: questions.look(job, user))
    return _told(lambda: _still_worked_on(told)) if told.is_waiting else told


def without_worker() -> str:
    """The sentence on why nothing can be asked now; empty if it can."""
    try:
        queues.ping()
        queues.must_answer_quickly()
    except NoWorker as problem:
        return str(problem)
    return ""


def _still_worked_on(told: Told) -> Reply:
    queues.ping()
    queues.must_answer_quickly(questions.asked_at(told.job))
    return Reply(told.job, None)


def _told(asking: Callable[[], Reply]) -> Told:
    try:
        reply = asking()
    except TookTooLong as problem:
        return Told(problem=str(problem), took_too_long=True)
    except (NoWorker, UnknownJob, Refused) as problem:
        return Told(problem=str(problem))
    except RedisError as problem:
        return Told(problem=f"Redis does not answer ({problem}): what is stored can still be looked at")
    except Broken:
        log.exception("a question was not answered")
        return Told(problem="the quick worker met something unexpected; its log has what happened")
    return Told(job=reply.job, result=reply.result)


RETRY_SECONDS = 10


class BusyDatabase:
    """Middleware: what a view could not read or write is told; its transaction, if it had one, has changed nothing."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not (isinstance(error, OperationalError | InterfaceError) or type(error) is DatabaseError):
            return None
        log.error("%s %s: %s", request.method, request.path, sentence_of(error))
        kind = kind_of(error)
        heading, sentence = PUBLIC[kind]
        told = {"seconds": RETRY_SECONDS, "heading": heading, "sentence": sentence, "passes": kind in (BUSY, AWAY)}
        page = render_to_string("busy.html", told)  # without the request: nothing of it needs the database
        return HttpResponse(page, status=503, headers={"Retry-After": str(RETRY_SECONDS)})
