"""Questions that a quick worker answers: asked, and asked for again when the answer took longer."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from ninja import Router
from ninja.responses import Status as Answer

from training.api.auth import Access
from training.api.shapes import (
    ERRORS,
    Asked,
)
from training.jobs.questions import Reply, look

router = Router()
VIEW = Access("training.view_operation")


def asked(reply: Reply) -> Answer[dict[str, Any]]:
    """200 with the result, or 202 with where to ask for it."""
    if reply.result is not None:
        return Answer(200, reply.result)
    return Answer(202, {"job": reply.job, "where": reverse("api:quick_result", args=[reply.job])})


@router.get("/quick/{job}", auth=VIEW, tags=["quick"], url_name="quick_result", response={
    200: dict[str, Any], 202: Asked, **ERRORS})  # fmt: skip
def quick_result(request: HttpRequest, job: str) -> Answer[dict[str, Any]]:
    """The answer to a plan or a prediction that took longer; only who asked for it may have it."""
    return asked(look(job, request.auth.user))  # type: ignore[attr-defined]
