"""Whatever one tenant asks of the OData routes: never a 5xx, and never a row of another tenant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indicia.auth import roles
from indicia.odata.entities import ENTITIES
from indicia.web.api import ROUTES
from service import DEFINITION, Client, Local, Reply, add_access, indicator
from stored import detection

MARK = "of-another-tenant"
"""In every text of the other tenant, and in nothing that is asked."""
QUIET = settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def furnish(service: Local, name: str) -> Client:
    """A tenant with some of everything, its name in each text."""
    access = add_access(service.store, name, (*roles.DEFAULT, roles.ADMIN))
    api, tenant = service.client(access), service.store.tenant(access.tenant_id)
    for number in range(3):
        owner = api.add_definition(
            Name=f"{name} {number}",
            Title=name,
            UxDescription=name,
            InternalDescription=name,
            RecommendedAction=name,
        )
        for row in range(3):
            api.add_indicator(owner, Type="DomainName", Value=f"h{row}.{name}.example", Source=name)
    api("POST", "Outputs", {"Name": name, "Target": "syslog+udp://127.0.0.1:9"})
    known = api("POST", "AllowLists", {"Name": name, "Comment": name}).json()["Id"]
    api("POST", f"AllowLists({known})/Entries", {"Kind": "Hostname", "Value": f"{name}.example"})
    for found in tenant.indicators():
        tenant.record([detection(found, tenant.uid, found.id, machine=name)])
    for alert in tenant.alerts()[:2]:
        api("PATCH", f"Alerts({alert.number})", {"AssignedTo": name})
        api("POST", f"Alerts({alert.number})/Comments", {"Text": name})
    api(
        "POST", "Suppressions", {"Value": f"{name}.example", "Reason": name, "EndsAt": "2100-01-01T00:00:00Z"}
    )
    return api


class Two:
    """Who asks, whom nothing may be seen of, and what that one has."""

    def __init__(self, service: Local) -> None:
        self.asks, self.other = furnish(service, "asks"), furnish(service, MARK)
        self.before = self.state()

    def state(self) -> list[bytes]:
        """Everything of the other one."""
        return [self.other("GET", entity.set_name).body for entity in ENTITIES]


@pytest.fixture(scope="module")
def two(service: Local) -> Two:
    """Two tenants of one store."""
    return Two(service)


KEYS = st.integers(0, 40) | st.sampled_from([-1, 2**63 - 1, 2**63])
SHAPES = st.sampled_from([row.shape for row in ROUTES])
PATHS = st.builds(
    lambda shape, keys: shape.replace("#", "{}").format(*keys), SHAPES, st.tuples(KEYS, KEYS, KEYS)
)
NAMES = st.sampled_from(
    sorted(
        {item.name for entity in ENTITIES for item in entity.properties}
        | {way.name for entity in ENTITIES for way in entity.navigations}
    )
)
SPELT = """eq ne gt le in and or not add mod div asc desc any all null true now() contains length tolower
$it $count $filter x d 'High' 'x' 1 0 2.5 2030-01-01 2030-01-01T00:00:00Z duration'P1D' @a
( ) , : / = ; - * '' %"""
WORDS = st.sampled_from([*SPELT.split(), "\0", "\U0001f600"])
TEXTS = st.lists(NAMES | WORDS, max_size=12).map(" ".join) | st.lists(NAMES | WORDS, max_size=8).map("".join)
GOOD = st.builds(
    lambda name, operator, value: f"{name} {operator} {value}",
    NAMES,
    st.sampled_from(["eq", "ne", "gt", "ge", "lt", "le"]),
    st.sampled_from(["null", "'x'", "1", "true", "2020-01-01T00:00:00Z", "'High'"]) | NAMES,
)
LAMBDAS = st.builds(
    lambda way, word, inner: f"{way}/{word}(d:d/{inner})",
    st.sampled_from(
        ["IndicatorsOfCompromise", "AlertDefinition/IndicatorsOfCompromise", "Detections", "Alert/Detections"]
    ),
    st.sampled_from(["any", "all"]),
    GOOD,
)
FILTERS = st.lists(GOOD | LAMBDAS, min_size=1, max_size=4).map(" or ".join) | TEXTS
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "$filter": FILTERS,
        "$orderby": st.lists(NAMES, min_size=1, max_size=3).map(",".join) | TEXTS,
        "$select": st.lists(NAMES, min_size=1, max_size=3).map(",".join) | TEXTS,
        "$expand": NAMES | st.just("*") | st.builds(lambda n, f: f"{n}($filter={f})", NAMES, GOOD) | TEXTS,
        "$top": st.sampled_from(["0", "1", "5", "x"]),
        "$skip": st.sampled_from(["0", "3", "99999999"]),
        "$count": st.sampled_from(["true", "false"]),
        "$format": st.sampled_from(["json", "application/json;odata.metadata=full", "xml"]),
        "$skiptoken": st.integers(0, 60).map(lambda n: _token([2, n])) | st.text(max_size=10),
    },
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Prefer": st.sampled_from(["return=minimal", "odata.maxpagesize=2", "continue-on-error", ";=,"]),
        "If-Match": st.sampled_from(["*", 'W/"0123456789abcdef"', "x"]),
        "If-None-Match": st.sampled_from(["*", 'W/"0123456789abcdef"', "x"]),
        "Accept": st.sampled_from(["*/*", "application/json;odata.metadata=full", "text/html"]),
    },
)
BODIES = st.one_of(
    st.dictionaries(NAMES, st.none() | st.booleans() | st.integers() | st.text(max_size=9), max_size=4),
    st.builds(lambda key, change: indicator(key) | change, KEYS, st.dictionaries(NAMES, st.text(max_size=5))),
    st.builds(lambda key: {"@odata.id": f"AlertDefinitions({key})"}, KEYS),
    st.builds(
        lambda keys, upsert: {"iocs": [indicator(key) for key in keys], "upsert": upsert},
        st.lists(KEYS, max_size=4),
        st.booleans(),
    ),
    st.builds(lambda count: {"alertDefinitions": [DEFINITION] * count}, st.integers(0, 3)),
)


def _token(values: list[int]) -> str:
    import base64  # noqa: PLC0415

    return base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()


def sound(reply: Reply) -> None:
    """Answered in our words, and with nothing of the other tenant."""
    assert reply.status < 500 or reply.status in (501, 507), reply.body
    assert MARK.encode() not in reply.body
    if reply.status >= 400 and reply.body:
        assert reply.error["message"]


@pytest.mark.full
@QUIET
@given(PATHS, OPTIONS, HEADERS)
def test_no_question_gets_a_row_of_another(
    two: Two, path: str, asked: Mapping[str, str], headers: Mapping[str, str]
) -> None:
    query = "&".join(f"{name}={quote(text)}" for name, text in asked.items())
    sound(two.asks("GET", f"{path}?{query}" if query else path, headers=headers))


@pytest.mark.full
@QUIET
@given(st.sampled_from(["POST", "PATCH", "PUT", "DELETE"]), PATHS, BODIES, HEADERS)
def test_no_call_changes_a_row_of_another(
    two: Two, method: str, path: str, body: Any, headers: Mapping[str, str]
) -> None:
    sound(two.asks(method, path, body, headers))
    assert two.state() == two.before


def test_the_mark_would_be_seen(two: Two) -> None:
    for body in two.before:
        assert MARK.encode() in body
    with pytest.raises(AssertionError):
        sound(two.other("GET", "Alerts"))
