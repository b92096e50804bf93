"""The admin of trainings: each module registers its own pages."""

from __future__ import annotations

from training import admin_operations

__all__ = ["admin_operations"]
