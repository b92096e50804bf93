"""Tags and note of a training, on its page and in the table of runs: shown, edited, kept."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from training.access.plain_requests import READ_AND_WRITE
from training.access.roles import may_control
from training.jobs.requests import BadAnnotation
from training.jobs.requests import annotate as keep
from training.web.page import actor_of, must_control, operation_or_404, page


@page("training.view_operation", *READ_AND_WRITE)
def annotate(request: HttpRequest, operation_id: str) -> HttpResponse:
    """GET: as they are, with `?edit=1` as a form. POST: keep them; one's own, or any as an admin."""
    operation = operation_or_404(operation_id)
    may = may_control(request.user, operation, "annotate_operation")
    shown = {"operation": operation, "may_annotate": may, "editing": may and "edit" in request.GET}
    given = {"tags": operation.tags.strip(), "comment": operation.comment}
    if request.method == "POST":
        must_control(request, operation, "annotate_operation")
        given = {name: request.POST.get(name, "") for name in given}
        try:
            keep(operation, given["tags"], given["comment"], actor_of(request))
        except BadAnnotation as problem:
            shown |= {"editing": True, "problem": f"Not kept: {problem}."}
    if request.method == "POST" and not request.htmx:  # type: ignore[attr-defined]
        if "problem" in shown:
            messages.error(request, str(shown["problem"]))
        return redirect("site:operation", operation.pk)
    # What was pressed is gone: the keyboard goes on where it was.
    return render(request, "site/_marks.html", shown | {"given": given, "refocus": True})
