"""Stored strategies: listed, shown, validated, and what features they have."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db.models import Count, Max
from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from strategies_app.grammar.reader import StrategyError, read_strategy, warnings_of
from strategies_app.grammar.schema import feature_names
from strategies_app.models import Strategy
from strategies_app.stored import FoundStrategy, stored_strategy
from training.api.auth import Access
from training.api.shapes import (
    ERRORS,
    Limit,
    Problem,
    Request,
    listed,
)


class StrategyText(Request):
    strategy_yaml: str


class StrategyLine(Schema):
    name: str
    version: int | None
    versions: int
    created: dt.datetime
    changed: dt.datetime | None


class Strategies(Schema):
    strategies: list[StrategyLine]
    next_cursor: str | None


class StrategyDetail(Schema):
    name: str
    version: int
    text: str
    sha256: str
    path: str
    created: dt.datetime
    versions: list[int]


class Validation(Schema):
    valid: bool
    name: str | None = None
    features: int | None = None
    labels: str | None = None
    warnings: list[str] = Field(default_factory=list)
    problems: list[Problem] = Field(default_factory=list)


class Features(Schema):
    name: str
    version: int
    features: list[str] = Field(description="in the order in which the network takes them")


router = Router()
VIEW_STRATEGIES = Access("strategies_app.view_strategy")


@router.get("/strategies", auth=VIEW_STRATEGIES, tags=["strategies"], response={
    200: Strategies | list[StrategyLine], **ERRORS})  # fmt: skip
def list_strategies(request: HttpRequest, limit: Limit = None, cursor: str = "") -> dict[str, Any] | list[dict[str, Any]]:
    """The stored strategies by name, as a page if `limit` is given."""
    rows = Strategy.objects.annotate(
        version=Max("versions__number"), versions_count=Count("versions"), changed=Max("versions__created")
    )
    fields = ("name", "version", "created", "changed")
    lines = [{**{f: getattr(row, f) for f in fields}, "versions": row.versions_count} for row in rows]
    if limit is None:
        return lines
    found, next_cursor = listed(lines, lambda line: str(line["name"]), limit, cursor)
    return {"strategies": found, "next_cursor": next_cursor}


@router.post("/strategies/validate", auth=VIEW_STRATEGIES, tags=["strategies"], response={200: Validation, **ERRORS})
def validate_strategy(request: HttpRequest, body: StrategyText) -> dict[str, Any]:
    """Whether a text is a valid strategy, and if not, everything that is wrong with it. Stores nothing."""
    try:
        spec = read_strategy(body.strategy_yaml)
    except StrategyError as error:
        return {"valid": False, "problems": error.problems}
    labels = spec.training.labels.source
    return {
        "valid": True, "name": spec.name, "features": len(feature_names(spec)), "labels": labels, "warnings": warnings_of(spec),
    }  # fmt: skip


@router.get("/strategies/{name}", auth=VIEW_STRATEGIES, tags=["strategies"], response={200: StrategyDetail, **ERRORS})
def show_strategy(request: HttpRequest, name: str, version: int | None = Query(None, ge=1, lt=2**31)) -> dict[str, Any]:
    """A strategy's text, the newest version if not told otherwise."""
    _, row = _stored(name, version)
    numbers = row.strategy.versions.order_by("number").values_list("number", flat=True)
    return {
        "name": name, "version": row.number, "text": row.text, "sha256": row.sha256, "path": row.source_path,
        "created": row.created, "versions": list(numbers),
    }  # fmt: skip


@router.get("/strategies/{name}/features", auth=VIEW_STRATEGIES, tags=["strategies"], response={
    200: Features, **ERRORS})  # fmt: skip
def strategy_features(request: HttpRequest, name: str) -> dict[str, Any]:
    """What the network sees, in its order."""
    found, row = _stored(name)
    return {"name": name, "version": row.number, "features": feature_names(read_strategy(found.text))}


def _stored(name: str, number: int | None = None) -> tuple[FoundStrategy, Any]:
    found = stored_strategy(name, number)
    return found, found.version
