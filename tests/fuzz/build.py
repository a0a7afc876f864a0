"""Builds of `_kernel.c` other than the installed one, and how a Python process takes one of them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "indicia" / "match" / "_kernel.c"
KERNEL = "INDICIA_TEST_KERNEL"
"""Names the build that a process takes instead of the installed one (`plugin.py`)."""
SANITIZE = (
    "-O1",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)
SCALAR = ("-O2", "-DINDICIA_SCALAR")


def build(folder: Path, name: str, flags: tuple[str, ...]) -> Path:
    """Compile the kernel into `folder` with these flags; the module's path."""
    made = folder / f"{name}.abi3.so"
    include = sysconfig.get_path("include")
    warnings = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing"]
    command = ["cc", *warnings, *flags, "-shared", "-fPIC", f"-I{include}", "-o", str(made), str(SOURCE)]
    subprocess.run(command, check=True)
    return made


def load(path: str, name: str = "indicia.match._kernel") -> ModuleType:
    """The build at `path` as the module `name`; by default in the place of the installed one."""
    spec = importlib.util.spec_from_file_location(name, path, loader=ExtensionFileLoader(name, path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module
    return module


def sanitized_environment(kernel: Path) -> dict[str, str]:
    """What a process needs that takes a sanitized build: the sanitizers first, no pools of Python's own."""
    libraries = [
        subprocess.run(["cc", f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout
        for name in ("libasan.so", "libubsan.so")
    ]
    return os.environ | {
        "LD_PRELOAD": " ".join(line.strip() for line in libraries),
        # Python itself leaks what lives as long as the process.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]),
        KERNEL: str(kernel),
    }
