"""A strategy all of whose kinds come from another package trains, resumes and predicts; without that package it is refused in words."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.examples.homes import ROOT, Home, operation_in
from tests.examples.outsiders import STRATEGY, other_version, with_packages, write_package
from tests.slow.test_kill_and_resume import wait_for_epoch

KINDS = {"indicator glide", "label breakout", "network gated"}


def written(home: Home, name: str) -> str:
    path = home.folder / f"{name}.yaml"
    path.write_text(STRATEGY.format(name=name))
    return str(path)


@pytest.fixture(scope="module")
def site(outsider_site: Path) -> dict[str, str]:
    """Settings with which a command of the home finds the package."""
    return {"PYTHONPATH": str(outsider_site)}


@pytest.fixture(scope="module")
def trained(home: Home, site: dict[str, str]) -> str:
    """The operation of an undisturbed run."""
    done = home.run("train", written(home, "plugged"), "--inline", **site)
    assert done.returncode == 0, done.stdout + done.stderr
    return operation_in(done.stdout)


@pytest.fixture(scope="module")
def killed(home: Home, site: dict[str, str]) -> str:
    """The operation of a run whose process was killed in the middle."""
    process = home.begin("train", written(home, "plugged-killed"), "--inline", CHECKPOINT_EPOCH_INTERVAL=2, **site)
    assert process.stdout is not None
    operation = next(operation_in(line) for line in process.stdout if "op_training_" in line)
    wait_for_epoch(home, operation, 1, 5, process)
    process.kill()
    process.communicate()
    return operation


def test_the_operation_and_the_bundle_say_which_packages_were_used(home: Home, trained: str) -> None:
    of = json.loads(home.value(trained, "plugins"))
    assert set(of) == KINDS
    assert {(used["package"], used["version"]) for used in of.values()} == {("outsider-kinds", "1.0")}
    (bundle,) = (home.folder / "bundles").glob(f"{trained}-*")
    assert json.loads((bundle / "bundle.json").read_text())["plugins"] == of


def test_another_version_or_none_of_the_package_refuses_to_resume_and_the_same_one_is_bit_for_bit(
    home: Home, trained: str, killed: str, site: dict[str, str], outsider_site: Path, tmp_path: Path
) -> None:
    newer = home.run("train", "--resume", killed, "--inline", PYTHONPATH=other_version(outsider_site, tmp_path / "newer", "1.1"))
    kinds = "the package outsider-kinds 1.0 (indicator glide, label breakout, network gated)"
    assert newer.returncode == 1
    assert f"{killed} was started with other code: {kinds} is outsider-kinds 1.1 now; install that version again" in newer.stderr
    absent = home.run("train", "--resume", killed, "--inline")
    assert absent.returncode == 1
    assert f"{killed} needs {kinds}, which is not installed: install version 1.0 from where it came" in absent.stderr
    for refused in (newer, absent):
        assert "Traceback" not in refused.stderr + refused.stdout
    resumed = home.run("train", "--resume", killed, "--inline", **site)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "continues bit for bit from epoch" in resumed.stdout
    assert home.weights(killed) == home.weights(trained)


def test_a_model_can_be_looked_at_without_the_package(home: Home, trained: str) -> None:
    with closing(sqlite3.connect(home.folder / "ktrdr.sqlite3")) as database:
        (name,) = database.execute("SELECT name FROM training_trainedmodel WHERE operation_id = ?", [trained]).fetchone()
    shown = home.run("models", "show", name)
    assert shown.returncode == 0, shown.stderr
    for told in ("Validation, ", "Provenance", "outsider-kinds 1.0, code ", "bars AAPL 1d"):
        assert told in shown.stdout, told
    assert "It cannot predict here: it needs the package outsider-kinds 1.0" in shown.stdout


def test_predicting_without_the_package_says_which_one_is_wanted(home: Home, trained: str) -> None:
    with closing(sqlite3.connect(home.folder / "ktrdr.sqlite3")) as database:
        (name,) = database.execute("SELECT name FROM training_trainedmodel WHERE operation_id = ?", [trained]).fetchone()
    done = home.run("predict", name, "AAPL", "1d")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "outsider-kinds 1.0 (indicator glide, label breakout, network gated), which is not installed" in done.stderr


#: Read in a process that has the package and a broken one: what the reader, the editor and the reference make of them.
LOOK = """
import json
from strategies_app.grammar.reader import StrategyError, read_strategy
from strategies_app.tools.reference import reference_markdown
from strategies_app.tools.reference import plugin_markdown
from strategies_app.grammar.schema import StrategySpec, feature_names
from strategies_app.tools.snippets import snippets
text = open({path!r}).read()
def problems(old, new):
    assert text.count(old) == 1
    try:
        read_strategy(text.replace(old, new))
    except StrategyError as error:
        return [p.message for p in error.problems]
spec = read_strategy(text)
assert StrategySpec.model_validate(spec.plain()) == spec
print(json.dumps(dict(
    features=feature_names(spec), classes=spec.class_names, problems=[problems(*change) for change in {changes!r}],
    snippets={{s.title: [s.hint, *s.lines] for s in snippets()}}, built_in=reference_markdown(), added=plugin_markdown(),
)))
"""
CHANGES = {
    ("glidingaverage, period", "glidingavrage, period"): "unknown indicator 'glidingavrage', did you mean 'glidingaverage'?",
    ("glidingaverage, period: 10", "glide, period: 900"): "seen 900, wanted at most 200",
    ("glidingaverage, period: 10", "glide, lenght: 10"): "unknown key 'lenght'",
    ("source: breakout", "source: brekout"): "unknown source 'brekout', did you mean 'breakout'?",
    ("source: breakout, horizon: 5", "source: breakout, horizont: 5"): "unknown key 'horizont', did you mean 'horizon'?",
    ("type: gated", "type: gatd"): "unknown type 'gatd', did you mean 'gated'?",
    ("width: 16", "width: 0"): "seen 0, wanted at least 1",
    ("width: 16", "gate: sigmiod"): "unknown value 'sigmiod', did you mean 'sigmoid'?",
    ("glidingaverage, period: 10", "broken"): "indicator 'broken' of the package breaking 0.3 (entry point ktrdr.indicators: broken) "
    "cannot be imported: ModuleNotFoundError: No module named 'not_there'",
    ("source: breakout, horizon: 5", "source: shaky"): "label 'shaky' of the package breaking 0.3 (entry point ktrdr.labels: shaky) "
    "cannot be imported: ModuleNotFoundError: No module named 'not_there'",
    ("type: gated", "type: mlp2"): "unknown type 'mlp2', did you mean 'mlp'?",
}  # fmt: skip


@pytest.fixture(scope="module")
def breaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("breaking")
    write_package(folder, "breaking", "[ktrdr.indicators]\nbroken = not_there:X\n[ktrdr.labels]\nshaky = not_there:Y\n")
    return folder


@pytest.fixture(scope="module")
def seen(outsider_site: Path, breaking: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    path = tmp_path_factory.mktemp("look") / "s.yaml"
    path.write_text(STRATEGY.format(name="look"))
    blocked = "import sys\nfor name in ('numpy', 'torch', 'pandas', 'talib', 'numba', 'django'): sys.modules[name] = None\n"
    code = blocked + LOOK.format(path=str(path), changes=list(CHANGES))
    environment = with_packages(outsider_site, breaking)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_reader_knows_them_without_what_computes(seen: dict[str, object]) -> None:
    assert seen["features"] == ["1d_place_below", "1d_place_near", "1d_place_above", "1d_glide_10.distance_raw"]
    assert seen["classes"] == ["UP", "NONE", "DOWN"]


@pytest.mark.parametrize("number", range(len(CHANGES)), ids=lambda n: list(CHANGES)[n][1])
def test_the_reader_says_what_is_wrong_with_them(seen: dict[str, object], number: int) -> None:
    problems = seen["problems"]
    assert isinstance(problems, list)
    assert any(list(CHANGES.values())[number] in message for message in problems[number]), problems[number]


def test_the_editor_offers_them_and_says_where_they_are_from(seen: dict[str, object]) -> None:
    offered = seen["snippets"]
    assert isinstance(offered, dict)
    assert offered["glide"][1] == "glide_10: {type: glide, period: 10}"
    assert offered["breakout"][1:] == ["labels:", "  source: breakout", "  window: 10", "  horizon: 5"]
    assert "    gate: sigmoid" in offered["gated"]
    for name in ("glide", "breakout", "gated"):
        assert offered[name][0].endswith("from the package outsider-kinds 1.0")
    assert "outsider" not in offered["rsi"][0] and not {"broken", "shaky"} & set(offered)


def test_the_reference_of_the_product_holds_built_in_kinds_only(seen: dict[str, object]) -> None:
    built_in, added = str(seen["built_in"]), str(seen["added"])
    assert built_in == (ROOT / "docs" / "strategy-reference.md").read_text(encoding="utf-8")
    for name, words in {"glide": "glidingaverage", "breakout": "UP, NONE, DOWN", "gated": "`sigmoid` · `tanh`"}.items():
        assert f"### {name} (outsider-kinds 1.0)" in added and words in added
    assert "cannot be used: indicator 'broken' of the package breaking 0.3" in added


def test_the_list_and_the_system_check_name_what_is_there_and_what_is_broken(
    home: Home, outsider_site: Path, breaking: Path
) -> None:
    both = f"{outsider_site}:{breaking}"
    listed = home.run("strategies", "vocabulary", PYTHONPATH=both)
    assert listed.returncode == 0, listed.stderr
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("gated ")]
    assert "width 12, dropout 0.1, gate sigmoid" in line and line.endswith("outsider-kinds 1.0")
    assert "cannot be used: label 'shaky' of the package breaking 0.3" in listed.stdout
    checked = home.run("check", PYTHONPATH=both)
    assert checked.returncode == 0 and "System check identified 2 issues" in checked.stderr
    assert "(strategies.W001) The indicator 'broken' of the package breaking 0.3" in checked.stderr
