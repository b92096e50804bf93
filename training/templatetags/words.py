"""How numbers and refusals are written on the pages."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()
#: What stands for a figure that is not there; a template gives "" for what a measure lacks.
NOTHING = "–"


@register.filter
def thousands(number: Any) -> str:
    """12,345"""
    return f"{number:,}" if isinstance(number, int | float) else NOTHING


@register.filter
def price(number: float | None) -> str:
    """As many digits as a trader reads: 1.10532, 431.25, 18,400,000, 0.00001234."""
    if number is None:
        return NOTHING
    size = abs(number)
    if size >= 1000:
        return f"{number:,.2f}".rstrip("0").rstrip(".")
    return f"{number:.10f}".rstrip("0").rstrip(".") if 0 < size < 1e-4 else f"{number:.6g}"


@register.filter
def share(number: Any) -> str:
    """52.1 %"""
    return f"{number:.1%}" if isinstance(number, int | float) else NOTHING


@register.filter
def rate(number: Any) -> str:
    """+0.42 %, as returns are written."""
    return f"{number:+.2%}".replace("-", "−").replace("%", " %") if isinstance(number, int | float) else NOTHING


@register.filter
def distance(number: Any) -> str:
    """0.42 %: a return without its direction, such as an error."""
    return f"{number:.2%}".replace("%", " %") if isinstance(number, int | float) else NOTHING


@register.filter
def size(number: int | None) -> str:
    """3.5 MB"""
    if not number:
        return NOTHING
    value = float(number)
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value >= 100 or unit == "bytes" else f"{value:.1f} {unit}"


@register.filter
def sentence(text: str) -> str:
    """A refusal as a sentence of its own; one that begins with a file's name leaves its letters."""
    if not text:
        return ""
    is_name = "." in text.split(maxsplit=1)[0].rstrip(".:,;")
    return f"{text if is_name else text[:1].upper() + text[1:]}{'' if text[-1] in '.?' else '.'}"


@register.filter
def spoken(kind: str) -> str:
    """Too many missing, of the kind `too_many_missing`."""
    return kind.replace("_", " ").capitalize()


@register.filter
def coded(text: Any) -> SafeString:
    """A text whose `commands` are set as such; everything in it is escaped."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:  # one backtick stands alone: nothing is a command
        return format_html("{}", str(text))
    return mark_safe("".join(format_html("<code>{}</code>" if n % 2 else "{}", part) for n, part in enumerate(parts)))  # noqa: S308 - all escaped


@register.filter
def figure(number: Any) -> str:
    """0.118, as measures are written that are no shares."""
    return f"{number:.3f}" if isinstance(number, int | float) else NOTHING
