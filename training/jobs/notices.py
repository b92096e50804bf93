"""Mails: an operation that has ended → a mail to whom asked for it. A mail server that fails costs one sentence in the log."""

from __future__ import annotations

import logging
import smtplib
from itertools import takewhile
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.core.validators import validate_email
from django.db import DatabaseError

from training.core.values import Refusal
from training.jobs.failures import kept_words
from training.models import AuditEntry, Operation, Status

log = logging.getLogger(__name__)


class NoMail(Refusal):
    """Nobody can be mailed: one sentence."""

    category = "resources"


def checked_address(address: str) -> str:
    """The address, if it is one and mail can be sent from here; '' for nobody. NoMail otherwise."""
    if not address:
        return ""
    try:
        validate_email(address)
    except ValidationError:
        raise NoMail(f"'{address}' is no mail address, wanted one such as name@example.org") from None
    if not settings.EMAIL_HOST:
        raise NoMail("no mail can be sent: EMAIL_HOST names no mail server")
    return address


def own_address(user: Any) -> str:
    """The address of who asks for a mail; NoMail if the account has none."""
    if not user.email:
        raise NoMail(f"the account {user.get_username()} has no mail address: an admin can give it one")
    return str(user.email)


def mail_end(operation_id: str) -> None:
    """Tell whoever asked how it ended, each end once, whoever notices it and however often.

    Nothing is told of a failure that is tried again by itself, nor to those who stopped it themselves.
    """
    try:
        operation = Operation.objects.select_related("strategy_version__strategy", "user").filter(pk=operation_id).first()
        if operation is None or not _is_news(operation) or not _is_first(operation):
            return
        send_mail(f"{operation.name}: {operation.status}", text_of(operation), None, [operation.notify])
    except (OSError, smtplib.SMTPException) as error:
        log.warning("%s could not be mailed to %s: %s", operation_id, operation.notify if operation else "its starter", error)
    except DatabaseError as error:
        log.warning("%s: whether its end is to be mailed could not be looked up: %s", operation_id, error)


def _is_news(operation: Operation) -> bool:
    if not operation.notify or operation.waits_to_retry:
        return False
    if operation.status == Status.CANCELLED:
        return any(entry.action == "force" or entry.user_id != operation.user_id for entry in _stops(operation))
    return operation.status in (Status.COMPLETED, Status.FAILED, Status.INTERRUPTED)


def _is_first(operation: Operation) -> bool:
    """One process alone gets to mail this end of this attempt."""
    this = f"{operation.attempt} {operation.status}"
    same = Operation.objects.filter(pk=operation.pk, attempt=operation.attempt, status=operation.status)
    return same.exclude(mailed=this).update(mailed=this) == 1


def _stops(operation: Operation) -> list[AuditEntry]:
    """Who asked the present attempt to stop, the last one first; nobody if it was a key in its own terminal."""
    trail = AuditEntry.objects.filter(target=operation.pk, action__in=("start", "resume", "cancel", "force"))
    asked = takewhile(lambda entry: entry.action in ("cancel", "force"), trail.order_by("-pk"))
    return [_forced(entry) for entry in asked]


def _forced(entry: AuditEntry) -> AuditEntry:
    """Cancelled and forced in one go is forced."""
    if entry.details.get("force"):
        entry.action = "force"
    return entry


def text_of(operation: Operation) -> str:
    lines = [f"{operation.name}, {operation.pk}, attempt {operation.attempt}: {operation.status}"]
    if operation.status == Status.FAILED:
        lines += ["", operation.error, *(f"{word}: {text}" for word, text in operation.failure_lines.items())]
        lines += [_said(entry, "retry cancelled") for entry in _stops(operation)[:1]]
    elif operation.status in (Status.CANCELLED, Status.INTERRUPTED):
        lines += ["", *_of_stop(operation)]
    elif model := getattr(operation, "trained_model", None):
        lines += [f"model {model.name}"]
    return "\n".join(lines) + "\n"


def _of_stop(operation: Operation) -> list[str]:
    """Who or what ended it, what is kept, and what to do."""
    stops = _stops(operation) if operation.status == Status.CANCELLED else []
    said = [_said(entry, "stopped by force" if entry.action == "force" else "cancelled") for entry in stops]
    newest = operation.checkpoints.first()
    kept = kept_words(newest.epoch + 1 if newest else None)
    ended = [] if stops and operation.error.startswith("stopped") else [operation.error]
    return [*said, *filter(None, ended), f"kept: {kept}", "what to do: No action is needed. Resume it."]


def _said(entry: AuditEntry, what: str) -> str:
    reason = entry.details.get("reason", "")
    return f"{what} by {entry.username or 'the command line'}{f': {reason}' if reason else ''}"
