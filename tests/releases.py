"""What is released, made as `make dist` makes it, for the tests that look into it and run it."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
KERNEL = "indicia/match/_kernel.abi3.so"
OWN = f"manylinux_2_17_{platform.machine()}"
FOREIGN = "musllinux_1_2_" + ("x86_64" if platform.machine() == "aarch64" else "aarch64")


@dataclass(frozen=True)
class Released:
    """A folder as `make dist` fills it."""

    folder: Path

    @property
    def sdist(self) -> Path:
        (found,) = self.folder.glob("*.tar.gz")
        return found

    def wheel(self, tag: str) -> Path:
        (found,) = self.folder.glob(f"*-{tag}.whl")
        return found


def script() -> Any:
    """scripts/wheels.py as a module."""
    spec = importlib.util.spec_from_file_location("wheels", ROOT / "scripts" / "wheels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["wheels"] = module
    spec.loader.exec_module(module)
    return module


def make(folder: Path, *tags: str) -> Released:
    """Made from a copy, so that nothing that an earlier build has left gets in; without a tag all wheels."""
    copy, dist = folder / "checkout", folder / "dist"
    leave = shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__", ".*", "build", "dist")
    shutil.copytree(ROOT, copy, ignore=leave)
    command = [sys.executable, str(copy / "scripts" / "wheels.py"), str(dist), *tags]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr
    return Released(dist)
