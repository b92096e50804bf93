"""What pyproject.toml cannot say: a wheel carries the top-level templates/ inside ktrdr_site, where the settings find them."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithTemplates(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable installation finds them where they lie
            folder = Path(self.build_lib, "ktrdr_site", "templates")
            shutil.rmtree(folder, ignore_errors=True)  # of an earlier build
            shutil.copytree("templates", folder)


setup(cmdclass={"build_py": BuildWithTemplates})
