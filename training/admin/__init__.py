"""The admin of trainings: each of these modules registers its own pages."""

from __future__ import annotations

from training.admin import access, library, operations, workers

__all__ = ["access", "library", "operations", "workers"]
