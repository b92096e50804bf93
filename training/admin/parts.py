"""Pieces that pages of the admin share: a page to look at only, and values as a trader reads them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from typing import Any

import yaml
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote
from django.db.models import Model
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from training.results.verdict import percent

NOTHING = "–"
DAY = 86_400


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows that a page may show and nothing else; what may be done with them are verbs of their own."""

    #: Counting the whole table beside the filtered one costs a query and tells nobody anything.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        title = str(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title[:1].upper() + title[1:], **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def address_of(row: Model, page: str = "change") -> str:
    """The address of a row's page in the admin."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}", args=[quote(row.pk)])


def link(row: Model | None, text: str = "") -> SafeString | str:
    return format_html('<a href="{}">{}</a>', address_of(row), text or str(row)) if row is not None else NOTHING


def ago(time: dt.datetime | None) -> SafeString | str:
    """`3 min ago`, with the exact time on hover."""
    if time is None:
        return NOTHING
    seconds = (timezone.now() - time).total_seconds()
    words = f"in {coarse(-seconds)}" if seconds < 0 else "just now" if seconds < 5 else f"{coarse(seconds)} ago"
    return format_html('<time datetime="{}" title="{}">{}</time>', time.isoformat(), exact(time), words)


def exact(time: dt.datetime | None) -> str:
    return f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC" if time else NOTHING


def span(seconds: float) -> str:
    """A length of time in its two largest units at most."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else days(seconds)


def coarse(seconds: float) -> str:
    """A length of time in its largest unit."""
    if seconds >= 2 * DAY:
        return days(seconds)
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def days(seconds: float) -> str:
    """`1 day`, `3 days`"""
    whole = int(seconds // DAY)
    return f"{whole} day{'s' * (whole != 1)}"


def size(count: int) -> str:
    """Bytes as B, kB, MB or GB."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def share(value: Any) -> str:
    return f"{value:.1%}" if isinstance(value, (int, float)) else NOTHING


def measure(value: float | None, how: str) -> str:
    """A measure of `measure_words` as the admin writes numbers."""
    return share(value) if how == "share" else percent(value).replace(" %", "%") if how == "return" else figure(value, 3)


def figure(value: Any, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if isinstance(value, (int, float)) else NOTHING


def block(text: str, kind: str = "text") -> SafeString | str:
    """Text as it was written, in a box that scrolls."""
    return format_html('<pre class="{}" tabindex="0">{}</pre>', kind, text) if text else NOTHING


def as_yaml(data: Any) -> SafeString | str:
    """Plain data as YAML, in its own order."""
    return block(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None)) if data else NOTHING


def as_json(data: Any) -> SafeString | str:
    return block(json.dumps(data, indent=1, ensure_ascii=False)) if data else NOTHING


def bullets(lines: Iterable[str]) -> SafeString | str:
    return format_html('<ul class="plain">{}</ul>', format_html_join("", "<li>{}</li>", ((line,) for line in lines)) or NOTHING)


def confirmation(
    model_admin: admin.ModelAdmin, request: HttpRequest, label: str, rows: Iterable[tuple[Model, str]], back: str,
    template: str = "confirm.html", **more: Any,
) -> TemplateResponse:  # fmt: skip
    """The page that asks once before anything is done to rows; each with a sentence on what goes and what stays."""
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": f"{label}?",
        "label": label,
        "danger": True,
        "rows": rows,
        "back": back,
        "action": request.POST.get("action", ""),
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
        **more,
    }
    return TemplateResponse(request, f"admin/training/{template}", context)


def list_address(row: Model | type[Model]) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_changelist")
