"""What lists read from their address: words to look for, and the rest of it beside the page's number."""

from __future__ import annotations

from django.http import HttpRequest


def searched(request: HttpRequest, name: str = "q") -> str:
    """The words to look for; without what no database takes."""
    return request.GET.get(name, "").strip()[:200].replace("\0", "")


def without_page(request: HttpRequest) -> str:
    """The address's query without the page's number."""
    kept = request.GET.copy()
    kept.pop("page", None)
    return kept.urlencode()
