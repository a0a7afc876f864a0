"""Wheels for other machines and C libraries run there: on the Pythons that `make test-wheels` brings.

What another machine has, qemu-user plays. So the path with NEON is taken by the same tests of the engine as
the one with SSE2, and attacked beside the path without either (`fuzz.attack`, blocks at the ends of pages).
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fuzz.build import KERNEL
from releases import FOREIGN, OWN, ROOT, Released, make, script

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PYTHONS = ROOT / ".pythons"
GLIBC = FOREIGN.replace("musllinux_1_2", "manylinux_2_17")
"""The foreign machine with the C library of this one."""
MUSL = OWN.replace("manylinux_2_17", "musllinux_1_2")
SEED = os.environ.get("INDICIA_SEED", "20260101")
SIMD = {"x86_64": "sse2", "aarch64": "neon"}
WHO = """
import json, platform, sysconfig
from indicia.match import _kernel
print(json.dumps([_kernel.PATH, _kernel.__file__, platform.machine(), sysconfig.get_config_var("SOABI")]))
"""


@dataclass(frozen=True)
class Place:
    """A Python of that machine and C library, which has Indicia from the wheel."""

    tag: str
    command: tuple[str, ...]
    site: Path

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """That Python, in the checkout, whose `src` it does not see."""
        paths = [self.site, PYTHONS / self.tag / "site", ROOT / "tests"]
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "INDICIA_HOME": str(self.site.parent / "home"),
        }
        command = [*self.command, *arguments]
        return subprocess.run(
            command, env=environment | more, cwd=ROOT, capture_output=True, text=True, timeout=1500
        )


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    return make(tmp_path_factory.mktemp("released"))


def place_of(tag: str, released: Released, folder: Path) -> Place:
    """pip chooses among all wheels the one for that Python, and installs it."""
    python = PYTHONS / tag / "python"
    if tag != OWN and not (python.exists() and (PYTHONS / tag / ".site").exists()):
        pytest.skip(f"there is no Python for {tag}: make test-wheels brings it")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    choice = ["--only-binary", ":all:", "--platform", tag, "--python-version", "3.11"]
    where = ["--find-links", str(released.folder), "--target", str(folder / "indicia")]
    ran = subprocess.run([*install, *choice, *where, "indicia"], capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return Place(tag, (sys.executable,) if tag == OWN else (str(python),), folder / "indicia")


@pytest.fixture(scope="module", params=[OWN, GLIBC, MUSL, FOREIGN])
def place(
    request: pytest.FixtureRequest, released: Released, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    return place_of(request.param, released, tmp_path_factory.mktemp("place"))


@pytest.mark.parametrize("tag", [OWN, GLIBC])
def test_auditwheel_says_what_the_tag_says(released: Released, tag: str) -> None:
    """Of glibc; the one with musl it judges only on a machine with musl."""
    command = [sys.executable, "-m", "auditwheel", "show", str(released.wheel(tag))]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert f'"{tag}"' in ran.stdout.replace("\n", " "), ran.stdout + ran.stderr


def test_the_kernel_of_the_wheel_is_loaded(place: Place) -> None:
    ran = place.run("-c", WHO)
    assert ran.returncode == 0, ran.stderr
    path, file, machine, abi = json.loads(ran.stdout)
    assert place.tag.endswith(machine)
    assert path == SIMD[machine]
    assert Path(file) == place.site / "indicia" / "match" / "_kernel.abi3.so"
    assert abi.endswith("-musl" if place.tag.startswith("musl") else "-gnu")


def test_a_scan_prints_what_it_prints_here(place: Place) -> None:
    examples = ROOT / "examples"
    logs = sorted(
        str(path)
        for path in (examples / "telemetry").rglob("*")
        if path.suffix in {".json", ".log", ".ndjson"}
    )
    scan = [
        "-m",
        "indicia",
        "scan",
        "--output",
        "ndjson",
        "--indicators",
        str(examples / "indicators.csv"),
        *logs,
    ]
    there = place.run(*scan)
    here = subprocess.run([sys.executable, *scan], capture_output=True, text=True, timeout=100)
    assert (there.returncode, there.stdout) == (here.returncode, here.stdout), there.stderr
    assert here.returncode == 1  # something raised
    assert "83b2cc26b671cdf648180ba2ba7fb158" in there.stdout  # the event of docs/DESIGN.md


def test_the_engine_passes_its_tests(place: Place) -> None:
    tests = [f"tests/test_{name}.py" for name in ("engine", "cases", "hiding", "borders")]
    options = ["-q", "--noconftest", "-p", "no:cacheprovider", "-m", "not full and not slow"]
    ran = place.run("-m", "pytest", *options, *tests, INDICIA_EXAMPLES="20")
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    print(place.tag, ran.stdout.splitlines()[-1])
    assert " skipped" not in ran.stdout


@pytest.mark.parametrize("tag", [GLIBC, FOREIGN])
def test_its_path_gives_what_the_path_without_simd_gives(
    tag: str, released: Released, tmp_path: Path
) -> None:
    """With traps where C leaves the behaviour open, and blocks behind which nothing may be read."""
    there = place_of(tag, released, tmp_path)
    (target,) = (one for one in script().TARGETS if one.tag == tag)
    simd, scalar = (build(target, tmp_path / f"{name}.abi3.so", flags) for name, flags in BUILDS.items())
    ran = there.run("-m", "fuzz.attack", "60", SEED, str(scalar), **{KERNEL: str(simd)})
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    assert f"{SIMD[target.machine]}: " in ran.stdout
    print(tag, ran.stdout)
    too_far = (
        "from fuzz.attack import *\n"
        "view = Exact().room(10)\n"
        "longer = (ctypes.c_ubyte * 11).from_address(ctypes.addressof(ctypes.c_ubyte.from_buffer(view)))\n"
        "assert kernel.count_lines(longer, 0, 10) >= 0\n"
        "print('so far', flush=True)\n"
        "kernel.count_lines(longer, 0, 11)"
    )
    ran = there.run("-c", too_far, **{KERNEL: str(simd)})
    assert ran.stdout == "so far\n"
    assert ran.returncode not in (0, 1), "a read behind a block was not seen"


BUILDS: dict[str, tuple[str, ...]] = {"simd": (), "scalar": ("-DINDICIA_SCALAR",)}
TRAPS = ("-O1", "-g", "-fsanitize=undefined", "-fsanitize-trap=undefined")
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing")


def build(target: Any, made: Path, flags: tuple[str, ...]) -> Path:
    """The kernel for `target`, with traps."""
    include = script().headers(made.with_suffix(".headers"))
    command = [*shlex.split(script().compilers(target)["CC"]), *WARNINGS, *TRAPS, *flags, "-shared", "-fPIC"]
    source = ROOT / "src" / "indicia" / "match" / "_kernel.c"
    subprocess.run([*command, f"-I{include}", "-o", str(made), str(source)], check=True, timeout=200)
    return made


def test_the_compiler_sees_the_same_by_the_headers_of_the_target(tmp_path: Path) -> None:
    """Which pyconfig.h is taken makes no difference to the kernel: it is the same C, word for word."""
    version = f"python{sysconfig.get_python_version()}"
    headers = PYTHONS / GLIBC / "root" / "usr" / "include"
    if not (headers / version).exists():
        pytest.skip(f"there are no headers of {version} for {GLIBC}: make test-wheels brings Debian's")
    ours = tmp_path / version
    shutil.copytree(headers / version, ours)
    shutil.copyfile(script().headers(tmp_path) / "pyconfig.h", ours / "pyconfig.h")
    assert (ours / "pyconfig.h").read_text() != (headers / version / "pyconfig.h").read_text()
    (target,) = (one for one in script().TARGETS if one.tag == GLIBC)
    command = [*shlex.split(script().compilers(target)["CC"]), "-E", "-P"]
    source = str(ROOT / "src" / "indicia" / "match" / "_kernel.c")
    theirs, mine = (
        subprocess.run([*command, *options, source], check=True, capture_output=True, text=True, timeout=100)
        for options in ([f"-I{headers / version}", f"-I{headers}"], [f"-I{ours}"])
    )
    assert "PyInit__kernel" in mine.stdout
    assert mine.stdout.split() == theirs.stdout.split()


def test_these_are_all_platforms() -> None:
    assert [target.tag for target in script().TARGETS if platform.machine() == target.machine] == [OWN, MUSL]
    assert {target.tag for target in script().TARGETS} == {OWN, GLIBC, MUSL, FOREIGN}
