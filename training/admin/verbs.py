"""What may be asked of an operation in the admin: cancel, force, resume, delete; what each keeps, who may, what came of it.

A verb is always confirmed once. It acts through requests.py and deletions.py, like the API and the
command line; here are only its words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from redis.exceptions import RedisError

from training.access.audit import Actor
from training.access.roles import may_control
from training.admin.parts import ReadOnlyAdmin, address_of, confirmation, size
from training.jobs import deletions, requests
from training.jobs.lifecycle import OperationError
from training.jobs.queues import NoWorker
from training.models import RESUMABLE, Checkpoint, Operation, OperationRows, Status


@dataclass(frozen=True)
class Answers:
    """What the confirmation page was answered with."""

    reason: str = ""
    allow_inexact: bool = False
    with_model: bool = False

    @classmethod
    def of(cls, request: HttpRequest) -> Answers:
        post = request.POST
        return cls(post.get("reason", "")[:500].replace("\x00", ""), "allow_inexact" in post, "with_model" in post)


@dataclass(frozen=True)
class Verb:
    """One verb. `fits`: the states that it needs; `instead`: what to do in another; `keeps`: what stays and what goes."""

    name: str
    label: str
    permission: str
    fits: tuple[str, ...]
    instead: str
    keeps: Callable[[Operation], str]
    act: Callable[[Operation, Actor, Answers], str]
    danger: bool = False
    also_fits: Callable[[Operation], bool] = lambda operation: False

    def why_not(self, user: Any, operation: Operation) -> str:
        """Why this user may not ask this of the operation now; empty if it can be asked."""
        if not may_control(user, operation, self.permission):
            owner = operation.user.get_username() if operation.user else "nobody any more"
            return f"it belongs to {owner}, and only its owner or an admin may {self.label.lower()} it"
        return "" if operation.status in self.fits or self.also_fits(operation) else f"it is {operation.status}, {self.instead}"


def newest_checkpoint(operation: Operation) -> Checkpoint | None:
    """The one that a resumed run continues from, from rows that were fetched before."""
    return next(iter(operation.checkpoints.all()), None)


def checkpoint_stays(operation: Operation) -> str:
    row = newest_checkpoint(operation)
    return f"the checkpoint of epoch {row.epoch + 1} stays" if row else "there is no checkpoint yet"


def _cancel_keeps(operation: Operation) -> str:
    if operation.waits_to_retry:
        return f"it is not tried again by itself and stays failed; {checkpoint_stays(operation)}, and it can be resumed"
    if operation.status == Status.PENDING:
        begun = f"attempt {operation.attempt} has" if operation.attempt > 1 else "it has"
        return f"{begun} not begun and leaves the queue; {checkpoint_stays(operation)}"
    if operation.epoch is None:
        if newest_checkpoint(operation) is not None:
            return f"this attempt has completed no epoch yet; {checkpoint_stays(operation)}, and a resumed run goes on from there"
        return "no epoch is completed yet, so a resumed run starts again at the first and ends in the same weights"
    return f"it saves the end of its last completed epoch (now {operation.epoch + 1}) and stops; it can be resumed from there"


def _force_keeps(operation: Operation) -> str:
    row = newest_checkpoint(operation)
    if row is None:
        return "its process ends at once; there is no checkpoint, every epoch so far is lost"
    return f"its process ends at once; the checkpoint of epoch {row.epoch + 1} stays, what came after it is lost"


def _resume_keeps(operation: Operation) -> str:
    row = newest_checkpoint(operation)
    if row is None:
        return "there is no checkpoint: it starts again at the first epoch, and ends in the same weights"
    return f"it continues with epoch {row.epoch + 2}, as attempt {operation.attempt + 1}; {checkpoint_stays(operation)}"


def _delete_keeps(operation: Operation) -> str:
    rows = list(operation.checkpoints.all())
    model = getattr(operation, "trained_model", None)
    lost = f"{len(rows)} checkpoint{'s' * (len(rows) != 1)} ({size(sum(row.size for row in rows))})" if rows else "no checkpoint"
    said = f"its metrics, logs and {lost} are removed; the strategy, its versions and the bars stay"
    return f"{said}; it trained the model {model.name}, which must go with it" if model else said


def _cancel(operation: Operation, actor: Actor, answers: Answers) -> str:
    status = requests.cancel(operation, actor, reason=answers.reason)
    if status == Status.FAILED:
        return "is not tried again by itself"
    return "is cancelled" if status == Status.CANCELLED else "is asked to stop, and saves a checkpoint first"


def _force(operation: Operation, actor: Actor, answers: Answers) -> str:
    requests.cancel(operation, actor, reason=answers.reason or operation.reason, force=True)
    return "is being ended; it is cancelled as soon as its process is gone"


def _resume(operation: Operation, actor: Actor, answers: Answers) -> str:
    attempt = requests.resume(operation, actor, allow_inexact=answers.allow_inexact)
    return f"waits for a worker as attempt {attempt}"


def _delete(operation: Operation, actor: Actor, answers: Answers) -> str:
    deletions.delete_operation(operation.pk, actor, with_model=answers.with_model)
    return "is deleted with its files"


VERBS = {
    verb.name: verb
    for verb in (
        Verb("cancel", "Cancel", "cancel_operation", (Status.PENDING, Status.RUNNING),
             "only a pending or running operation can be cancelled", _cancel_keeps, _cancel,
             also_fits=lambda operation: operation.waits_to_retry),
        Verb("force", "Force stop", "force_operation", (Status.CANCELLING,),
             "force comes second: cancel it first, which saves a checkpoint", _force_keeps, _force, danger=True),
        Verb("resume", "Resume", "resume_operation", RESUMABLE,
             "only a failed, cancelled or interrupted operation can be resumed", _resume_keeps, _resume),
        Verb("delete", "Delete", "delete_operation", deletions.FINAL,
             "nothing is deleted under a live operation: cancel it first", _delete_keeps, _delete, danger=True),
    )
}  # fmt: skip


def sorted_out(verb: Verb, user: Any, operations: Iterable[Operation]) -> tuple[list[Operation], list[tuple[Operation, str]]]:
    """Operations that the verb can be asked of, and the others with the reason."""
    answered = [(operation, verb.why_not(user, operation)) for operation in operations]
    return [o for o, why in answered if not why], [(o, why) for o, why in answered if why]


def perform(verb: Verb, request: HttpRequest, operation: Operation) -> bool:
    """Do it, and tell what came of it in one message; gives whether it was done."""
    try:
        done = verb.act(operation, Actor(request.user, "admin"), Answers.of(request))
    except (OperationError, NoWorker) as refusal:
        messages.error(request, f"{operation.pk} was left as it is: {refusal}.")
        return False
    except RedisError as error:
        messages.warning(request, f"{operation.pk}: {_without_redis(operation, error)}")
        return False
    flag = DELETION if verb.name == "delete" else CHANGE
    LogEntry.objects.log_actions(request.user.pk, [operation], flag, f"{verb.label}: {done}", single_object=True)
    messages.success(request, f"{operation.pk} {done}.")
    return True


def _without_redis(operation: Operation, error: RedisError) -> str:
    """The database is the truth: what was written there stands, and the reaper brings Redis in line."""
    status = Operation.objects.filter(pk=operation.pk).values_list("status", flat=True).first()
    after = {
        Status.PENDING: "it is pending, and is queued as soon as Redis is back",
        Status.CANCELLED: "it is cancelled all the same",
        Status.CANCELLING: "it is asked to stop, but its process cannot be ended from here",
    }
    return f"Redis does not answer ({error}); {after.get(Status(status), f'it is {status}') if status else 'it is gone'}."


def buttons(user: Any, operation: Operation) -> list[Verb]:
    """The verbs that fit an operation's page now."""
    return [verb for verb in VERBS.values() if not verb.why_not(user, operation)]


#: More at once is more than anyone looks through on one page.
MOST_SELECTED = 200


class OperationVerbs(ReadOnlyAdmin):
    """Each verb as an action of the list and as a button of the page; both ask with the same page."""

    actions: ClassVar = ["cancel_selected", "force_selected", "resume_selected", "delete_selected_operations"]

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        verbs = [
            path(f"<path:object_id>/{name}/", wrap(self._asker(verb)), name=f"training_operation_{name}")
            for name, verb in VERBS.items()
            if name != "delete"  # Django has its address, and delete_view is ours
        ]
        return [*verbs, *super().get_urls()]

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("training.cancel_operation")

    def has_force_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("training.force_operation")

    def has_resume_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("training.resume_operation")

    def has_remove_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("training.delete_operation")

    @admin.action(permissions=["cancel"], description="Cancel")
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Operation]) -> HttpResponse | None:
        return self._ask_many(request, queryset, VERBS["cancel"])

    @admin.action(permissions=["force"], description="Force stop")
    def force_selected(self, request: HttpRequest, queryset: QuerySet[Operation]) -> HttpResponse | None:
        return self._ask_many(request, queryset, VERBS["force"])

    @admin.action(permissions=["resume"], description="Resume")
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Operation]) -> HttpResponse | None:
        return self._ask_many(request, queryset, VERBS["resume"])

    @admin.action(permissions=["remove"], description="Delete with files")
    def delete_selected_operations(self, request: HttpRequest, queryset: QuerySet[Operation]) -> HttpResponse | None:
        return self._ask_many(request, queryset, VERBS["delete"])

    def _ask_many(self, request: HttpRequest, queryset: QuerySet[Operation], verb: Verb) -> HttpResponse | None:
        """The action of a list: first the page that asks, then the deed; what cannot be done is said in both."""
        operations = list(_with_what_stays(queryset)[: MOST_SELECTED + 1])
        if len(operations) > MOST_SELECTED:
            messages.error(request, f"Choose at most {MOST_SELECTED} operations at once.")
            return None
        fitting, refused = sorted_out(verb, request.user, operations)
        if fitting and "confirmed" not in request.POST:
            return self._question(request, verb, fitting, refused, self._address_of_list(request))
        for operation in fitting:
            perform(verb, request, operation)
        for operation, why in refused:
            messages.warning(request, f"{operation.pk} was left as it is: {why}.")
        return None

    def _asker(self, verb: Verb) -> Any:
        """The view behind a button of the page."""

        def ask(request: HttpRequest, object_id: str) -> HttpResponse:
            return self._ask_one(request, object_id, verb)

        return ask

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return self._ask_one(request, object_id, VERBS["delete"])

    def _ask_one(self, request: HttpRequest, object_id: str, verb: Verb) -> HttpResponse:
        operation = _with_what_stays(self.get_queryset(request)).filter(pk=unquote(object_id)).first()
        if not self.has_view_permission(request, operation) or not request.user.has_perm(f"training.{verb.permission}"):
            raise PermissionDenied
        if operation is None:
            raise Http404(f"there is no operation {object_id}")
        fitting, refused = sorted_out(verb, request.user, [operation])
        page = address_of(operation)
        if refused:
            if operation.status in verb.fits:
                raise PermissionDenied(refused[0][1])
            messages.error(request, f"{operation.pk} was left as it is: {refused[0][1]}.")
            return HttpResponseRedirect(page)
        if request.method != "POST":
            return self._question(request, verb, fitting, [], page)
        done = perform(verb, request, operation)
        return HttpResponseRedirect(reverse("admin:training_operation_changelist") if done and verb.name == "delete" else page)

    def _address_of_list(self, request: HttpRequest) -> str:
        filters = request.GET.urlencode()
        return reverse("admin:training_operation_changelist") + (f"?{filters}" if filters else "")

    def _question(
        self, request: HttpRequest, verb: Verb, fitting: list[Operation], refused: list[tuple[Operation, str]], back: str
    ) -> TemplateResponse:
        """The page that asks once, and says what stays."""
        count = len(fitting)
        return confirmation(
            self, request, verb.label, [(operation, verb.keeps(operation)) for operation in fitting], back, "question.html",
            title=f"{verb.label} {'this operation' if count == 1 else f'these {count} operations'}?",
            danger=verb.danger, verb=verb, refused=refused,
            models=[o for o in fitting if verb.name == "delete" and getattr(o, "trained_model", None)],
        )  # fmt: skip


def _with_what_stays(queryset: OperationRows) -> OperationRows:
    """With all that the confirmation speaks of, in three queries for any number of operations."""
    return queryset.for_lists("spec", "error", "failure").prefetch_related("checkpoints")
