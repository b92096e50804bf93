"""A built wheel holds everything that the site needs, and works in a folder and an environment that know nothing of the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.examples.homes import ROOT

PACKAGES = ("ktrdr_site", "strategies_app", "training")

LOOK = """
from django.conf import settings
from django.contrib.staticfiles import finders
from django.template.loader import get_template
from django.test import Client

page = Client().get("/admin/login/", headers={"host": "localhost"})
assert page.status_code == 200 and b"training/admin." in page.content, page.content  # as our own base page has it
for path in settings.TEMPLATE_DIR.rglob("*.html"):
    get_template(str(path.relative_to(settings.TEMPLATE_DIR)))
for name in ("training/admin.css", "strategies_app/strategy_editor.js"):
    assert finders.find(name), name

from training.bars.series import load_samples
load_samples()
print(settings.HOME_DIR)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: what an earlier build left beside the sources must not help."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*PACKAGES, "templates"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_a_wheel_holds_every_file_of_the_packages_and_every_template(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    files = [p.relative_to(ROOT) for name in (*PACKAGES, "templates") for p in (ROOT / name).rglob("*") if p.is_file()]
    wanted = {str(p) for p in files if "__pycache__" not in p.parts}
    packed = {f"ktrdr_site/{name}" if name.startswith("templates/") else name for name in wanted}
    assert any(name.startswith("ktrdr_site/templates/admin/") for name in packed)
    assert packed - held == set()


def test_an_installed_wheel_works_in_a_foreign_folder(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, which sees the packages that the project needs but not the repository."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True, timeout=60)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("*/site-packages")
    (site / "needed.pth").write_text(sysconfig.get_path("purelib"))  # a .pth in there, such as an editable one, is not read
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    known = {name: os.environ[name] for name in ("PATH", "NUMBA_CACHE_DIR")}

    def ktrdr(*arguments: str) -> str:
        command = [str(tmp_path / "venv" / "bin" / "ktrdr"), *arguments]
        environment = known | {"HOME": str(tmp_path)}
        done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    ktrdr("migrate", "--verbosity", "0")
    ktrdr("collectstatic", "--no-input", "--verbosity", "0")
    # Without KTRDR_HOME an installation writes below its user's own folder, never among the packages.
    assert ktrdr("shell", "--no-imports", "-c", LOOK).splitlines()[-1] == str(tmp_path / ".ktrdr")
    samples = sorted(str(p) for p in (site / "strategies_app" / "samples").glob("*.yaml"))
    assert "minimal" in ktrdr("strategies", "import", *samples) + ktrdr("strategies", "list")
    assert list(elsewhere.iterdir()) == []
