"""`home [--adopt FOLDER]`: where bars, models and checkpoints lie, and whether those are the folders that the database knows."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Shows the folders of this installation, and whether each is the one that the database knows."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--adopt", metavar="FOLDER", help="the folder as it is now is the one from now on, where the former was given up"
        )

    def handle(self, *args: Any, adopt: str | None, **options: Any) -> None:
        from strategies_app.grammar.vocabulary import nearest
        from training.jobs import homes
        from training.management.refusals import refusals

        with refusals():
            if adopt is None:
                return self._show()
            if adopt not in homes.FOLDERS:
                near = nearest(adopt, set(homes.FOLDERS))
                hint = f"did you mean {near}?" if near else f"wanted one of {', '.join(homes.FOLDERS)}"
                raise CommandError(f"no folder '{adopt}', {hint}", returncode=2)
            self.stdout.write(homes.adopt(adopt))
        return None

    def _show(self) -> None:
        from training.jobs import homes

        states = homes.states()
        for name, said in states.items():
            self.stdout.write(f"{name:12} {homes.path_of(name)}  {self.style.SUCCESS('ok') if said == 'ok' else ''}".rstrip())
        away = [said for said in states.values() if said != "ok"]
        if away:
            raise CommandError("\n".join(away))
