"""Mails: an operation that has ended → a mail to whom asked for it. A mail server that fails costs one sentence in the log."""

from __future__ import annotations

import logging
import smtplib
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.core.validators import validate_email

from training.models import Operation, Status
from training.values import Refusal

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
    """Tell whoever asked how it ended; nothing is told of a failure that is tried again by itself."""
    operation = Operation.objects.select_related("strategy_version__strategy").get(pk=operation_id)
    if not operation.notify or operation.retry_at is not None or operation.status not in (Status.COMPLETED, Status.FAILED):
        return
    try:
        send_mail(f"{operation.name}: {operation.status}", text_of(operation), None, [operation.notify])
    except (OSError, smtplib.SMTPException) as error:
        log.warning("%s could not be mailed to %s: %s", operation_id, operation.notify, error)


def text_of(operation: Operation) -> str:
    lines = [f"{operation.name}, {operation.pk}, attempt {operation.attempt}: {operation.status}"]
    if operation.status == Status.FAILED:
        lines += ["", operation.error, *(f"{word}: {text}" for word, text in operation.failure_lines.items())]
    elif model := getattr(operation, "trained_model", None):
        lines += [f"model {model.name}"]
    return "\n".join(lines) + "\n"
