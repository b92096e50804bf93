"""Stored strategies: a name, and its texts as versions that never change."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

from django.db import models, transaction


class StrategyQuerySet(models.QuerySet["Strategy"]):
    def import_text(self, text: str, source_path: str = "", base: int | None = None) -> StrategyVersion:
        """The version that holds `text`: the newest one if it has this very text, else a new one.

        A text that is no valid strategy raises StrategyError. `source_path` is kept as provenance only.
        With `base`, the number of the version that was edited (0: none), another text is stored only as the one after it:
        NewerVersion if somebody else stored one meanwhile.
        """
        from strategies_app.grammar.reader import read_strategy

        spec = read_strategy(text)
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
        with transaction.atomic():
            # The row is locked, so that two imports at once get different numbers.
            strategy, _ = self.select_for_update().get_or_create(name=spec.name)
            newest = strategy.newest()
            if newest is not None and newest.sha256 == digest:
                return newest
            if base is not None and newest is not None and newest.number != base:
                raise NewerVersion(newest)
            number = newest.number + 1 if newest else 1
            return strategy.versions.create(number=number, text=text, sha256=digest, source_path=source_path)


class Strategy(models.Model):
    """A strategy's name, under which its versions are found."""

    name = models.CharField(max_length=100, unique=True)
    created = models.DateTimeField(auto_now_add=True)

    objects = StrategyQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name_plural = "strategies"

    def __str__(self) -> str:
        return self.name

    def newest(self) -> StrategyVersion | None:
        return self.versions.order_by("-number").first()

    def delete_unused(self) -> None:
        """Remove it with its versions, all or nothing; StrategyInUse if anything refers to one of them."""
        try:
            with transaction.atomic():
                self.versions.all().delete()
                self.delete()
        except models.ProtectedError as error:
            count = len(error.protected_objects)
            which = "1 operation was" if count == 1 else f"{count} operations were"
            raise StrategyInUse(f"{which} started with it, to be deleted first") from None


class StrategyInUse(Exception):
    """A strategy was about to be deleted to which operations refer."""


class NewerVersion(Exception):
    """The edited version is not the newest any more; `version` is the newest."""

    def __init__(self, version: StrategyVersion) -> None:
        super().__init__(f"{version} was stored meanwhile")
        self.version = version


class ImmutableVersion(Exception):
    """A stored version was about to be changed; a changed text is a new version."""


class StrategyVersion(models.Model):
    """One text of a strategy, exactly as it was imported. Trained models refer to it, so it never changes."""

    strategy = models.ForeignKey(Strategy, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    text = models.TextField()
    sha256 = models.CharField(max_length=64, help_text="of the text as UTF-8")
    source_path = models.TextField(blank=True, help_text="the file that it was read from")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["strategy", "-number"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["strategy", "number"], name="one_version_per_number")]

    def __str__(self) -> str:
        return f"{self.strategy.name} version {self.number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise ImmutableVersion(f"{self} is stored and cannot be changed, import the changed text as a new version")
        super().save(*args, **kwargs)
