"""Bars into the store from the browser: the sample bars, or a file that is looked at, and how it is to be read, before."""

from __future__ import annotations

import codecs
import zoneinfo
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse

from strategies_app.grammar.schema import SYMBOL, SYMBOL_WORDS
from strategies_app.grammar.vocabulary import TIMEFRAMES
from training.access.audit import audit
from training.access.plain_requests import READ_AND_WRITE
from training.jobs import uploads
from training.jobs.uploads import Upload, UploadError
from training.templatetags.words import sentence
from training.web.page import Told, actor_of, ask, look, next_of, page, without_worker

#: Loading the samples takes about a second; the page waits for it rather than showing another one.
SAMPLE_SECONDS = 8
GONE = "This file was loaded or dropped, or is older than a day. Upload it again."


# --- the sample bars ---------------------------------------------------------------------------


@page("training.add_barseries", "POST")
def sample(request: HttpRequest) -> HttpResponse:
    """Store the bars and strategies that come with the program, then go on to `next`."""
    return _sample_told(request, ask("load_sample", {"user": request.user.pk}, request.user, SAMPLE_SECONDS))


@page("training.add_barseries")
def sample_loading(request: HttpRequest, job: str) -> HttpResponse:
    """Waits for the sample bars."""
    return _sample_told(request, look(job, request.user))


def _sample_told(request: HttpRequest, told: Told) -> HttpResponse:
    after = next_of(request, reverse("site:data"))
    if told.is_waiting:
        here = f"{reverse('site:sample-loading', args=[told.job])}?{urlencode({'next': after})}"
        return _waiting(request, here, "The sample bars are being stored")
    if told.result is None:
        messages.error(request, f"{sentence(told.problem)} The sample bars were not stored.")
        return _go(request, reverse("site:data"))
    messages.success(request, f"{told.result['bars']:,} sample bars are stored, with sample strategies to train on them.")
    return _go(request, after)


# --- a file ------------------------------------------------------------------------------------


@page("training.add_barseries", *READ_AND_WRITE)
def upload(request: HttpRequest) -> HttpResponse:
    """Choose files; each is kept, and shown before anything of it is stored."""
    if request.method != "POST":
        return render(request, "site/upload.html", _upload_context(request))
    if request.POST.get("do") == "drop-all":
        return _drop_all(request)
    kept: list[Upload] = []
    problems: list[str] = []
    files = request.FILES.getlist("file")  # reads the request, as far as it may
    if request.META.get(uploads.TOO_LARGE):
        problems.append(str(uploads.too_large()))
    elif not files:
        problems.append("choose a file of bars first")
    else:
        for file in files:
            try:
                found, left_out = uploads.store(file, request.user.pk)
            except UploadError as problem:
                problems.append(str(problem))
            else:
                kept += [_as_asked(request, one) for one in found]
                problems += [f"{name} was left out: its name is not that of a file of bars" for name in left_out]
    if len(kept) == 1 and not problems:
        return redirect("site:uploaded", kept[0].key)
    context = _upload_context(request) | {"problems": problems, "kept": kept}
    return render(request, "site/upload.html", context, status=422 if problems and not kept else 200)


def _drop_all(request: HttpRequest) -> HttpResponse:
    waiting = uploads.of_owner(request.user.pk)
    for one in waiting:
        uploads.drop(one)
    messages.success(request, f"{len(waiting)} file{'s were' if len(waiting) != 1 else ' was'} dropped. Nothing was stored.")
    return redirect("site:upload")


def _as_asked(request: HttpRequest, kept: Upload) -> Upload:
    """With the symbol and timeframe that the page was opened for, in place of what the file's name says."""
    given = {name: request.POST.get(name, "") for name in ("symbol", "timeframe")}
    fits = ReadingForm({**kept.options, **{name: value for name, value in given.items() if value}})
    fits.is_valid()
    return uploads.change(kept, {name: fits.cleaned_data[name] for name in given if fits.cleaned_data.get(name)})


def _upload_context(request: HttpRequest) -> dict[str, Any]:
    from django.conf import settings

    given = request.POST if request.method == "POST" else request.GET
    return {
        "limit": settings.UPLOAD_LIMIT_BYTES, "symbol": given.get("symbol", ""), "timeframe": given.get("timeframe", ""),
        "waiting_files": uploads.of_owner(request.user.pk), "no_worker": without_worker(),
    }  # fmt: skip


@page("training.add_barseries", *READ_AND_WRITE)
def uploaded(request: HttpRequest, key: str) -> HttpResponse:
    """One kept file: how it is read, what is in it, and the button that loads it."""
    kept = _kept_or_404(request, key)
    if request.method == "POST" and request.POST.get("do") == "drop":
        uploads.drop(kept)
        messages.success(request, f"{kept.name} was dropped. Nothing was stored.")
        return redirect("site:data")
    if request.method == "POST" and request.POST.get("do") == "load":
        return _load(request, kept)
    if request.method == "POST" and request.POST.get("do") == "timeframe":  # the one that the times show
        form = ReadingForm({**kept.options, "timeframe": request.POST.get("timeframe", "")})
    else:
        form = ReadingForm(posted(request.POST, kept.options) if request.method == "POST" else kept.options)
    valid = form.is_valid()
    if request.method == "POST" and valid:
        _change(kept, form.cleaned_data)
        return redirect("site:uploaded", key)
    scale = form.data.get("price_scale", "")
    context = {
        "scale": f"{scale:.12g}" if isinstance(scale, float) else scale,
        "upload": kept,
        "form": form,
        "zones": sorted(zoneinfo.available_timezones()),
        "valid": valid,
    }
    return render(request, "site/uploaded.html", context, status=422 if request.method == "POST" else 200)


def _change(kept: Upload, options: dict[str, Any]) -> Upload:
    try:
        return uploads.change(kept, options)
    except UploadError:
        raise Http404(GONE) from None


def _kept_or_404(request: HttpRequest, key: str) -> Upload:
    kept = uploads.find(key, request.user.pk)
    if kept is None:
        raise Http404(GONE)
    return kept


@page("training.add_barseries")
def preview(request: HttpRequest, key: str) -> HttpResponse:
    """Part of the page: what the quick worker says of the file."""
    kept = _kept_or_404(request, key)
    job = request.GET.get("job", "")
    told = look(job, request.user) if job else ask("inspect_upload", {"key": key}, request.user)
    seen = told.result
    proposed = (seen or {}).get("proposed")
    if proposed and not kept.options["timeframe"]:
        kept = _change(kept, {"timeframe": proposed})
    context = {
        "upload": kept, "told": told, "seen": seen, "problem": _in_words(told, kept), "meanings": MEANING_WORDS.items(),
        "form": ReadingForm(kept.options), "is_proposed": bool(proposed), "asked": label_of((seen or {}).get("asked", "")),
    }  # fmt: skip
    return render(request, "site/_preview.html", context)


def _load(request: HttpRequest, kept: Upload) -> HttpResponse:
    kept = _change(kept, {"replace": request.POST.get("replace") == "1"})
    if not ReadingForm(kept.options).is_valid() or not (kept.options["symbol"] and kept.options["timeframe"]):
        messages.error(request, "Say first which symbol and timeframe these bars have. Nothing was stored.")
        return redirect("site:uploaded", kept.key)
    audit(actor_of(request), "upload", f"{kept.options['symbol']} {kept.options['timeframe']}", file=kept.name, size=kept.size)
    return _load_told(request, kept, ask("load_upload", {"key": kept.key, "user": request.user.pk}, request.user))


@page("training.add_barseries")
def upload_loading(request: HttpRequest, key: str, job: str) -> HttpResponse:
    """Waits for a file's bars; the file is gone when they are stored."""
    return _load_told(request, uploads.find(key, request.user.pk), look(job, request.user), key)


def _load_told(request: HttpRequest, kept: Upload | None, told: Told, key: str = "") -> HttpResponse:
    key = kept.key if kept else key
    if told.is_waiting:
        return _waiting(request, reverse("site:upload-loading", args=[key, told.job]), "The bars are being stored")
    done = told.result
    if done is None:
        messages.error(request, f"{sentence(_in_words(told, kept))} Nothing was stored.")
        return _go(request, reverse("site:uploaded", args=[key]) if kept else reverse("site:data"))
    counts = f"{done['added']:,} bars added, {done['same']:,} the same, {done['replaced']:,} replaced"
    messages.success(request, f"{done['symbol']} {done['timeframe']}: {counts}.")
    return _go(request, reverse("site:series", args=[done["symbol"], done["timeframe"]]))


def _in_words(told: Told, kept: Upload | None) -> str:
    if told.took_too_long and kept is not None:
        return f"{kept.name} takes longer than the site may spend on it; on the server load it with: {kept.command}"
    return told.problem


# --- waiting -----------------------------------------------------------------------------------


def _waiting(request: HttpRequest, here: str, words: str) -> HttpResponse:
    """A page that asks again every second; to its own asking the answer is: not yet."""
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponse(status=204)
    if request.method == "POST":
        return redirect(here)
    return render(request, "site/waiting.html", {"here": here, "words": words})


def _go(request: HttpRequest, address: str) -> HttpResponse:
    if request.htmx:  # type: ignore[attr-defined]
        answer = HttpResponse(status=204)
        answer["HX-Redirect"] = address
        return answer
    return redirect(address)


#: What a column may be said to hold, as the page says it.
MEANING_WORDS = {
    "": "not used", "timestamp": "date and time", "date": "date", "time": "time of day", "open": "open", "high": "high",
    "low": "low", "close": "close", "volume": "volume", "adj_close": "adjusted close", "split": "split factor",
    "symbol": "symbol", "timeframe": "timeframe",
}  # fmt: skip
MOST_COLUMNS = 200
AS_FOUND = ("", "as the file shows")
THOUSANDS = (AS_FOUND, (",", "comma: 1,234"), (".", "point: 1.234"), (" ", "space: 1 234"), ("'", "apostrophe: 1'234"))
DECIMALS = (AS_FOUND, (".", "point: 0.5"), (",", "comma: 0,5"))


class Meanings(forms.Field):
    """The meaning of each column by its place; empty: as the names and layouts say."""

    def clean(self, value: Any) -> list[str]:
        found = [str(one) for one in value or ()]
        if len(found) > MOST_COLUMNS or any(one not in MEANING_WORDS for one in found):
            raise forms.ValidationError("a column has a meaning that is not in its list")
        for name in set(found) - {""}:
            if found.count(name) > 1:
                raise forms.ValidationError(f"{found.count(name)} columns are called {MEANING_WORDS[name]}, wanted one")
        return found


class ReadingForm(forms.Form):
    """How a file is to be read."""

    symbol = forms.RegexField(SYMBOL, required=False, max_length=32, error_messages={"invalid": SYMBOL_WORDS})
    timeframe = forms.ChoiceField(required=False, choices=[("", "choose"), *((name, name) for name in TIMEFRAMES)])
    tz = forms.CharField(label="Time zone of times that name none", required=False, max_length=64)
    price_scale = forms.FloatField(label="Prices are divided by", min_value=1, max_value=1e12, initial=1)
    adjust = forms.BooleanField(label="Adjust by the file's adjusted close", required=False)
    timeframe_is_right = forms.BooleanField(label="Each bar lasts no longer than this timeframe", required=False)
    calendar = forms.CharField(label="Exchange calendar, by which gaps are counted", required=False, max_length=32)
    columns = Meanings(required=False)
    date_format = forms.CharField(label="How dates are written", required=False, max_length=64)
    encoding = forms.CharField(label="Encoding of the text", required=False, max_length=40)
    thousands = forms.ChoiceField(label="Between thousands", required=False, choices=THOUSANDS)
    decimal = forms.ChoiceField(label="Before decimals", required=False, choices=DECIMALS)
    only = forms.CharField(label="Only the rows of this symbol", required=False, max_length=64)
    drop_impossible = forms.BooleanField(label="Leave out bars that cannot be, such as a high below the low", required=False)

    @property
    def says_more(self) -> bool:
        """Whether anything is said, or wrong, of what most files need not say."""
        names = ("date_format", "encoding", "thousands", "decimal", "only", "drop_impossible")
        return any(self.data.get(name) or self.errors.get(name) for name in names)

    def clean_tz(self) -> str:
        name = str(self.cleaned_data["tz"]).strip()
        if name and name not in zoneinfo.available_timezones():
            raise forms.ValidationError("unknown time zone, wanted a name such as Europe/Berlin or UTC")
        return name

    def clean_encoding(self) -> str:
        name = str(self.cleaned_data["encoding"])
        try:
            known = not name or codecs.lookup(name)._is_text_encoding  # type: ignore[attr-defined]
        except (LookupError, ValueError):
            known = False
        if not known:
            raise forms.ValidationError("unknown encoding, wanted a name such as utf-16, cp1252 or latin-1")
        return name

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("thousands") and cleaned["thousands"] == cleaned.get("decimal"):
            self.add_error("decimal", "thousands and decimals cannot have the same sign")
        return cleaned


def posted(post: QueryDict, kept: Mapping[str, Any]) -> dict[str, Any]:
    """What the form was sent with. Columns that are as the file itself says are not said, and those that the page did not
    show yet stay as they were."""
    given = {name: post.get(name, "") for name in ReadingForm.base_fields}
    columns = post.getlist("columns")
    if post.get("do") == "guess":
        columns = []
    elif not columns:
        columns = list(kept["columns"])
    elif not kept["columns"] and columns == post.getlist("found"):
        columns = []
    return {**given, "columns": columns, "do": post.get("do") or "read"}


def label_of(option: str) -> str:
    """What the form calls an option that has a field of its own."""
    field = ReadingForm.base_fields.get(option)
    return str(field.label) if field is not None and field.label else ""
