"""What a test run is told reaches the tests that read it: what is asked for by `make` is not skipped all the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.examples.homes import ROOT

#: Setting → the arguments of pytest, of each line of the Makefile that asks for tests by a setting.
ASKED = re.findall(r"^\t@(KTRDR_TEST_\w+)=1 .*-m pytest (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)


def skipped(arguments: str, **settings: str) -> int:
    command = [sys.executable, "-m", "pytest", "--setup-plan", *arguments.split()]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return sum(int(count) for count in re.findall(r"^SKIPPED \[(\d+)\]", done.stdout, re.MULTILINE))


@pytest.mark.parametrize(("setting", "arguments"), ASKED, ids=[setting for setting, _ in ASKED])
def test_who_asks_for_tests_gets_them(setting: str, arguments: str) -> None:
    assert skipped(arguments) > 0, "asked for by nobody, they wait"
    assert skipped(arguments, **{setting: "1"}) == 0


def test_the_makefile_asks() -> None:
    assert [setting for setting, _ in ASKED] == ["KTRDR_TEST_HOSTS"]
