"""Trainings: what was asked for, how far it came, and what is kept of it."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"
    verbose_name = "Trainings"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        post_migrate.connect(_make_groups, sender=self)


def _make_groups(**kwargs: Any) -> None:
    """After the permissions are made, which auth does in the same signal, connected earlier."""
    from training.roles import make_groups

    make_groups()
