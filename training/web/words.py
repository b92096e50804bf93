"""Refusals as people read them on a page."""

from __future__ import annotations

import re

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString


def sentence(text: str) -> SafeString:
    """`no worker is running: start one with \\`manage.py up\\`` → a capital, a full stop, and commands as code."""
    text = text.strip()
    whole = f"{text[:1].upper()}{text[1:]}"
    whole = whole if whole.endswith((".", "?", "…")) else f"{whole}."
    parts = re.split(r"`([^`]*)`", whole)
    marked = (format_html("<code>{}</code>" if number % 2 else "{}", part) for number, part in enumerate(parts))
    return format_html_join("", "{}", ((part,) for part in marked))
