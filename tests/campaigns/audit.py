"""`python -m tests.campaigns.audit`: asks a database of known vulnerabilities about every package of constraints.txt. `make audit`.

Ends with 0 if it knows of none, with 1 and what there is if it knows of some, and with 3 if it could not be asked:
silence is no answer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.examples.homes import ROOT

CLEAN, FOUND, NOT_ASKED = 0, 1, 3
CONSTRAINTS = ROOT / "constraints.txt"
DATABASE = "https://api.osv.dev/v1/query"
SECONDS = 900


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.audit", description=__doc__)
    parser.add_argument("--database", default=DATABASE, help=f"address of an OSV database ({DATABASE})")
    parser.add_argument("--constraints", type=Path, default=CONSTRAINTS, help="the file that pins the packages")
    given = parser.parse_args()
    pinned = [line for line in given.constraints.read_text(encoding="utf-8").splitlines() if "==" in line]
    try:
        answered = asked(given.constraints, given.database)
    except NotAsked as problem:
        print(
            f"NOT AUDITED: the database of known vulnerabilities, {given.database}, could not be asked: {problem}",
            file=sys.stderr,
        )
        return NOT_ASKED
    told = {package["name"]: package for package in answered}
    skipped = sorted(name for name, package in told.items() if "vulns" not in package)
    if len(told) < len(pinned) or skipped:
        missing = ", ".join(skipped) or f"{len(pinned) - len(told)} of {len(pinned)} packages"
        print(f"NOT AUDITED: {given.database} was asked, and said nothing of {missing}", file=sys.stderr)
        return NOT_ASKED
    lines = [line for _, package in sorted(told.items()) for line in found_in(package)]
    known = "1 known vulnerability" if len(lines) == 1 else f"{len(lines) or 'no'} known vulnerabilities"
    print("\n".join([*lines, f"{len(told)} pinned packages, {known} ({given.database})"]))
    return FOUND if lines else CLEAN


class NotAsked(Exception):
    """No answer: one sentence."""


def asked(constraints: Path, database: str) -> list[dict[str, Any]]:
    """What the database knows of each pinned package. NotAsked if it did not answer for all of them."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(constraints), "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", "osv", "--osv-url", database, "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NotAsked(f"no answer within {SECONDS} s") from None
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise NotAsked(said[-1].strip() if said else f"pip-audit ended with {done.returncode}") from None


def found_in(package: dict[str, Any]) -> list[str]:
    return [
        f"{package['name']} {package['version']}: {flaw['id']}"
        + (f" ({', '.join(flaw['aliases'])})" if flaw["aliases"] else "")
        + f", fixed in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for flaw in package["vulns"]
    ]


if __name__ == "__main__":
    sys.exit(main())
