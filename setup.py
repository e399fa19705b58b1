"""Compiles the hot path when a package is built that is not an editable one.

What is named here runs for every message. mypyc makes an extension of it, beside the .py files;
these serve where there is no C compiler (the build says so), and with HOTROLLBACK_PURE=1.
"""

import os
import sys
from pathlib import Path
from typing import Any, Final

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CompileError, LinkError

HOT: Final = (
    "proxy/wire/*.py",
    "proxy/session/*.py",
    "proxy/sql/literals.py",
    "proxy/capture/choose.py",
)
# gcc's own 3 takes half as long again to build, and was not seen to run faster.
OPTIMISATION: Final = "1"


# What a compiler, or mypy of another version, may object to.
OBJECTIONS: Final = (BaseError, CompileError, LinkError, OSError, SystemExit)


class Compile(build_ext):
    """mypyc reads all of these files, and what they import: only when they are really built, not
    whenever somebody wants to know what this command would do."""

    def run(self) -> None:
        try:
            self.distribution.ext_modules = extensions()
            self.initialize_options()  # read again, with what there is to build now
            self.finalize_options()
            super().run()
        except OBJECTIONS as error:
            self.warn(f"the hot path stays pure Python, which is slower: {error}")
            for built in self.get_outputs():
                Path(built).unlink(missing_ok=True)
            self.extensions = []


def extensions() -> list[Extension]:
    from mypyc.build import mypycify  # noqa: PLC0415  not there, and not needed, for other commands

    paths = [str(path) for pattern in HOT for path in sorted(Path().glob(pattern))]
    return mypycify(["--ignore-missing-imports", *paths], opt_level=OPTIMISATION)


def options() -> dict[str, Any]:
    if os.environ.get("HOTROLLBACK_PURE") == "1" or "editable_wheel" in sys.argv:
        return {}
    return {"ext_modules": [Extension("compiled", [])], "cmdclass": {"build_ext": Compile}}


setup(**options())
