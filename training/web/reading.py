"""The form in which one says how an uploaded file is to be read: the options of load_data, and the meaning of each column."""

from __future__ import annotations

import codecs
import zoneinfo
from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import QueryDict

from strategies_app.grammar.schema import SYMBOL, SYMBOL_WORDS
from strategies_app.grammar.vocabulary import TIMEFRAMES

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
