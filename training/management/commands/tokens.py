"""`tokens create USER NAME | list | revoke PREFIX`: keys to the API."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

SCOPES = ("read", "train", "admin")


class Command(BaseCommand):
    help = "Makes, lists and revokes keys to the API."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=argparse.ArgumentParser)
        create = actions.add_parser("create", help="a new token; its secret is printed once")
        create.add_argument("user", metavar="USER")
        create.add_argument("name", metavar="NAME", help="what it is for")
        create.add_argument("--scope", choices=SCOPES, default="read", help="what it allows at most; read if not given")
        create.add_argument("--days", type=int, default=90, help="until it expires; 90 if not given, 0 for never")
        actions.add_parser("list", help="the tokens that are in use, newest first")
        revoke = actions.add_parser("revoke", help="make a token useless at once")
        revoke.add_argument("prefix", metavar="PREFIX", help="the token's beginning, as `tokens list` shows it")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        from training.management.refusals import refusals

        with refusals():
            getattr(self, f"_{action}")(options)

    def _create(self, options: dict[str, Any]) -> None:
        from datetime import timedelta

        from django.contrib.auth import get_user_model
        from django.utils import timezone

        from training.access import tokens
        from training.access.audit import Actor, audit

        user = get_user_model().objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"no user '{options['user']}'", returncode=2)
        if not 0 <= options["days"] <= 36500:
            raise CommandError("--days wants a number from 0 (never expires) to 36500", returncode=2)
        expires = timezone.now() + timedelta(days=options["days"]) if options["days"] else None
        row, secret = tokens.create(user, options["name"][:100], options["scope"], expires)
        audit(Actor(), "token", row.prefix, user=options["user"], scope=row.scope)
        self.stdout.write(secret)
        until = f"until {expires:%Y-%m-%d}" if expires else "without end"
        self.stderr.write(f"scope {row.scope}, {until}; it is shown this once")

    def _list(self, options: dict[str, Any]) -> None:
        from django.utils import timezone
        from rich.table import Table

        from training.management.terminal import Output
        from training.models import ApiToken

        rows = ApiToken.objects.filter(revoked=None).select_related("user")
        if not rows:
            self.stdout.write("No token is in use: `tokens create USER NAME` makes one.")
            return
        table = Table(
            "token", "user", "name", "scope", "expires (UTC)", "last used (UTC)", box=None, pad_edge=False, padding=(0, 2)
        )
        for row in rows:
            is_over = row.expires is not None and row.expires <= timezone.now()
            expires = "expired" if is_over else f"{row.expires:%Y-%m-%d %H:%M}" if row.expires else "never"
            used = f"{row.last_used:%Y-%m-%d %H:%M}" if row.last_used else "never"
            table.add_row(f"{row.prefix}…", row.user.get_username(), row.name, row.scope, expires, used)
        Output(file=self.stdout._out, highlight=False, soft_wrap=True, markup=False).print(table)

    def _revoke(self, options: dict[str, Any]) -> None:
        from training.access import tokens
        from training.access.audit import Actor, audit

        row = tokens.revoke(options["prefix"].rstrip("…"))
        audit(Actor(), "revoke token", row.prefix, user=row.user.get_username())
        self.stdout.write(f"{row.prefix}… ({row.name}, {row.user.get_username()}) is revoked")
