"""Sessions of Sail and of Spark for tests, where they are installed: `make test-spark` does that."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
from functools import cache
from typing import Any

import pytest

from indicia import scale

THERE = importlib.util.find_spec("pyspark") is not None and importlib.util.find_spec("pysail") is not None
QUIET = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.log.level": "OFF",
    "spark.sql.shuffle.partitions": "2",
}
# A JVM of seconds never earns back what its second compiler and its many collectors take.
SHORT = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}


@cache
def sail() -> Any:
    """Sail's server in this process; it stops when nobody holds it any more."""
    # Its session ends after minutes in which other tests run: docs.lakesail.com, reference, configuration.
    os.environ["SAIL_SPARK__SESSION_TIMEOUT_SECS"] = "86400"
    server = importlib.import_module("pysail.spark").SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    return server


@cache
def sail_session() -> Any:
    """Of Sail in this process, which ends with it."""
    server = sail()
    return scale.session(remote=f"sc://127.0.0.1:{server.listening_address[1]}")


@cache
def spark_session() -> Any:
    """Of Spark's own Connect server in a JVM, which ends with this process."""
    # PySpark would give the session that there is, and Sail be taken for Spark.
    assert not sail.cache_info().currsize, "one engine a process: -m slow, or -m 'not slow'"
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.update(SHORT)
    os.environ["SPARK_TESTING"] = "1"  # a port that is free, instead of the one of all
    settings = [f"--conf {name}={value}" for name, value in QUIET.items()]
    os.environ["PYSPARK_SUBMIT_ARGS"] = " ".join([*settings, "pyspark-shell"])
    return scale.session(remote="local[2]")


def installed(*, java: bool = True) -> None:
    """Else the test is skipped. Sail needs no Java."""
    if not THERE:
        pytest.skip("pyspark and pysail are not installed: make test-spark installs them")
    if java and shutil.which("java") is None:
        pytest.skip("Spark needs Java 17, and there is none")
