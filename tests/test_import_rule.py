"""Who may import whom: every import of every module is walked, lazy ones too, and a process runs with the heavy names blocked."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
SCHEMA = [
    f"strategies_app/{name}.py"
    for name in (
        *("schema", "schema_types", "schema_data", "schema_inputs", "schema_labels", "vocabulary", "kinds", "catalogue", "plugins", "plugin_checks", "reader", "yaml_text", "wording"),
        *("references", "overrides", "meanings", "snippets", "reference", "reference_keys", "reference_tables"),
        *("reference_words", "yaml_comments", "yaml_writer", "older_words", "upgrade", "upgrade_keys", "upgrade_sections"),
        *("comparison", "json_schema", "symbol_lists"),
    )
]  # fmt: skip
RECIPE = [f"training/{name}.py" for name in ("recipe", "prepared", "split_ledger", "predicted")]
WEB = ("django", "rq", "django_rq", "redis", "channels", "ninja")
JOBS = ["models", "operations", "checkpoints", "progress", "recording"]
PAGES = ["api", "api_bodies", "api_errors", "api_library", "api_pages", "api_shapes", "api_shapes_checks", "api_shapes_library",
         "api_shapes_operations", "api_shapes_trainings", "authentication", "estimates", "questions", "sign_ins",
         "standing", "waiting", "tokens", "views", "websockets", "plain_requests", "modes", "admin", "urls", "apps",
         "admin_access", "admin_kept", "admin_operations", "admin_operations_list", "admin_operations_values",
         "admin_operations_verbs", "admin_parts", "admin_site", "admin_verbs", "admin_workers",
         "bundles", "deletions", "logs", "audience", "broadcast", "verdict", "kept", "comparing", "pairs", "database_words", "annotations", "uploads", "downloads", "measure_words", "signals",
         "fetches", "fetch_state", "metrics", "figures_use", "analytics", "analytics_files", "analytics_keeping"]  # fmt: skip
HEAVY = ("torch", "pandas", "talib", "numba")
TRAINING = ["training/pipeline", "training/trainer", *RECIPE, "training/core/values.py", "training/workers/attempt.py", "training/workers/worker.py",
            "training/management/runs.py", "training/jobs/requests.py", "training/jobs/lifecycle.py", "training/workers/plan.py", "training/jobs/progress.py"]  # fmt: skip

# What stands in the tree, as files or folders; what it must never import, anywhere in its text.
NEVER = {
    "the schema layer": (SCHEMA, (*WEB, *HEAVY, "numpy", "pyarrow", "training", "ktrdr_site", "strategies_app.models")),
    "the pipeline": (["training/pipeline"], (*WEB, "torch", "training.trainer", "training.models", "strategies_app.models")),
    "the sources": (["training/sources"], (*WEB, "torch", "training.trainer", "training.models", "strategies_app.models")),
    "the modes of files": (["training/core/modes.py"], (*WEB, *HEAVY, "numpy", "pyarrow", "pydantic", "strategies_app", "training")),
    "the values": (["training/core/values.py"], (*WEB, *HEAVY, "pyarrow", "pydantic", "strategies_app", "training")),
    "the trainer": (["training/trainer"], (*WEB, "pandas", "talib", "pyarrow", "training.pipeline", "training.models", "strategies_app.models")),
    "what other packages compute": (["training/core/plugin_code.py"], (*WEB, *HEAVY, "training.pipeline", "training.trainer", "training.models")),
    "the law kit": (["training/testing.py", "training/laws"], (*WEB, "training.models", "training.jobs.lifecycle", "strategies_app.models")),
    "the recipe": (RECIPE, (*WEB, "training.models", "training.jobs.lifecycle", "strategies_app.models")),
    "the job layer": ([f"training/{name}.py" for name in JOBS], ("torch", "pandas", "talib", "training.trainer")),
    "the queues": (["training/jobs/queues.py"], ("training.workers.attempt", "training.trainer", *HEAVY)),
    "the pages": ([*(f"training/{name}.py" for name in PAGES), "training/pages"], (*HEAVY, "training.workers.attempt")),
    "the figures": (
        [f"training/{name}.py" for name in ("figures", "figures_compare", "figures_preview", "figures_bars", "figures_returns", "figures_use", "figures_analytics")], ("django", *HEAVY)),
    "what trains, which downloads nothing": (TRAINING, ("training.sources", "training.bars.fetching", "training.jobs.fetches", "yfinance", "ccxt")),
    "the upstream app": (["strategies_app"], ("training", *HEAVY)),
}  # fmt: skip

#: Where heavy names may be imported inside functions, but never when the module is.
LAZY = [
    "training/workers/attempt.py", "training/workers/continuing.py", "training/workers/endings.py",
    "training/workers/worker.py", "training/workers/devices.py", "training/workers/supervisor.py", "training/workers/caretaker.py",
    "training/workers/up.py", "training/workers/roll_call.py", "training/core/processes.py", "training/workers/quick.py", "training/workers/plan.py", "training/workers/importance.py",
    "training/workers/preview.py", "training/bars/upload_jobs.py", "training/bars/fetch_job.py", "training/workers/machine_use.py", "training/management",
    "strategies_app/management", "ktrdr_site",
]  # fmt: skip


def modules(places: list[str]) -> list[Path]:
    """The Python files of these places; a layer that does not exist yet has none."""
    found: list[Path] = []
    for place in places:
        path = PROJECT / place
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


def breaches(path: Path, never: tuple[str, ...], *, at_start_only: bool = False) -> list[str]:
    own = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
    return [
        f"{path.relative_to(PROJECT)} imports {name}"
        for name in sorted(imports(path, at_start_only=at_start_only))
        for forbidden in never
        if (name == forbidden or name.startswith(f"{forbidden}.")) and name != own
    ]


@pytest.mark.parametrize("layer", NEVER)
def test_a_layer_never_imports_what_lies_above_or_beside_it(layer: str) -> None:
    places, never = NEVER[layer]
    assert [breach for path in modules(places) for breach in breaches(path, never)] == []


def test_commands_and_workers_import_heavy_names_only_inside_functions() -> None:
    never = (*HEAVY, "numpy", *(f"training.{Path(path).stem}" for path in RECIPE), "training.pipeline", "training.trainer")
    assert [breach for path in modules(LAZY) for breach in breaches(path, never, at_start_only=True)] == []


def test_packages_have_empty_init_files() -> None:
    packages = [path for top in ("ktrdr_site", "strategies_app", "training") for path in (PROJECT / top).rglob("__init__.py")]
    assert [str(path) for path in packages if path.read_text().strip()] == []


def test_the_walker_sees_lazy_imports() -> None:
    assert "ktrdr_site.cli" in imports(PROJECT / "manage.py")
    assert "strategies_app.grammar.reader" in imports(PROJECT / "strategies_app" / "models.py")
    assert "strategies_app.grammar.reader" not in imports(PROJECT / "strategies_app" / "models.py", at_start_only=True)


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
    return subprocess.run([sys.executable, "-c", script], cwd=PROJECT, env=variables, capture_output=True, text=True, timeout=60)


def commands() -> list[str]:
    folders = (PROJECT / app / "management" / "commands" for app in ("strategies_app", "training"))
    return sorted(path.stem for folder in folders for path in folder.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("command", commands())
def test_the_help_of_every_command_starts_without_heavy_names(command: str, tmp_path: Path) -> None:
    code = f"import sys\nsys.argv = ['manage.py', {command!r}, '--help']\nfrom ktrdr_site.cli import main\nmain()"
    finished = blocked((*HEAVY, "numpy", "pyarrow"), code, tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "usage:" in finished.stdout


def test_validating_a_strategy_works_without_heavy_names(tmp_path: Path) -> None:
    sample = PROJECT / "strategies_app" / "samples" / "minimal.yaml"
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
    if not (PROJECT / (module.replace(".", "/") + ".py")).exists():
        pytest.skip("not there yet")
    finished = blocked(names, f"import {module}", tmp_path)
    assert finished.returncode == 0, finished.stderr
