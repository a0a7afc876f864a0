"""The kernel under AddressSanitizer and UndefinedBehaviorSanitizer, for seconds; `make fuzz` goes on longer.

And the path without SIMD, which no test would take on a machine that has it: the same tests of the engine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.build import KERNEL, ROOT, SANITIZE, SCALAR, build, sanitized_environment

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]
SEED = os.environ.get("INDICIA_SEED", "20260101")


def ended_well(command: list[str], environment: dict[str, str]) -> str:
    """Run it; what it printed, which is shown where it failed."""
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, f"{ran.stdout[-4000:]}\n{ran.stderr[-8000:]}"
    print(ran.stdout)
    return ran.stdout


def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    kernel, scalar = (
        build(tmp_path, "sanitized", SANITIZE),
        build(tmp_path, "scalar", (*SANITIZE, *SCALAR[1:])),
    )
    command = [sys.executable, "-m", "fuzz.attack", "8", SEED, str(scalar)]
    assert "rounds in" in ended_well(command, sanitized_environment(kernel))


def test_damaged_index_files_harm_nothing(tmp_path: Path) -> None:
    kernel = build(tmp_path, "sanitized", SANITIZE)
    command = [sys.executable, "-m", "fuzz.damage", "1000", SEED]
    assert "1000 damaged files" in ended_well(command, sanitized_environment(kernel))


def test_sanitizers_are_at_work(tmp_path: Path) -> None:
    """A read behind a block is seen: without this the tests above could find nothing for ever."""
    kernel = build(tmp_path, "sanitized", SANITIZE)
    attack = (
        "from fuzz.attack import *\n"
        "view = Exact().room(10)\n"
        "longer = (ctypes.c_ubyte * 11).from_address(ctypes.addressof(ctypes.c_ubyte.from_buffer(view)))\n"
        "kernel.count_lines(longer, 0, 11)"
    )
    environment = sanitized_environment(kernel)
    ran = subprocess.run(
        [sys.executable, "-c", attack], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 99, ran.stderr[-4000:]
    assert "heap-buffer-overflow" in ran.stderr


def test_the_path_without_simd(tmp_path: Path) -> None:
    environment = os.environ | {
        KERNEL: str(build(tmp_path, "scalar", SCALAR)),
        "PYTHONPATH": str(ROOT / "tests"),
        "INDICIA_EXAMPLES": "100",
    }
    tests = [f"tests/test_{name}.py" for name in ("engine", "cases", "hiding", "borders")]
    options = ["-p", "fuzz.plugin", "-p", "no:cacheprovider", "--no-cov", "-m", "not full and not slow"]
    printed = ended_well([sys.executable, "-m", "pytest", *options, *tests], environment)
    assert "kernel: scalar" in printed
