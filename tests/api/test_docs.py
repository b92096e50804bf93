"""Every route, error code and scope of the API is in its documentation, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.api.test_access import routes
from tests.examples.homes import ROOT
from training import api
from training.access import sign_ins
from training.api import errors as api_errors
from training.models import ApiToken
from training.workers import quick

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_every_route_has_a_row() -> None:
    rows = re.findall(r"^\| `([A-Z]+) (\S+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted((method, path.replace("{path:", "{")) for method, path in routes())


def test_every_error_code_is_explained() -> None:
    errors = PAGE[PAGE.index("## Errors") : PAGE.index("## Long lists")]
    codes = {code for _, code in api_errors.STATUS.values()}
    for source in Path(api.__path__[0]).glob("*.py"):
        codes |= set(re.findall(r"ApiError\(\s*\d+, \"(\w+)\"", source.read_text(encoding="utf-8")))
    assert {code for code in codes if f"`{code}`" not in errors} == set()


def test_limits_and_scopes_are_those_of_the_code() -> None:
    assert f"{api_errors.BODY_LIMIT // 1024} KiB" in PAGE
    assert f"{quick.MAX_BARS:,} bars" in PAGE
    assert f"After {sign_ins.PER_ADDRESS} failed" in PAGE and f"or {sign_ins.PER_NAME} failed" in PAGE
    assert all(f"| {scope} |" in PAGE for scope in ApiToken.Scope.values)
