"""Nobody but the owner of a home can look into it: whatever is written is closed, and what an older version left open is closed at start."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktrdr_site import settings
from tests.examples.homes import Home, made_home, operation_in, until
from tests.examples.ups import Up
from training.core import modes

LOOSE = 0o022
OPEN_MODES = {True: 0o755, False: 0o644}


@pytest.fixture(scope="module", autouse=True)
def _usual_umask() -> Iterator[None]:
    """That of most machines: what is written is for all to read. The tests' own processes have been given a closed one."""
    before = os.umask(LOOSE)
    yield
    os.umask(before)


def for_others(folder: Path, bits: int = 0o077) -> dict[str, str]:
    """Path → mode of all in a folder, and of the folder, that gives group or others one of these bits."""
    paths = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    return {str(path): f"{path.stat().st_mode:o}" for path in paths if path.stat().st_mode & bits}


def opened(folder: Path) -> Home:
    """A home as versions before made it: everything can be read by everybody."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(OPEN_MODES[path.is_dir()])
    return Home(folder)


@pytest.fixture(scope="module")
def home(_usual_umask: None) -> Iterator[Home]:
    # Made by commands, no copy; short, as a socket lies in it.
    with tempfile.TemporaryDirectory(prefix="ktrdr-", dir="/tmp") as folder:
        yield made_home(Path(folder) / "home", KTRDR_RETRIES=3)


@pytest.mark.slow
def test_nothing_of_a_home_can_be_looked_into_by_others_while_it_is_at_work_and_afterwards(home: Home) -> None:
    strategies = home.folder.parent
    path = Home(strategies).strategy("closed")
    (home.folder / "bars" / "AAPL_1d.parquet").chmod(0o644)  # as a copy may leave it, inside a closed folder
    up = Up(home)
    try:
        closed_while_at_work(home, up, path)
    finally:
        up.stop()
    assert home.run("predict", "closed-1", "AAPL", "1d", "--start", "2010-12-01", "--end", "2010-12-31").returncode == 0
    assert home.run("train", path, "--inline").returncode == 0
    assert for_others(home.folder) == {}
    there = {name.name for name in home.folder.iterdir()}
    assert {"bars", "bundles", "logs", "cache", "analytics", "redis", "static", "secret_key", "ktrdr.sqlite3", "up.lock"} <= there
    unknown = there - modes.KNOWN
    assert unknown == set(), "names that a check at start would pass by"


def closed_while_at_work(home: Home, up: Up, path: str) -> None:
    up.heard(rf"^1 file or folder of {home.folder} could be opened by other users")
    done = home.run("train", path, "--detailed-analytics")
    operation = operation_in(done.stdout)
    until(lambda: home.value(operation, "status") == "completed", "the end of the training", 120)
    assert for_others(home.folder) == {}


def test_a_home_of_an_older_version_is_closed_by_the_first_command(home: Home) -> None:
    opened(home.folder)
    done = home.run("models", "list")
    assert done.returncode == 0
    assert (
        f"files and folders of {home.folder} could be opened by other users of this machine; only its owner can now"
        in done.stderr
    )
    assert for_others(home.folder) == {}
    assert home.run("models", "list").stderr == ""


def test_folders_and_database_outside_of_the_home_are_closed_too(home: Home, tmp_path: Path) -> None:
    database = tmp_path / "elsewhere" / "ours.sqlite3"
    for path in (tmp_path / "checkpoints" / "deep", database.parent):
        path.mkdir(mode=0o755, parents=True)
    shutil.copy(home.folder / "ktrdr.sqlite3", database)
    database.chmod(0o644)
    done = home.run("models", "list", CHECKPOINT_DIR=tmp_path / "checkpoints", DATABASE_URL=f"sqlite:///{database}")
    assert done.returncode == 0, done.stderr
    assert for_others(tmp_path / "checkpoints") == {} and stat.S_IMODE(database.stat().st_mode) == 0o600


def test_a_group_may_be_let_in_and_nobody_else(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o2770)
    home = Home(folder)
    assert home.run("migrate", "--verbosity", "0", KTRDR_HOME_MODE="770").returncode == 0
    assert for_others(folder, 0o007) == {}
    seen = {p.name: f"{stat.S_IMODE(p.stat().st_mode):o}" for p in (folder, *folder.rglob("*"))}
    assert seen | {"shared": "2770", "secret_key": "660", "ktrdr.sqlite3": "660"} == seen
    assert set(seen.values()) == {"2770", "660"}


def test_a_mode_that_shuts_the_owner_out_is_refused_in_one_sentence(tmp_path: Path) -> None:
    done = Home(tmp_path).run("models", "list", KTRDR_HOME_MODE="0640")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "KTRDR_HOME_MODE is '0640', wanted 700" in done.stderr


def test_a_folder_that_others_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    for mode, name in ((0o1777, ""), (0o755, "letters.txt")):
        folder = tmp_path / f"of-all-{mode:o}"
        folder.mkdir()
        folder.chmod(mode)
        if name:
            (folder / name).touch(0o644)
        done = Home(folder).run("models", "list")
        assert done.returncode == 1 and "set KTRDR_HOME to a folder that holds nothing else" in done.stderr
        assert stat.S_IMODE(folder.stat().st_mode) == mode and [p.name for p in folder.iterdir()] == ([name] if name else [])


@pytest.mark.parametrize("why", ["not the owner", "no modes"])
def test_what_cannot_be_closed_is_refused_with_what_helps(why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = opened(made_home(tmp_path / "home").folder)

    def chmod(path: Path, mode: int) -> None:
        if why == "not the owner":
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", chmod)
    with pytest.raises(modes.TooOpen, match=r"can open .* \(mode (644|755)\).*KTRDR_HOME_MODE to (744|755)"):
        modes.close_home(home.folder, [], 0o077)


def test_links_in_a_home_are_not_followed_to_what_is_not_ours(tmp_path: Path) -> None:
    strange = tmp_path / "strange.txt"
    strange.touch(0o644)
    home = opened(made_home(tmp_path / "home").folder)
    (home.folder / "bars" / "link").symlink_to(strange)
    assert modes.close_home(home.folder, [], 0o077) > 3
    assert stat.S_IMODE(strange.stat().st_mode) == 0o644 and for_others(home.folder) == {}


def test_what_a_command_was_told_to_write_elsewhere_is_as_open_as_the_callers_other_files(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    assert home.run("strategies", "schema", "--to", str(path)).returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_this_process_too_writes_for_its_owner_alone() -> None:
    assert settings.UMASK == 0o077
