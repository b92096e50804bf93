"""A strategy's text as a form: all that is wrong with it at once, each with line, column and path; what was typed stays."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from strategies_app.grammar.reader import StrategyError, read_strategy
from strategies_app.models import NewerVersion, Strategy, StrategyVersion
from strategies_app.stored import DifferenceLine, difference_lines

#: Names under which no strategy could be looked at.
RESERVED_NAMES = frozenset({"new"})


def plain_lines(text: str) -> str:
    """Line ends as a browser does not send them: it makes each one CR LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def name_problem(name: str, kept: str) -> str:
    """Why a text of this name cannot be stored as the next version of the strategy `kept`, or as a new one; empty if it can."""
    if name in RESERVED_NAMES:
        return f"'{name}' is an address of the pages, wanted any other name"
    if kept and name != kept:
        return (
            f"seen '{name}', wanted '{kept}': a stored strategy keeps its name, since models are "
            "named after it; to have the text under another name, add it as a new strategy"
        )
    if not kept and Strategy.objects.filter(name=name).exists():
        return f"'{name}' is stored already: give this one another name, or open '{name}' to save the text as its next version"
    return ""


class StrategyTextForm(forms.ModelForm):
    """The text of a new strategy, or of the next version of a stored one."""

    text = forms.CharField(
        label="Strategy",
        strip=False,
        widget=forms.Textarea(
            attrs={"class": "strategy-text", "rows": 32, "spellcheck": "false", "autocapitalize": "off", "autocomplete": "off"}
        ),
        error_messages={"required": "there is no text yet: paste a strategy, which starts with name:"},
    )

    class Meta:
        model = Strategy
        fields = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.newest = self.instance.newest() if self.instance.pk else None
        field = self.fields["text"]
        field.validators = []  # a NUL has a place in the text, which the reader tells
        if self.newest is not None:
            field.initial = plain_lines(self.newest.text)

    def clean_text(self) -> str:
        text = plain_lines(self.cleaned_data["text"])
        if self.newest is not None and text == plain_lines(self.newest.text):
            return self.newest.text  # the same but for line ends: no new version
        try:
            name = read_strategy(text).name
        except StrategyError as error:
            raise ValidationError([str(problem) for problem in error.problems]) from None
        self._check_name(name)
        self.instance.name = name
        return text

    def _check_name(self, name: str) -> None:
        if problem := name_problem(name, self.instance.name if self.newest else ""):
            raise ValidationError(f"name: {problem}")


class EditorForm(StrategyTextForm):
    """The editor's: it also knows which version was edited, so that nobody's work is stored over."""

    base = forms.IntegerField(min_value=0, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["base"].initial = self.newest.number if self.newest else 0
        self.meanwhile: StrategyVersion | None = None

    @property
    def newest_number(self) -> int:
        """The version that the next save follows: what was seen when the page was made, or told of since."""
        return self.meanwhile.number if self.meanwhile else self.newest.number if self.newest else 0

    def store(self) -> StrategyVersion | None:
        """The stored version, or None: somebody stored another one meanwhile, and the form says so."""
        try:
            return Strategy.objects.import_text(self.cleaned_data["text"], base=self.cleaned_data["base"])
        except NewerVersion as newer:
            self.meanwhile = newer.version
            return None

    def differences(self) -> list[DifferenceLine]:
        """From the version that was stored meanwhile to what was typed."""
        if self.meanwhile is None:
            return []
        names = f"version {self.meanwhile.number}, stored meanwhile", "your text"
        return difference_lines(plain_lines(self.meanwhile.text), self.cleaned_data["text"], names)
