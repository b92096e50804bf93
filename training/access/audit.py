"""The trail: who asked for what, by which way, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.models import AuditEntry


@dataclass(frozen=True)
class Actor:
    """Who asks, and by which way: `command`, `api`, `admin`, `web`."""

    user: Any = None
    via: str = "command"

    @property
    def name(self) -> str:
        return self.user.get_username() if self.user is not None else ""


def audit(actor: Actor, action: str, target: str, **details: Any) -> AuditEntry:
    """Leave a trace."""
    return AuditEntry.objects.create(
        user=actor.user, username=actor.name, action=action, target=target, details={"via": actor.via, **details}
    )
