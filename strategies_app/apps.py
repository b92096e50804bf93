"""Strategies: texts, their versions, and what they mean."""

from __future__ import annotations

from django.apps import AppConfig


class StrategiesConfig(AppConfig):
    name = "strategies_app"
    verbose_name = "Strategies"
