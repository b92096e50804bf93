"""The law kit, used as an outsider uses it: the honest kinds of a package pass, each planted fault is found and named."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.outsiders import OUTSIDER, with_packages
from training.testing import indicator_laws, label_laws, network_laws

#: Laws over whole runs take seconds; of the faulty kinds only the laws that they are planted against are tried.
CHOSEN = "honest or (planted and (causality or isolation or end))"


@pytest.fixture(scope="module")
def told(outsider_site: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says, run in a folder that knows nothing of this repository but where it is."""
    folder = shutil.copytree(OUTSIDER / "tests", tmp_path_factory.mktemp("elsewhere") / "tests")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rA",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:schemathesis",
        "-k",
        CHOSEN,
    ]
    done = subprocess.run(command, cwd=folder, env=with_packages(outsider_site), capture_output=True, text=True, timeout=390)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def outcomes(told: str, outcome: str) -> set[str]:
    return set(re.findall(rf"^{outcome} test_laws\.py::test_\w+\[(.*?)\]", told, re.MULTILINE))


def test_the_honest_kinds_pass_every_law(told: str) -> None:
    laws = {
        "glide": "light answers|warm-up|causality|isolation|constant price|memory|unit|one NaN bar|resume|serve = train",
        "breakout": "light answers|label end|needed end|isolation|resume",
        "gated": "light answers|seed|isolation|learns|resume|serve = train",
    }
    wanted = {f"{kind}-{law}" for kind, names in laws.items() for law in names.replace("light ", "light|").split("|")}
    assert wanted - outcomes(told, "PASSED") == set()
    assert {name for name in outcomes(told, "FAILED") if name.startswith(tuple(laws))} == set()


@pytest.mark.parametrize(
    ("failed", "seen", "means"),
    [
        (
            "peeking-causality",
            r"value of bar \d+ was [\d.]+ and is [\d.]+ when the bars after it were other ones \(with period 10\)",
            "it looks into the future",
        ),
        (
            "remembering-isolation",
            r"value of bar 0 was [\d.]+ and is [\d.]+ for the same bars computed a second time",
            "it keeps something between calls",
        ),
        (
            "hasty-label end",
            r"the label of bar \d+ says that it is known with bar \d+, but it is (UP|DOWN), and (UP|DOWN) when only the bars after",
            "rows before a cut would be trained on bars that judge behind it",
        ),
    ],
    ids=["a look-ahead", "a state between symbols", "a wrong label end"],
)
def test_each_planted_fault_fails_for_its_own_reason(told: str, failed: str, seen: str, means: str) -> None:
    assert failed in outcomes(told, "FAILED")
    kind, law = failed.split("-", 1)
    (said,) = {line for line in told.splitlines() if line.startswith("E ") and f"{kind}, law '{law}'" in line}
    assert re.search(seen, said) and means in said, said


def test_a_fault_breaks_no_law_that_it_keeps(told: str) -> None:
    broken = {"peeking-causality", "remembering-causality", "remembering-isolation", "hasty-label end"}
    assert outcomes(told, "FAILED") == broken


@pytest.mark.parametrize("name", ["rsi", "macd", "obv", "squeezeintensity"])
def test_built_in_indicators_keep_the_same_laws(name: str) -> None:
    for law in indicator_laws(name):
        if law.name not in ("resume", "serve = train"):
            law()


@pytest.mark.parametrize("name", ["zigzag", "triple_barrier", "context", "regime", "forward_return"])
def test_built_in_labels_keep_the_same_laws(name: str) -> None:
    for law in label_laws(name):
        if law.name != "resume":
            law()


@pytest.mark.parametrize("law", [law for law in network_laws("mlp") if law.name != "serve = train"], ids=str)
def test_built_in_networks_keep_the_same_laws(law: object) -> None:
    assert callable(law)
    law()


@pytest.mark.parametrize("laws", [indicator_laws, label_laws, network_laws])
def test_a_kind_that_is_not_installed_is_one_broken_law(laws: object) -> None:
    assert callable(laws)
    (law,) = laws("nowhere")
    with pytest.raises(
        AssertionError, match=r"no installed package has an entry point 'nowhere' in the group ktrdr\.\w+: pip install -e"
    ):
        law()
