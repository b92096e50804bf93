"""Start a training: the form, the plan beside it that follows every edit, and the start itself."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render

from strategies_app.grammar.reader import BadList, StrategyError, read_strategy, symbols_in
from strategies_app.grammar.schema import DataSplit, StrategySpec, TrainingData
from strategies_app.grammar.vocabulary import TIMEFRAMES
from strategies_app.starters import samples
from strategies_app.stored import FoundStrategy, UnknownStrategy
from training.access.plain_requests import READ_AND_WRITE
from training.core.findings import findings_in
from training.core.values import Refusal
from training.jobs import lifecycle
from training.jobs.notices import own_address
from training.jobs.questions import Broken, Refused, Reply, TookTooLong, UnknownJob, ask, look
from training.jobs.queues import NoWorker, choose_queue
from training.jobs.requests import Conflict, start_training
from training.jobs.status import seconds_for
from training.models import Operation
from training.results.metric_table import COLUMNS, label_lines, label_worth, split_cells, split_columns
from training.web import checks
from training.web.choices import SAMPLE, choices, coverage, found, problems_of, ranges_of, stored_series
from training.web.page import actor_of, page, sentence

MAY_START = "training.start_operation"
#: Until then the plan is waited for; later the page asks again.
WAIT_SECONDS = 2
#: A share above this in one class of the training rows is worth a colour.
ONE_SIDED = 0.95
BROKEN = "The plan met something unexpected; its worker's log says what."


@page(MAY_START, *READ_AND_WRITE)
def train(request: HttpRequest) -> HttpResponse:
    """GET: the form, with the strategy's own values. POST: start, and lead to the operation."""
    if request.method == "POST":
        return _start(request)
    before = lifecycle.stored(request.GET.get("again", ""))
    if before is not None:
        return _form(request, before.strategy_version.strategy.name, _as_before(before), {}, _missing(before))
    return _form(request, _value_asked_for(request), None, {})


def _missing(operation: Operation) -> list[str]:
    """A package that the run used and that is gone, by its name: the strategy itself only has a kind that is unknown."""
    try:
        lifecycle.refuse_other_plugins(operation, allow_inexact=True)
    except lifecycle.OperationError as error:
        return [str(error)]
    return []


def _as_before(operation: Operation) -> QueryDict:
    """The form as it was sent for an earlier training: its symbols, timeframes, dates and validation share."""
    plain = operation.spec_data  # only these parts: a package that another part needs may be gone
    data = TrainingData.model_validate(plain["training_data"])
    split = DataSplit.model_validate(plain["training"].get("data_split", {}))
    given = QueryDict(mutable=True)
    given.setlist("symbols", list(data.symbols.names))
    given.setlist("timeframes", list(data.timeframes.names))
    given["start"] = data.start.isoformat() if data.start else ""
    given["end"] = data.end.isoformat() if data.end else ""
    given["validation_split"] = f"{split.validation:g}"
    if operation.detailed_analytics:
        given["detailed_analytics"] = "1"
    if operation.notify:
        given["notify"] = "1"
    return given


def _value_asked_for(request: HttpRequest) -> str:
    """A stored strategy or a sample by name, as the address says; else the one used last; else the plainest sample."""
    name, sample = request.GET.get("strategy", ""), request.GET.get("sample", "")
    if name:
        return name
    if sample:
        return SAMPLE + (sample if sample in samples() else next(iter(samples())))
    last = Operation.objects.order_by("-created").values_list("strategy_version__strategy__name", flat=True).first()
    stored, rest = choices()
    return last or next((choice.value for choice in (*stored, *rest)), "")


def _form(
    request: HttpRequest, value: str, given: QueryDict | None, problems: dict[str, list[str]], missing: list[str] | None = None
) -> HttpResponse:
    """missing: why the strategy may be one that cannot be read any more."""
    stored, rest = choices()
    context: dict[str, Any] = {"stored": stored, "samples": rest, "value": value, "task_id": secrets.token_hex(16)}
    series = stored_series()
    try:
        strategy = found(value)
        spec = read_strategy(strategy.text)
    except (UnknownStrategy, StrategyError) as error:
        problems = {"strategy": [*(missing or []), str(error)]} | problems
    else:
        context |= {"strategy": strategy, "spec": spec, "value": strategy.version.strategy.name if strategy.version else value}
        context |= _fields(spec, series, given)
    context |= {"problems": _said(problems), "any_bars": bool(series), "can_mail": bool(settings.EMAIL_HOST)}
    return render(request, "site/train.html", context, status=422 if problems and request.method == "POST" else 200)


def _fields(spec: StrategySpec, series: dict[str, list[Any]], given: QueryDict | None) -> dict[str, Any]:
    """What the fields show: what was typed, else the strategy's own values."""
    chosen = given.getlist("symbols") if given else list(spec.symbols)
    timeframes = given.getlist("timeframes") if given else list(spec.timeframes)
    finest = min((TIMEFRAMES[row.timeframe] for rows in series.values() for row in rows), default=0)
    data = spec.training_data

    def value(name: str, own: Any) -> Any:
        return given.get(name, "") if given else own

    return {
        "symbols": [
            {"name": name, "chosen": name in chosen, "series": series.get(name, [])}
            for name in sorted({*series, *spec.symbols}, key=lambda name: (name not in spec.symbols, name))
        ],
        "timeframes": [
            {"name": name, "chosen": name in timeframes, "can": seconds >= finest or name in spec.timeframes}
            for name, seconds in TIMEFRAMES.items()
        ],
        "symbol_list": value("symbol_list", ""),
        "start": value("start", data.start.isoformat() if data.start else ""),
        "end": value("end", data.end.isoformat() if data.end else ""),
        "validation_split": value("validation_split", f"{spec.training.data_split.validation:g}"),
        "detailed_analytics": bool(value("detailed_analytics", "")),
        "notify": bool(value("notify", "")),
        "test_share": f"{spec.training.data_split.test:g}",
    }


# --- what was typed ----------------------------------------------------------------------------


def _options(given: QueryDict, spec: StrategySpec) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The form as `read_strategy` takes it, without what is the strategy's own; and field → what cannot be read."""
    options: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    try:
        listed = symbols_in(given["symbol_list"], "the list") if given.get("symbol_list", "").strip() else None
    except BadList as error:
        problems["symbols"], listed = [str(error)], list(spec.symbols)
    for field, own in (("symbols", spec.symbols), ("timeframes", spec.timeframes)):
        chosen = listed if field == "symbols" and listed else given.getlist(field)
        if not chosen:
            problems[field] = [f"choose at least one of the {field}"]
        elif set(chosen) != set(own):
            options[field] = [c for c in own if c in chosen] + [c for c in chosen if c not in own]
    for field, own in (("start", spec.training_data.start), ("end", spec.training_data.end)):
        text = given.get(field, "").strip()
        if not text:
            continue
        try:
            day = dt.date.fromisoformat(text)
        except ValueError:
            problems[field] = [f"seen '{text[:40]}', wanted a day as YYYY-MM-DD"]
            continue
        if day != own:
            options[field] = day.isoformat()
    share = given.get("validation_split", "").strip().replace(",", ".")
    try:
        if share and not abs(float(share) - spec.training.data_split.validation) <= 1e-9:  # so that nan is seen too
            options["validation_split"] = float(share)
    except ValueError:
        problems["validation_split"] = [f"seen '{share[:40]}', wanted a share such as 0.2"]
    return options, problems


def _said(problems: dict[str, list[str]]) -> dict[str, list[str]]:
    return {field: [sentence(one) for one in told] for field, told in problems.items()}


def _asked(given: QueryDict) -> tuple[FoundStrategy, dict[str, Any], StrategySpec | None, dict[str, list[str]]]:
    """Strategy, options, the strategy with the options, and all that is in the way. Raises UnknownStrategy."""
    strategy = found(given.get("strategy", ""))
    try:
        own = read_strategy(strategy.text)
    except StrategyError as error:
        return strategy, {}, None, {"strategy": [str(problem) for problem in error.problems]}
    options, problems = _options(given, own)
    spec, more = problems_of(strategy.text, options, ranges_of(stored_series()))
    return strategy, options, spec, more | problems


# --- the plan ----------------------------------------------------------------------------------


@page(MAY_START, "POST")
def plan(request: HttpRequest) -> HttpResponse:
    """What the training would do, for the form as it is now: problems by field, coverage, and the plan."""
    try:
        strategy, options, spec, problems = _asked(request.POST)
    except UnknownStrategy as error:
        return render(request, "site/_plan.html", {"problems": _said({"strategy": [str(error)]})})
    context: dict[str, Any] = {"problems": _said(problems)}
    if spec is not None:
        context["coverage"] = coverage(spec, stored_series())
    if not problems and spec is not None:
        context |= _worker() | {"seconds": seconds_for(spec.plain())}
        label = strategy.label or "a sample, stored when it is started"
        context |= _plan_of(request, {"text": strategy.text, "label": label, "options": options, "worker": context["worker"]})
    return render(request, "site/_plan.html", context)


def _worker() -> dict[str, Any]:
    try:
        return {"worker": f"a {choose_queue()} worker", "no_worker": ""}
    except NoWorker as error:
        return {"worker": f"none: {error}", "no_worker": sentence(str(error))}


def _plan_of(request: HttpRequest, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return _answered(ask("plan", arguments, request.user, WAIT_SECONDS))
    except NoWorker as error:
        return {"no_quick": sentence(str(error))}
    except (Refused, TookTooLong) as error:
        return _refused(error)
    except Broken:
        return {"refused": BROKEN}


def _refused(error: Refusal) -> dict[str, Any]:
    return {"refused": sentence(str(error)), "found": findings_in(error)}


def _answered(reply: Reply) -> dict[str, Any]:
    return (
        {"job": reply.job}
        if reply.result is None
        else {
            "plan": reply.result,
            "columns": split_columns(reply.result),
            "rows": _rows(reply.result),
            "labels": _labels(reply.result),
            "checks": checks.context_of(reply.result["checks"]),
        }
    )


def _rows(told: dict[str, Any]) -> list[dict[str, Any]]:
    """The splits with their class shares, as lines of a table."""
    return [
        {
            "name": name,
            "count": count,
            "shares": [{"percent": text, "alarm": alarm} for text, alarm in split_cells(told, name)],
        }
        for name, count in told["split"]["rows"].items()
    ]  # fmt: skip


def _labels(told: dict[str, Any]) -> dict[str, Any]:
    """What the labels are worth, as lines of a table and a sentence."""
    report = told["label_report"]
    return {"columns": COLUMNS, "lines": label_lines(report), "worth": label_worth(report)}


@page(MAY_START)
def planned(request: HttpRequest, job: str) -> HttpResponse:
    """A plan that took longer than the page waited."""
    try:
        context = _answered(look(job, request.user))
    except (Refused, TookTooLong, UnknownJob) as error:
        context = _refused(error)
    except Broken:
        context = {"refused": BROKEN}
    return render(request, "site/_planned.html", context)


# --- the start ---------------------------------------------------------------------------------


def _start(request: HttpRequest) -> HttpResponse:
    given = request.POST
    value = given.get("strategy", "")
    try:
        strategy, options, _, problems = _asked(given)
    except UnknownStrategy as error:
        return _form(request, value, given, {"strategy": [str(error)]})
    if strategy.version is None and not request.user.has_perm("strategies_app.add_strategyversion"):
        raise PermissionDenied
    if problems:
        return _form(request, value, given, problems)
    task = f"web-{given.get('task_id', '')[:64]}" if given.get("task_id") else None
    try:
        of_run = {"detailed_analytics": True} if given.get("detailed_analytics") == "1" else {}
        notify = own_address(request.user) if given.get("notify") == "1" else ""
        operation, is_new = start_training(strategy, options | of_run, actor_of(request), task_id=task, notify=notify)
    except Conflict:
        former = Operation.objects.filter(task_id=task).values_list("pk", flat=True).first()
        told = f"This form has started {former} already. Press Start again to start another one as it stands here."
        return _form(request, value, given, {"": [told]})
    except StrategyError as error:
        return _form(request, value, given, {"strategy": [str(problem) for problem in error.problems]})
    except Refusal as error:
        return _form(request, value, given, {"": [str(error)]})
    if not is_new:
        messages.info(request, "This was started already; here it is.")
    return redirect("site:operation", operation_id=operation.pk)
