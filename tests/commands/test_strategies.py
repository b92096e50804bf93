"""`manage.py strategies`: what a trader types, what is printed, and the exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from strategies_app.models import Strategy
from strategies_app.stored import UnknownStrategy, find_strategy
from tests.examples.homes import ROOT
from tests.examples.strategy_texts import RIGHT, SAMPLES, changed


def strategies(*arguments: object) -> str:
    """What `strategies …` prints."""
    output = StringIO()
    call_command("strategies", *(str(argument) for argument in arguments), stdout=output)
    return output.getvalue()


def failure(*arguments: object) -> tuple[str, int, str]:
    """What `strategies …` prints before it ends with an error, its exit code and the error."""
    output = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("strategies", *(str(argument) for argument in arguments), stdout=output)
    return output.getvalue(), caught.value.returncode, str(caught.value)


@pytest.fixture
def right(tmp_path: Path) -> Path:
    path = tmp_path / "right.yaml"
    path.write_text(RIGHT)
    return path


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.yaml"
    path.write_text(changed("epochs: 3", "epochs: 0", changed("period: 14", "perod: 14")))
    return path


def test_validate_says_what_is_right(right: Path) -> None:
    assert strategies("validate", right) == f"{right}: valid, 5 features, labels zigzag\n"


def test_validate_prints_every_problem_of_every_file_and_exits_2(right: Path, wrong: Path) -> None:
    output, code, message = failure("validate", wrong, right)
    assert output.splitlines() == [
        f"{wrong}:6:23: indicators.rsi_14.perod: unknown key 'perod', did you mean 'period'?",
        f"{wrong}:22:11: training.epochs: seen 0, wanted at least 1",
        f"{right}: valid, 5 features, labels zigzag",
    ]
    assert (code, message) == (2, f"1 of 2 not valid: {wrong}")


def test_validate_prints_warnings(right: Path) -> None:
    right.write_text(changed("macd_1: {type: macd}", "macd_1: {type: macd}\n  spare: {type: rsi}"))
    assert f"{right}: warning: indicators.spare: no nn_input uses it" in strategies("validate", right)


@pytest.mark.django_db
def test_a_stored_strategy_is_validated_shown_and_listed_by_name(right: Path) -> None:
    assert strategies("list") == "No strategy is stored yet: `strategies import PATH` stores one.\n"
    assert strategies("import", right) == f"{right}: right version 1\n"
    right.write_text(changed("epochs: 3", "epochs: 4"))
    assert strategies("import", right) == f"{right}: right version 2\n"
    assert strategies("import", right) == f"{right}: right version 2\n"
    assert strategies("validate", "right") == "right@2: valid, 5 features, labels zigzag\n"
    assert strategies("show", "right") == right.read_text()
    assert strategies("show", "right", "--version", 1) == RIGHT
    head, line = strategies("list").splitlines()
    assert head.split() == ["name", "versions", "newest", "(UTC)", "from"]
    assert line.split()[:2] == ["right", "2"]
    assert line.endswith(str(right))


@pytest.mark.django_db
def test_features_are_listed_in_the_order_of_the_network(right: Path) -> None:
    lines = strategies("features", right).splitlines()
    assert lines[0] == "right: 5 features, in the order in which the network takes them"
    assert [line.split() for line in lines[1:]] == [
        ["0", "1d_rsi_zone_low"], ["1", "1d_rsi_zone_high"], ["2", "1w_rsi_zone_low"], ["3", "1w_rsi_zone_high"],
        ["4", "1d_macd_1.signal_raw"],
    ]  # fmt: skip


@pytest.mark.django_db
def test_a_wrong_file_is_not_imported_while_the_right_one_is(right: Path, wrong: Path) -> None:
    output, code, message = failure("import", wrong, right)
    assert f"{wrong}:6:23: indicators.rsi_14.perod:" in output
    assert f"{right}: right version 1" in output
    assert (code, message) == (2, f"1 of 2 not imported: {wrong}")


@pytest.mark.django_db
def test_an_unknown_name_gives_the_nearest_stored_one() -> None:
    Strategy.objects.import_text(RIGHT)
    assert failure("show", "rihgt")[1:] == (2, "no strategy 'rihgt' is stored, did you mean 'right'?")
    assert failure("show", "right", "--version", 7)[1:] == (2, "strategy 'right' has no version 7, stored: 1")
    assert "`strategies import PATH` stores a file" in failure("show", "something-else")[2]


@pytest.mark.django_db
def test_a_missing_file_and_a_wrong_one_are_named(tmp_path: Path, wrong: Path) -> None:
    missing = tmp_path / "missing.yaml"
    assert failure("validate", missing)[0] == f"{missing}: {missing} does not exist\n"
    assert failure("features", missing)[1:] == (2, f"{missing} does not exist")
    assert failure("features", wrong)[1:] == (2, f"{wrong} is not valid")


@pytest.mark.django_db
def test_a_name_finds_the_stored_text_and_a_path_the_file(right: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = Strategy.objects.import_text(changed("epochs: 3", "epochs: 9"), "/from/here.yaml")
    stored = find_strategy("right")
    assert (stored.text, stored.path, stored.version) == (version.text, "/from/here.yaml", version)
    file = find_strategy(str(right))
    assert (file.text, file.path, file.version) == (RIGHT, str(right), None)
    monkeypatch.chdir(right.parent)
    right.rename(right.with_name("no_ending"))
    assert find_strategy("no_ending").text == RIGHT
    with pytest.raises(UnknownStrategy):
        find_strategy("no_ending", 1)


@pytest.mark.django_db
def test_the_demo_stores_every_sample_once() -> None:
    from training.management.commands.demo import SAMPLE, import_samples

    assert import_samples() == import_samples() == len(SAMPLES)
    assert {strategy.versions.count() for strategy in Strategy.objects.all()} == {1}
    assert Strategy.objects.filter(name=SAMPLE).exists(), "the one that demo trains"


def command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {"KTRDR_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60
    )


def test_files_are_validated_without_a_database(tmp_path: Path, wrong: Path) -> None:
    finished = command(tmp_path / "home", "strategies", "validate", *map(str, SAMPLES))
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.count(": valid, ") == len(SAMPLES)
    assert not (tmp_path / "home" / "ktrdr.sqlite3").exists()
    assert command(tmp_path / "home", "strategies", "validate", str(wrong)).returncode == 2


def test_a_name_before_the_database_is_set_up_says_how_to_set_it_up(tmp_path: Path) -> None:
    for arguments in (["list"], ["show", "right"], ["import", str(SAMPLES[0])]):
        finished = command(tmp_path, "strategies", *arguments)
        assert finished.returncode != 0
        assert "python manage.py migrate" in finished.stderr
        assert "Traceback" not in finished.stderr


def test_a_wrong_use_exits_2() -> None:
    assert command(ROOT / "var", "strategies", "bogus").returncode == 2


#: Each of them alone takes longer to import than all that a check of a text needs.
SLOW_TO_IMPORT = {
    "ccxt",
    "exchange_calendars",
    "numba",
    "numpy",
    "pandas",
    "plotly",
    "pyarrow",
    "scipy",
    "talib",
    "torch",
    "yfinance",
}


def test_validating_imports_nothing_slow(tmp_path: Path) -> None:
    script = "import sys; from ktrdr_site.cli import main; main(); print(*sys.modules, file=sys.stderr)"
    environment = {**os.environ, "KTRDR_HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", script, "strategies", "validate", str(SAMPLES[0])],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = {name.partition(".")[0] for name in ended.stderr.split()}
    assert "strategies_app" in imported, "the check was not made in this process"
    assert not imported & SLOW_TO_IMPORT
