"""The admin of trainings: each of these modules registers its own pages."""

from __future__ import annotations

from training import admin_access, admin_kept, admin_operations, admin_workers

__all__ = ["admin_access", "admin_kept", "admin_operations", "admin_workers"]
