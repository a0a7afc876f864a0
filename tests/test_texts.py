"""Lines with fields: nothing that a line says is lost by understanding it, and no id changes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from formats import ADDRESS, DOMAIN, FILE, SHA256, index_file
from indicia import telemetry
from indicia.match.engine import Sieve
from indicia.match.index import Index
from indicia.match.kernel import BUILT
from indicia.model import Event
from indicia.telemetry import Source, texts
from indicia.telemetry.families import line_id

SHAPES = (
    "CEF:0|Acme|Gate|1|100|{0}|7|src={1} msg=a {2} b cs1={3}",
    "<134>Mar 12 09:00:00 px1 CEF:0|Acme|Gate|1|9|x|7|request={0} outcome={1} cs2=\\n{2} c=a\\={3}",
    "LEEF:1.0|Acme|Gate|1|blocked|src={0}\tpolicy={1} and {2}\turl={3}",
    "LEEF:2.0|Acme|Gate|1|blocked|^|src={0}^policy={1}^note={2}^x={3}",
    "type=EXECVE msg=audit(1710234000.123:7): a0=\"{0}\" a1={1} and {2} msg='op=x addr={3}'",
    'level=info msg="a \\"{0}\\" b" peer={1} peer={2} note={3}',
    '<165>1 2024-03-12T09:00:00Z {0} app 7 ID [a@1 b="{1}" c="\\"{2}\\""] said {3}',
    "Mar 12 09:00:00 web1 {0}[7]: x {1} y={2} ({3})",
    "2024-03-12T09:00:00+01:00 web1 app: level=info a={0} b={1} c={2} d={3}",
    "nothing that is known: {0} {1} {2} {3}",
)
VALUES = (DOMAIN, ADDRESS, FILE, SHA256, f"x.{DOMAIN}", f"http://{DOMAIN}/a", f"{ADDRESS}:443", "plain", "-")


def seen(line: bytes, schema: str | None = None) -> Event:
    """The event of a line; `line`: as if nobody understood it."""
    source = Source("x", held=b"no form at all\n" + line + b"\n")
    _, found = telemetry.events(source, malformed=lambda what: pytest.fail(str(what)), schema=schema)
    return found


def raising(event: Event) -> set[tuple[str, str]]:
    return {(one.type, one.value) for one in event.observables if one.raises}


@pytest.fixture(scope="module")
def sieve(tmp_path_factory: pytest.TempPathFactory) -> Sieve:
    return Sieve(Index.open(index_file(tmp_path_factory.mktemp("index"))))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SHAPES), st.lists(st.sampled_from(VALUES), min_size=4, max_size=4))
def test_what_is_looked_for_raises_in_a_line_with_fields_too(shape: str, given_values: list[str]) -> None:
    line = shape.format(*given_values).encode()
    plain, event = seen(line, "line"), seen(line)
    wanted = {ADDRESS, DOMAIN, SHA256, f"x.{DOMAIN}", f"http://{DOMAIN}/a"}
    # That a name may be a file's is left out: in a field of addresses it is none.
    found = {one for one in raising(plain) if one[1] in wanted and one[0] != "FileName"}
    assert found <= raising(event)
    assert event.facts.event_id == plain.facts.event_id == line_id(line)


@pytest.mark.skipif(not BUILT, reason="the C extension was not built")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", VALUES[:7])
def test_the_sieve_names_what_raises(shape: str, place: int, value: str, sieve: Sieve) -> None:
    line = shape.format(*(value if number == place else "plain" for number in range(4))).encode()
    assert raising(seen(line))
    assert sieve.spans(line) == [(0, len(line))]


@pytest.mark.parametrize(
    ("line", "schema"),
    [(shape.format("a", "b", "c", "d"), name) for shape, name in zip(SHAPES, (
        "cef", "cef-host", "leef", "leef", "auditd", "logfmt-host", "syslog-line", "syslog-line",
        "logfmt-host", None,
    ), strict=True)],
)  # fmt: skip
def test_the_form_of_a_line(line: str, schema: str | None) -> None:
    found = texts.understand(line.encode())
    assert (found.schema if found else None) == schema
    assert seen(line.encode()).schema == (schema or "line")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "CEF:0|only|three|bars",
        "CEF:0|a|b|c|d|e|f|free text and no pair",
        "LEEF:1.0|a|b|c|d|no pair",
        "a=1 b=2",
        "a=1 b=2 c=3 and words",
        "type=X msg=audit(none): words",
        "Mar 12 09:00:00 host and no tag",
        "2024-03-12 09:00:00 INFO started",
        "1 2024-03-12T09:00:00Z too few",
        "x" * (texts.LIMIT + 1),
        "k=" * 100_000,
        '"' * 100_000,
        "[a b=\\" * 50_000,
        "1 - h a p m " + '[a b="\\' * 50_000,
    ],
)
def test_what_is_no_form_for_sure_is_a_line(line: str) -> None:
    assert texts.understand(line.encode()) is None


def test_a_schema_that_is_asked_for() -> None:
    line = b"CEF:0|a|b|c|d|e|f|src=192.0.2.1"
    assert seen(line, "cef").schema == "cef"
    assert seen(line, "line").schema == "line"
    assert seen(b"no CEF at all", "cef").schema == "cef"
