"""The preview beside the editor, as a part of a page: asked of the quick worker, shown as pictures with words beside them."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import format_html_join

from strategies_app.forms import plain_lines
from strategies_app.grammar.reader import StrategyError, read_strategy
from training.jobs.questions import Broken, Refused, Reply, TookTooLong, UnknownJob, ask, look
from training.jobs.queues import NoWorker
from training.models import BarSeries
from training.results.figures_bars import candles_figure, class_colour, membership_figure
from training.web.page import page, sentence

#: Until then the answer is waited for; later the page asks again.
WAIT_SECONDS = 2
#: A share of silent bars, or of one class, that a trader should see.
MANY_SILENT, ONE_SIDED = 0.10, 0.95


@page("training.view_barseries", "POST")
def preview(request: HttpRequest) -> HttpResponse:
    """What the text makes of a symbol's last bars; `symbol` if not given is the first of the strategy that is stored."""
    text = plain_lines(request.POST.get("text", ""))
    try:
        spec = read_strategy(text)
    except StrategyError as error:
        return _say(request, "unready", "The preview comes back once the text is right.", problems=len(error.problems))
    stored = set(BarSeries.objects.values_list("symbol", flat=True))
    if not stored:
        return _say(request, "no_bars", "No bars are stored yet.")
    symbol = request.POST.get("symbol") or next((s for s in spec.symbols if s in stored), sorted(stored)[0])
    absent = "" if request.POST.get("symbol") or symbol in spec.symbols else ", ".join(spec.symbols[:3])
    try:
        reply = ask("preview", {"text": text, "symbol": symbol}, request.user, WAIT_SECONDS)
    except NoWorker as error:
        return _say(request, "no_worker", str(error))
    except (Refused, TookTooLong) as error:
        return _say(request, "refused", str(error))
    except Broken:
        return _say(request, "broken", "The preview met something unexpected. Its worker's log says what.")
    return _answered(request, reply, absent)


@page("training.view_barseries")
def symbols(request: HttpRequest) -> HttpResponse:
    """What can be previewed, as options of a list."""
    stored = BarSeries.objects.order_by("symbol").values_list("symbol", flat=True).distinct()
    return HttpResponse(format_html_join("", "<option>{}</option>", ((symbol,) for symbol in stored)))


@page("training.view_barseries")
def waiting(request: HttpRequest, job: str) -> HttpResponse:
    """The answer to a question that took longer."""
    try:
        return _answered(request, look(job, request.user), request.GET.get("absent", "")[:200])
    except (Refused, TookTooLong, UnknownJob) as error:
        return _say(request, "refused", str(error))
    except Broken:
        return _say(request, "broken", "The preview met something unexpected. Its worker's log says what.")


def _say(request: HttpRequest, state: str, text: str, **more: Any) -> HttpResponse:
    return render(request, "strategies/_preview_state.html", {"state": state, "sentence": sentence(text), **more})


def _answered(request: HttpRequest, reply: Reply, absent: str) -> HttpResponse:
    """`absent`: the strategy's own symbols, where none of them is stored and another one is shown in their place."""
    if reply.result is None:
        return render(request, "strategies/_preview_state.html", {"state": "waiting", "job": reply.job, "absent": absent})
    return render(request, "strategies/_preview.html", shown(reply.result) | {"absent": absent})


def shown(result: dict[str, Any]) -> dict[str, Any]:
    """The preview as the template takes it: figures under ids of their own, shares as texts."""
    series = [
        {
            "timeframe": timeframe,
            "id": f"preview-candles-{number}",
            "bars": one["bars"],
            "drawn": len(one["times"]),
            "names": [output["name"] for output in one["outputs"]],
            "figure": candles_figure(one, result["labels"] if timeframe == result["base_timeframe"] else None),
        }
        for number, (timeframe, one) in enumerate(result["series"].items())
    ]
    series.sort(key=lambda one: one["timeframe"] != result["base_timeframe"])
    sets = [_set(number, one) for number, one in enumerate(result["fuzzy_sets"])]
    return {
        "preview": result,
        "series": series,
        "sets": sets,
        "classes": [_class(one) for one in result["labels"]["classes"]],
        "one_sided": next((c["name"] for c in result["labels"]["classes"] if (c["share"] or 0) > ONE_SIDED), None),
        "silent": [one for one in sets if one["alarm"]],
        "more_features": result["feature_count"] - len(result["features"]),
    }


def _set(number: int, one: dict[str, Any]) -> dict[str, Any]:
    silent, faint = one["silent_share"], one["faint_share"]
    return {
        **one,
        "id": f"preview-set-{number}",
        "figure": membership_figure(one),
        "silent": None if silent is None else f"{silent:.1%}",
        "faint": None if faint is None else f"{faint:.1%}",
        "alarm": silent is not None and silent >= MANY_SILENT,
    }


def _class(one: dict[str, Any]) -> dict[str, Any]:
    share = one["share"] or 0.0
    return {**one, "percent": f"{share:.1%}", "width": f"{100 * share:.2f}", "colour": class_colour(one["name"])}
