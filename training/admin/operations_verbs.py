"""Cancel, force, resume and delete in the admin: for chosen operations of the list or the one of a page, asked once."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from training.admin.parts import ReadOnlyAdmin, address_of, confirmation
from training.admin.verbs import VERBS, Verb, perform, sorted_out
from training.models import Operation, OperationRows

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
