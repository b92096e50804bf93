"""Strategies: texts, their versions, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig

if TYPE_CHECKING:
    from django.core.checks import CheckMessage


class StrategiesConfig(AppConfig):
    name = "strategies_app"
    verbose_name = "Strategies"

    def ready(self) -> None:
        from django.core.checks import register

        register(_faulty_plugins)


def _faulty_plugins(**kwargs: Any) -> list[CheckMessage]:
    """Installed kinds of other packages that cannot be used: all else works, so each is a warning."""
    from django.core.checks import Warning as CheckWarning

    from strategies_app.grammar import plugins

    hint = "Mend or uninstall that package; `ktrdr strategies vocabulary` lists what can be used."
    return [CheckWarning(f"The {fault.message}.", hint=hint, id="strategies.W001") for fault in plugins.found().faults]
