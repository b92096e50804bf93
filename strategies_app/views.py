"""Writing strategies: the editor, its check while typing, samples with one click, and a version as a file."""

from __future__ import annotations

import itertools
import re
from dataclasses import asdict
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required, permission_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from strategies_app.forms import EditorForm, name_problem, plain_lines
from strategies_app.grammar.reader import StrategyError, read_strategy, warnings_of
from strategies_app.grammar.schema import feature_names
from strategies_app.grammar.yaml_text import MAX_SIZE
from strategies_app.models import Strategy, StrategyVersion
from strategies_app.signals import strategy_saved
from strategies_app.starters import ideas, samples
from strategies_app.tools.snippets import snippets

MAY_SEE, MAY_WRITE = "strategies_app.view_strategy", "strategies_app.add_strategyversion"
#: The name of a text, as one writes it at the left edge.
NAME_LINE = re.compile(r"""^(name:[ \t]*)("[\w-]+"|'[\w-]+'|[\w-]+)(?=[ \t]*(?:#|$))""", re.MULTILINE)
#: So much is told to a person who types.
MOST_PROBLEMS = 50


@login_required
@permission_required(MAY_WRITE, raise_exception=True)
def new(request: HttpRequest) -> HttpResponse:
    """An empty editor, or one with the text of a sample, of an idea or of a stored version to start from."""
    return _editor(request, None, _start_text(request))


@login_required
@permission_required(MAY_WRITE, raise_exception=True)
def edit(request: HttpRequest, name: str) -> HttpResponse:
    """The editor with the newest version; saving makes the next one."""
    strategy = get_object_or_404(Strategy, name=name)
    return _editor(request, strategy, "")


def _start_text(request: HttpRequest) -> str:
    sample = samples().get(request.GET.get("sample", "")) or ideas().get(request.GET.get("idea", ""))
    copied = StrategyVersion.objects.filter(strategy__name=request.GET.get("copy", "")).order_by("-number").first()
    return sample.text if sample else _renamed(copied.text) if copied else ""


def _renamed(text: str) -> str:
    """The text of a copy, under a name that is free."""
    found = NAME_LINE.search(text)
    if found is None:
        return text
    name = found[2].strip("\"'")[:96]
    taken = set(Strategy.objects.filter(name__startswith=name).values_list("name", flat=True))
    free = next(f"{name}-{number}" for number in itertools.count(2) if f"{name}-{number}" not in taken)
    return f"{text[: found.start(2)]}{free}{text[found.end(2) :]}"


def _editor(request: HttpRequest, strategy: Strategy | None, text: str) -> HttpResponse:
    form = EditorForm(request.POST or None, instance=strategy, initial={"text": plain_lines(text)} if text else None)
    if request.method == "POST" and form.is_valid():
        version = form.store()
        if version is not None:
            return _stored(request, form, version)
    context = {
        "form": form,
        "strategy": strategy,
        "text": form["text"].value() or "",
        "base": form.newest_number if form.meanwhile or not form.is_bound else form["base"].value(),
        "problems": form.errors.get("text", []),
        "differences": form.differences() if form.meanwhile else [],
        "groups": _groups(),
        "beginnings": {"Samples": samples().values(), "Ideas": ideas().values()} if strategy is None else {},
    }
    refused = request.method == "POST"
    return render(request, "strategies/edit.html", context, status=409 if form.meanwhile else 422 if refused else 200)


def _stored(request: HttpRequest, form: EditorForm, version: StrategyVersion) -> HttpResponse:
    name = version.strategy.name
    if form.newest is not None and version.number == form.newest.number:
        messages.info(request, f"The text is that of version {version.number}. Nothing new was stored.")
    else:
        strategy_saved.send(Strategy, user=request.user, name=name, details={"version": version.number}, via="web")
        messages.success(request, f"Stored as version {version.number}.")
    # The page there forgets the draft of this editor.
    return redirect(f"{reverse('strategies:page', args=[name])}?saved={'new' if form.newest is None else 'edit'}")


def _groups() -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for snippet in snippets():
        groups.setdefault(snippet.group, []).append(snippet)
    return groups


@login_required
@permission_required(MAY_SEE, raise_exception=True)
@require_POST
def check(request: HttpRequest) -> JsonResponse:
    """Every problem of a text with its place, or what it is; asked while somebody types, so it stores nothing."""
    text = plain_lines(request.POST.get("text", ""))
    if not text.strip():
        return JsonResponse({"valid": False, "empty": True, "problems": []})
    if len(text) > MAX_SIZE:
        problem = {"path": "", "line": None, "column": None, "message": f"{len(text):,} letters, at most {MAX_SIZE:,} are read"}
        return JsonResponse({"valid": False, "problems": [problem]})
    try:
        spec = read_strategy(text)
    except StrategyError as error:
        problems = [asdict(problem) for problem in error.problems]
        return JsonResponse({"valid": False, "problems": problems[:MOST_PROBLEMS], "count": len(problems)})
    if problem := name_problem(spec.name, request.POST.get("strategy", "")):
        line, column = _place_of_name(text)
        told_name = {"path": "name", "line": line, "column": column, "message": problem}
        return JsonResponse({"valid": False, "readable": True, "problems": [told_name]})
    told = {
        "name": spec.name,
        "features": len(feature_names(spec)),
        "labels": spec.training.labels.source,
        "symbols": spec.symbols,
        "warnings": warnings_of(spec),
    }
    return JsonResponse({"valid": True, "problems": [], **told})


def _place_of_name(text: str) -> tuple[int | None, int | None]:
    """Line and column of the name's value, where it is written plainly."""
    found = NAME_LINE.search(text)
    return (text.count("\n", 0, found.start()) + 1, found.start(2) - found.start() + 1) if found else (None, None)


@login_required
@permission_required(MAY_WRITE, raise_exception=True)
@require_POST
def add_sample(request: HttpRequest) -> HttpResponse:
    """Store a sample; one that is stored already is shown."""
    sample = samples().get(request.POST.get("name", ""))
    if sample is None:
        raise Http404("There is no such sample.")
    if not Strategy.objects.filter(name=sample.name).exists():
        version = Strategy.objects.import_text(sample.text)
        strategy_saved.send(Strategy, user=request.user, name=sample.name, details={"version": version.number}, via="web")
        messages.success(request, f"The sample {sample.name} is stored. Train it, or change it first.")
    return redirect("strategies:page", name=sample.name)


@login_required
@permission_required(MAY_SEE, raise_exception=True)
@require_safe
def download(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """The exact text of a version, byte for byte."""
    version = get_object_or_404(StrategyVersion, strategy__name=name, number=number)
    answer = HttpResponse(version.text.encode(), content_type="application/yaml")
    answer["Content-Disposition"] = f'attachment; filename="{name}-{number}.yaml"'
    return answer
