"""The admin of trainings: each of these modules registers its own pages."""

from __future__ import annotations

from training.admin import access, library, operations, workers

__all__ = ["admin_access", "admin_kept", "admin_operations", "admin_workers"]
