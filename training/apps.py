"""Trainings: what was asked for, how far it came, and what is kept of it."""

from __future__ import annotations

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"
    verbose_name = "Trainings"
