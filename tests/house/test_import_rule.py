"""Who may import whom: every import of every module is walked, lazy ones too, and a process runs with the heavy names blocked."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.examples.homes import ROOT

MOST_IN_A_FOLDER = 20
WEB = ("django", "rq", "django_rq", "redis", "channels", "ninja")
HEAVY = ("torch", "pandas", "talib", "numba")
SOURCES = ("training.sources", "training.bars.fetching", "yfinance", "ccxt")


@dataclass(frozen=True)
class Room:
    """A folder, or a module beside the folders. It imports from rooms of a lower rank and from itself, and never these names;
    with `lazy` it may import them inside functions."""

    rank: int
    never: tuple[str, ...] = ()
    lazy: tuple[str, ...] = ()


PURE = (*WEB, "training.models", "strategies_app.models")
LIGHT = ("training.workers", "training.bars", *HEAVY)
HEAVY_PLACES = (*HEAVY, "numpy", "training.recipe", "training.pipeline", "training.trainer", "training.readers")
#: Every module of the three packages lies in one of these.
ROOMS = {
    "strategies_app.kinds": Room(0, (*WEB, *HEAVY, "numpy", "pyarrow", "pydantic")),
    "strategies_app.grammar": Room(1, (*WEB, *HEAVY, "numpy", "pyarrow", "training")),
    "strategies_app.tools": Room(2, (*WEB, *HEAVY, "numpy", "pyarrow", "training")),
    "training.core": Room(2, (*PURE, *HEAVY, "pyarrow")),
    "training.store": Room(3, (*PURE, *HEAVY)),
    "training.pipeline": Room(4, (*PURE, *SOURCES, "torch", "training.trainer")),
    "training.trainer": Room(4, (*PURE, *SOURCES, "pandas", "talib", "pyarrow", "training.pipeline")),
    "training.results": Room(4, (*PURE, *HEAVY)),
    "training.readers": Room(5, (*PURE, *SOURCES, "torch", "training.trainer")),
    "training.sources": Room(5, (*PURE, "torch", "training.trainer")),
    "training.recipe": Room(5, (*PURE, *SOURCES)),
    "strategies_app": Room(5, ("training", *HEAVY)),
    "training.models": Room(6, HEAVY),
    "training.laws": Room(6, PURE),
    "training.templatetags": Room(6, HEAVY),
    "training.sample_bars": Room(6),
    "training.testing": Room(7, PURE),
    "training.access": Room(7, LIGHT),
    "training.jobs": Room(8, (*LIGHT, "training.trainer")),
    "training.bars": Room(9, ("torch", "training.trainer")),
    "training.workers": Room(10, lazy=HEAVY_PLACES),
    "training.web": Room(10, LIGHT),
    "training.api": Room(10, LIGHT),
    "training.admin": Room(11, LIGHT),
    "training.management": Room(11, lazy=HEAVY_PLACES),
    "strategies_app.management": Room(11, ("training", *HEAVY)),
    "training.apps": Room(12, LIGHT),
    "strategies_app.apps": Room(12, ("training", *HEAVY)),
    "ktrdr_site": Room(12, lazy=HEAVY_PLACES),
}
#: What runs a training downloads nothing.
TRAINS = (
    "training.workers.attempt",
    "training.workers.worker",
    "training.workers.plan",
    "training.management.runs",
    "training.jobs.requests",
)
#: Imports that break the rule. The list may only become shorter.
STRAYS: frozenset[tuple[str, str]] = frozenset()


def room_of(name: str) -> str | None:
    """The room that a dotted name lies in: the longest one that it begins with."""
    parts = name.split(".")
    return next((room for n in range(len(parts), 0, -1) if (room := ".".join(parts[:n])) in ROOMS), None)


def every_module() -> dict[str, Path]:
    """Dotted name → file, of all modules but migrations and empty packages."""
    found = modules(["strategies_app", "training", "ktrdr_site"])
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in found}
    return {name: path for name, path in names.items() if path.read_text().strip()}


def modules(places: list[str]) -> list[Path]:
    """The Python files of these places; a layer that does not exist yet has none."""
    found: list[Path] = []
    for place in places:
        path = ROOT / place
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.exists() else []
    return [path for path in found if "migrations" not in path.parts]


def imports(path: Path, *, at_start_only: bool = False) -> set[str]:
    """Dotted names that the module imports: `from a.b import c` gives `a.b` and `a.b.c`."""
    names: set[str] = set()
    for node in _statements(ast.parse(path.read_text(encoding="utf-8")), at_start_only):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
            "__import__",
            "import_module",
        ):
            names |= {str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return names


def _statements(node: ast.AST, at_start_only: bool) -> list[ast.AST]:
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        is_type_checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if at_start_only and (isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or is_type_checking):
            continue
        found += [child, *_statements(child, at_start_only)]
    return found


def _is(name: str, forbidden: tuple[str, ...]) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in forbidden)


def breaches(name: str, path: Path, known: Container[str]) -> set[tuple[str, str]]:
    """What the module imports and its room forbids."""
    room = room_of(name)
    assert room is not None, f"{name} lies in no room"
    rule, always, found = ROOMS[room], imports(path, at_start_only=True), set()
    for target in imports(path):
        other = room_of(target)
        if other != room and (_is(target, rule.never) or (target in always and _is(target, rule.lazy))):
            found.add((name, target))
        if other != room and target in known and (other is None or ROOMS[other].rank >= rule.rank):
            found.add((name, target))
    return found


def test_a_module_imports_from_below_or_its_own_room_and_never_what_its_room_forbids() -> None:
    known = every_module()
    found = {breach for name, path in known.items() for breach in breaches(name, path, known)}
    assert sorted(found - STRAYS) == []
    assert sorted(STRAYS - found) == [], "mended: to be taken off the list"


def test_every_module_lies_in_a_room_and_every_room_has_a_module() -> None:
    assert {room_of(name) for name in every_module()} == set(ROOMS)


@pytest.mark.parametrize("name", TRAINS)
def test_what_trains_downloads_nothing(name: str) -> None:
    assert [found for found in imports(every_module()[name]) if _is(found, SOURCES)] == []


def test_a_folder_can_be_looked_through() -> None:
    """At most so many modules side by side."""
    folders = {path.parent for path in every_module().values()}
    crowded = {
        str(folder.relative_to(ROOT)): count
        for folder in folders
        if (count := len(list(folder.glob("[!_]*.py")))) > MOST_IN_A_FOLDER
    }
    assert crowded == {}


def test_the_picture_of_the_house_is_the_one_that_its_imports_give() -> None:
    from tests.house import picture

    assert picture.PAGE.read_text(encoding="utf-8") == picture.page_with(picture.picture()), "python -m tests.house.picture"


def test_packages_have_empty_init_files() -> None:
    packages = [path for top in ("ktrdr_site", "strategies_app", "training") for path in (ROOT / top).rglob("__init__.py")]
    filled = [str(path.relative_to(ROOT)) for path in packages if path.read_text().strip()]
    assert filled == ["training/admin/__init__.py"], "which imports its pages for Django"


def test_the_walker_sees_lazy_imports() -> None:
    assert "ktrdr_site.cli" in imports(ROOT / "manage.py")
    assert "strategies_app.grammar.reader" in imports(ROOT / "strategies_app" / "models.py")
    assert "strategies_app.grammar.reader" not in imports(ROOT / "strategies_app" / "models.py", at_start_only=True)


BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
"""


def blocked(names: tuple[str, ...], code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """`code` in a fresh process in which `names` cannot be imported."""
    variables = os.environ | {"KTRDR_HOME": str(tmp_path)}
    script = BLOCK.format(names=set(names)) + code
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)


def commands() -> list[str]:
    folders = (ROOT / app / "management" / "commands" for app in ("strategies_app", "training"))
    return sorted(path.stem for folder in folders for path in folder.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("command", commands())
def test_the_help_of_every_command_starts_without_heavy_names(command: str, tmp_path: Path) -> None:
    code = f"import sys\nsys.argv = ['manage.py', {command!r}, '--help']\nfrom ktrdr_site.cli import main\nmain()"
    finished = blocked((*HEAVY, "numpy", "pyarrow"), code, tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "usage:" in finished.stdout


def test_validating_a_strategy_works_without_heavy_names(tmp_path: Path) -> None:
    sample = ROOT / "strategies_app" / "samples" / "minimal.yaml"
    code = f"import sys\nsys.argv = ['manage.py', 'strategies', 'validate', {str(sample)!r}]\nfrom ktrdr_site.cli import main\nmain()"
    finished = blocked((*HEAVY, "numpy", "pyarrow"), code, tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "valid, 3 features" in finished.stdout


def test_a_strategy_is_read_without_django(tmp_path: Path) -> None:
    code = "from strategies_app.grammar.reader import read_strategy_file as read\nprint(read('strategies_app/samples/minimal.yaml')[1].name)"
    finished = blocked((*WEB, *HEAVY, "numpy"), code, tmp_path)
    assert finished.stdout == "minimal\n", finished.stderr


@pytest.mark.parametrize(("module", "names"), [("training.recipe", WEB), ("training.trainer.loop", (*WEB, "pandas", "talib"))])
def test_the_numeric_core_loads_without_django(module: str, names: tuple[str, ...], tmp_path: Path) -> None:
    finished = blocked(names, f"import {module}", tmp_path)
    assert finished.returncode == 0, finished.stderr
