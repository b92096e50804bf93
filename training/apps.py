"""Trainings: what was asked for, how far it came, and what is kept of it."""

from __future__ import annotations

import logging
from typing import Any

from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"
    verbose_name = "Trainings"

    def ready(self) -> None:
        from django.contrib.auth import signals
        from django.db.models.signals import post_migrate

        post_migrate.connect(_make_groups, sender=self)
        post_migrate.connect(_know_folders, sender=self)
        post_migrate.connect(_summarize, sender=self)
        for signal in (signals.user_logged_in, signals.user_logged_out, signals.user_login_failed):
            signal.connect(_record_sign_in, dispatch_uid="audit")
        signals.user_logged_out.connect(_end_sockets, dispatch_uid="sockets")


def _make_groups(**kwargs: Any) -> None:
    """After the permissions are made, which auth does in the same signal, connected earlier."""
    from training.access.roles import make_groups

    make_groups()


def _know_folders(plan: Any = (), **kwargs: Any) -> None:
    """After tables were made or changed: each folder gets its id, unless one is not there, which is said and ends nothing."""
    from training.jobs import homes

    for name in homes.FOLDERS if plan and homes.is_set_up() else ():
        try:
            homes.require(name)
        except homes.Away as error:
            logging.getLogger(__name__).warning("%s", error)
        else:
            if name == "bars":
                _rename_series()


def _summarize(apps: Any = None, **kwargs: Any) -> None:
    """Models whose summary follows an earlier rule, or that have none, get the sentence and figures of today's."""
    from django.db.models import Q

    from training.models import TrainedModel
    from training.results.verdict import RULE, summary_of

    if apps is not None and not hasattr(apps.get_model("training", "TrainedModel"), "summary"):
        return  # tables of an earlier version, gone back to on purpose
    other = TrainedModel.objects.filter(~Q(summary__rule=RULE) | Q(summary__rule__isnull=True))
    for model in other.only("metrics", "summary").iterator(chunk_size=50):
        model.summary = summary_of(model.metrics)
        model.save(update_fields=["summary"])


def _rename_series() -> None:
    from training.jobs import homes
    from training.store.candles import rename_earlier

    for sentence in rename_earlier(homes.path_of("bars")):
        logging.getLogger(__name__).warning("%s", sentence)


def _record_sign_in(**kwargs: Any) -> None:
    """Imported late: a command's start must not pay for it."""
    from training.access.sign_ins import record

    record(**kwargs)


def _end_sockets(request: Any = None, **kwargs: Any) -> None:
    from training.jobs.broadcast import tell_session_ended
    from training.web.live import session_mark

    key = getattr(getattr(request, "session", None), "session_key", None)
    if key:
        tell_session_ended(session_mark(key))
