"""`pytest -p fuzz.plugin` runs the tests on the build of the kernel that the environment names."""

import os

from fuzz.build import KERNEL, load

PATH: str = load(os.environ[KERNEL]).PATH
"""Which code path that build took."""


def pytest_report_header() -> str:
    return f"kernel: {PATH}, {os.environ[KERNEL]}"
