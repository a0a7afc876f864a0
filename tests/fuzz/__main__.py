"""Builds the kernel with sanitizers and attacks it; see the package's docstring."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz.build import SANITIZE, SCALAR, build, sanitized_environment


def run(module: str, arguments: list[str]) -> int:
    """One attack in a process of its own; its exit code."""
    with TemporaryDirectory() as folder:
        kernel = build(Path(folder), "sanitized", SANITIZE)
        scalar = build(Path(folder), "scalar", (*SANITIZE, *SCALAR[1:]))
        command = [sys.executable, "-m", module, *arguments, str(scalar)]
        return subprocess.run(command, env=sanitized_environment(kernel), check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--files", type=int, default=1000, help="damaged index files that are opened first")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    return run("fuzz.damage", [str(given.files), str(given.seed)]) or run(
        "fuzz.attack", [str(given.seconds), str(given.seed)]
    )


if __name__ == "__main__":
    sys.exit(main())
