"""What is released: sdist and wheels hold what they must and nothing else, and run where no checkout is."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from indicia import __version__
from indicia.telemetry import schemas
from releases import FOREIGN, KERNEL, OWN, Released, make, script
from service import free_port

pytestmark = pytest.mark.full
ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "indicia"
BESIDE = {"CHANGELOG.md", "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.py"}
MADE = {"setup.cfg"}
"""By setuptools itself."""
NOT_INSTALLED = {"match/_kernel.c", "store/migrations/script.py.mako"}
"""What nobody needs who only uses Indicia."""


def package() -> set[str]:
    """The files of the package, as a checkout has them."""
    return {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    }


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """The sdist, the wheel of this machine, and one that is foreign to it in machine and C library."""
    return make(tmp_path_factory.mktemp("released"), OWN, FOREIGN)


def test_the_sdist_holds_the_package_and_what_says_what_it_is(released: Released) -> None:
    with tarfile.open(released.sdist) as opened:
        files = {one.name.partition("/")[2] for one in opened.getmembers() if one.isfile()}
    held = {name for name in files if ".egg-info/" not in name}
    assert held - {f"src/indicia/{name}" for name in package()} == BESIDE | MADE
    assert {f"src/indicia/{name}" for name in package()} - held == {
        "src/indicia/store/migrations/script.py.mako"  # for who writes a migration
    }


@pytest.mark.parametrize("tag", [OWN, FOREIGN])
def test_a_wheel_holds_the_package_and_its_kernel(released: Released, tag: str) -> None:
    wheel = released.wheel(tag)
    assert wheel.name == f"indicia-{__version__}-cp311-abi3-{tag}.whl"
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        (about,) = (name for name in names if name.endswith("/WHEEL"))
        assert f"Tag: cp311-abi3-{tag}\n" in opened.read(about).decode()
    own = {name.removeprefix("indicia/") for name in names if name.startswith("indicia/")}
    assert own == package() - NOT_INSTALLED | {"match/_kernel.abi3.so"}
    beside = {Path(name).name for name in names if not name.startswith("indicia/")}
    assert beside == {"LICENSE", "METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt"}


def test_the_wheel_runs_on_old_systems(released: Released) -> None:
    """Of the C library nothing is asked for that came after 2014, as the tag says: another judges."""
    command = [sys.executable, "-m", "auditwheel", "show", str(released.wheel(OWN))]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert f'"{OWN}"' in ran.stdout.replace("\n", " "), ran.stdout + ran.stderr


def test_a_wheel_is_judged_by_what_its_kernel_is(released: Released, tmp_path: Path) -> None:
    """What a compiler made for another machine, or did not make at all, does not stay."""
    wheels = script()
    targets = {target.tag: target for target in wheels.TARGETS}
    assert wheels.checked(targets[FOREIGN], released.wheel(FOREIGN)) == "libc.so"
    for given, kernel in ((FOREIGN, True), (OWN, False)):
        name = f"indicia-{__version__}-cp311-abi3-{OWN}.whl"
        false = tmp_path / name
        with zipfile.ZipFile(released.wheel(given)) as opened, zipfile.ZipFile(false, "w") as made:
            for one in opened.namelist():
                if kernel or one != KERNEL:
                    made.writestr(one, opened.read(one))
        with pytest.raises(wheels.Unfit, match="is for EM_" if kernel else "has no"):
            wheels.checked(targets[OWN], false)
    # Debian's would include that of the target, which is not there.
    assert "#define SIZEOF_LONG 8\n" in (wheels.headers(tmp_path) / "pyconfig.h").read_text()
    assert wheels.numbers("GLIBC_2.2.5") < wheels.NEWEST < wheels.numbers("GLIBC_2.18")
    assert wheels.numbers("GLIBC_ABI_DT_RELR") > wheels.NEWEST


def needed(name: str, extras: frozenset[str] = frozenset()) -> Iterator[str]:
    """The names of everything that an installed package says it needs."""
    for line in metadata.requires(name) or ():
        one = Requirement(line)
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield canonicalize_name(one.name)
            yield from needed(one.name, frozenset(one.extras))


@pytest.fixture(scope="module")
def clean(released: Released, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with what Indicia says that it needs, and Indicia as pip installs it from the sdist.

    The packages come from the environment of the tests, because tests reach no other machine; pip looks
    whether they are those that are asked for.
    """
    place = tmp_path_factory.mktemp("clean") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True, timeout=60)
    site = next((place / "lib").glob("python3*")) / "site-packages"
    for name in {"setuptools", *needed("indicia")}:
        found = metadata.distribution(name)
        for file in found.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(Path(str(found.locate_file(file))))
    command = [sys.executable, "-m", "pip", "--python", str(place), "install", "--quiet", "--no-index"]
    ran = subprocess.run(
        [*command, "--no-build-isolation", str(released.sdist)], capture_output=True, text=True, timeout=200
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    return place


def environment(place: Path) -> dict[str, str]:
    """Nothing of ours but the clean environment and a home that is not there yet."""
    return {
        "PATH": f"{place / 'bin'}:/usr/bin:/bin",
        "HOME": str(place),
        "INDICIA_HOME": str(place.parent / "home"),
    }


def ran(place: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command there, in a folder in which nothing of Indicia is."""
    return subprocess.run(
        command, env=environment(place), cwd=place.parent, capture_output=True, text=True, timeout=60
    )


def test_in_a_clean_environment_it_says_what_it_is(clean: Path) -> None:
    assert ran(clean, "indicia", "--version").stdout == f"indicia, version {__version__}\n"
    shown = ran(clean, "python", "-c", "import indicia, sys; print(indicia.__file__, *sys.path, sep='\\n')")
    assert str(ROOT) not in shown.stdout
    assert shown.stdout.startswith(str(clean))


def test_in_a_clean_environment_the_doctor_finds_no_fault(clean: Path) -> None:
    told = ran(clean, "indicia", "doctor", "--json")
    assert told.returncode == 0, told.stdout + told.stderr
    checks = {one["what"]: one for one in json.loads(told.stdout)["checks"]}
    assert checks["kernel"]["state"] == "ok"
    assert checks["packages"]["state"] == "ok"
    assert checks["schemas"]["text"].startswith(f"{len(schemas())} ")


def test_in_a_clean_environment_a_scan_finds_the_sample(clean: Path) -> None:
    examples = ROOT / "examples"
    command = ("scan", "--output", "ndjson", "--indicators", str(examples / "indicators.csv"))
    told = ran(clean, "indicia", *command, str(examples / "telemetry" / "zeek" / "dns.log"))
    assert told.returncode == 1, told.stderr  # something raised
    assert "83b2cc26b671cdf648180ba2ba7fb158" in told.stdout  # the event of docs/DESIGN.md


def test_in_a_clean_environment_it_serves(clean: Path) -> None:
    home = clean.parent / "home"
    assert ran(clean, "indicia", "init", "--save", str(clean.parent / "access.json")).returncode == 0
    port = str(free_port())
    command = ["indicia", "serve", "--port", port]
    with subprocess.Popen(
        command, env=environment(clean), cwd=clean.parent, stdout=subprocess.PIPE, text=True
    ) as service:
        try:
            assert service.stdout is not None
            assert port in service.stdout.readline()
            context = ssl.create_default_context(cafile=str(home / "tls" / "ca.pem"))
            for page in ("health", "portal/sign-in", "portal/static/portal.css"):
                with urllib.request.urlopen(f"https://127.0.0.1:{port}/{page}", context=context) as answer:
                    assert answer.status == 200, page
        finally:
            service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
