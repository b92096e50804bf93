"""Files for the browser: collected once, and again when one of them changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from training.workers import up


def test_they_are_collected_once_and_again_after_a_change(settings: Any, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.js").write_text("1")
    settings.STATIC_ROOT = tmp_path / "collected"
    settings.STATIC_ROOT.mkdir()
    settings.STATICFILES_DIRS = [("own", own)]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    assert up.collect() and (settings.STATIC_ROOT / "own" / "a.js").read_text() == "1"
    assert not up.collect()
    (own / "a.js").write_text("2")
    os.utime(own / "a.js", ns=(1, 1))
    assert up.collect() and (settings.STATIC_ROOT / "own" / "a.js").read_text() == "2"


def test_every_file_that_a_page_names_is_collected(tmp_path: Path, settings: Any) -> None:
    """Plotly and htmx come from their packages; what those hold beside is left there."""
    import re

    from django.contrib.staticfiles import finders

    templates = [path.read_text() for path in Path(settings.BASE_DIR, "templates").rglob("*.html")]
    named = {name for text in templates for name in re.findall(r"{% static '([^']+)' %}", text)}
    assert {"plotly/plotly.min.js", "django_htmx/htmx-2.min.js"} <= named
    assert [name for name in named if finders.find(name) is None] == []
