"""What happens to stored strategies, told to whoever wants to keep a trace; sent with `user`, `name`, `details`,
and `via` where it was not the admin."""

from __future__ import annotations

from django.dispatch import Signal

strategy_saved = Signal()
strategy_deleted = Signal()
