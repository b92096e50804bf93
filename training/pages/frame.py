"""What every page is framed by: the list of places, and a word on folders that are not there."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from training.folders import watch

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
    return {"places": places, "folders_away": watch.sentence()}


def _place(request: HttpRequest, word: str, address: str) -> dict[str, Any]:
    here = request.path == address or (address != "/" and request.path.startswith(address))
    return {"word": word, "address": address, "here": here}
