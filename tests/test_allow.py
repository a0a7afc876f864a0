"""Allow-lists: which entry knows a value, which one decides, and what the store makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicia import allow, triage
from indicia.allow import AllowAction, Allowance, AllowEntry, AllowKind, AllowList
from indicia.errors import InputError, InvalidValue, MalformedFile, NotFound, QuotaExceeded
from indicia.feeds import warning_lists
from indicia.model import AuditAction, Detection, DetectionFunction, Evidence, IndicatorType, Role, Silenced
from indicia.odata import parse
from indicia.odata.entities import ALERT, DETECTION
from indicia.odata.tree import Query
from indicia.store import Store, TenantStore
from indicia.store import allow as kept_lists
from stored import add, definition, detection, indicator, opened, sound, url

REAL = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "indicators" / "allow.csv.zst"
EMPTY = "d41d8cd98f00b204e9800998ecf8427e"
S, SUB, HOST, CIDR, REGEX = AllowKind
DOMAIN, ADDRESS, URL = IndicatorType.DOMAIN_NAME, IndicatorType.IP_ADDRESS, IndicatorType.URL
SUPPRESS, ANNOTATE = AllowAction.SUPPRESS, AllowAction.ANNOTATE
ENABLED = AllowList("own", enabled=True)


def of(*lists: tuple[AllowList, list[tuple[AllowKind, str]]]) -> Allowance:
    """Lists with entries as somebody writes them."""
    made = Allowance()
    for number, (owner, written) in enumerate(lists, 1):
        found = [entry for kind, text in written for entry in allow.entries(kind, text, owner.types)]
        made.add(replace(owner, id=number), [(one.kind, one.value, one.type) for one in found])
    return made


# Which entry knows a value


@pytest.mark.parametrize(
    ("kind", "entry", "type_", "value", "knows"),
    [
        (S, "EVIL.example.", DOMAIN, "evil.example", True),
        (S, "evil.example", DOMAIN, "www.evil.example", False),
        (S, "https://Contoso.example:443/A", URL, "https://contoso.example/A", True),
        (S, "contoso.example/a", URL, "http://contoso.example/a", True),
        (S, "D41D8CD98F00B204E9800998ECF8427E", IndicatorType.MD5, "d41d8cd98f00b204e9800998ecf8427e", True),
        (S, "Setup.EXE", IndicatorType.FILE_NAME, "setup.exe", True),
        (S, "198.51.100.7", ADDRESS, "198.51.100.7", True),
        (S, "192.0.2.0/24", ADDRESS, "192.0.2.0/24", True),
        (HOST, "*.contoso.example", DOMAIN, "a.b.contoso.example", True),
        (HOST, "contoso.example", DOMAIN, "notcontoso.example", False),
        (HOST, "contoso.example", URL, "https://u@www.contoso.example:8443/x", True),
        (HOST, "https://contoso.example/x", DOMAIN, "www.contoso.example", True),
        (HOST, "192.0.2.7", URL, "http://192.0.2.7/x", True),
        (CIDR, "192.0.2.0/24", ADDRESS, "192.0.2.7", True),
        (CIDR, "192.0.2.0/24", ADDRESS, "192.0.2.0/25", True),
        (CIDR, "192.0.2.0/25", ADDRESS, "192.0.2.0/24", False),
        (CIDR, "2001:db8::/32", ADDRESS, "2001:db8::1", True),
        (CIDR, "::/0", ADDRESS, "192.0.2.7", False),
        (CIDR, "192.0.2.7", URL, "http://192.0.2.7:8080/", True),
        (SUB, "Sandbox", DOMAIN, "www.sandbox-1.example", True),
        (SUB, "mail", URL, "https://contoso.example/MAIL", True),
        (REGEX, r"^cdn-\d+\.", DOMAIN, "cdn-12.contoso.example", True),
        (REGEX, r"^cdn-\d+\.", DOMAIN, "cdn-x.contoso.example", False),
    ],
)
def test_an_entry_knows(kind: AllowKind, entry: str, type_: IndicatorType, value: str, knows: bool) -> None:
    assert bool(of((ENABLED, [(kind, entry)])).known(type_, value)) is knows


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (S, ".contoso.example", "no value"),
        (S, " ", "1 to"),
        (HOST, "two words", "no name"),
        (CIDR, "192.0.2.0/33", "neither"),
        (SUB, "www", "nearly everything"),
        (REGEX, "(a", "closing"),
    ],
)
def test_what_cannot_be_an_entry_says_why(kind: AllowKind, text: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        allow.entries(kind, text, (DOMAIN,))


def test_types_bound_a_list() -> None:
    lists = of((replace(ENABLED, types=(URL,)), [(HOST, "contoso.example")]))
    assert lists.known(URL, "https://contoso.example/")
    assert not lists.known(DOMAIN, "contoso.example")
    assert allow.types_of(["domain|ip", "url", "email-src"]) == (DOMAIN, ADDRESS, URL)
    assert allow.types_of(["phone-number"]) == ()


def test_the_most_specific_entry_decides() -> None:
    wide = AllowList("wide", enabled=True, action=SUPPRESS)
    narrow = AllowList("narrow", enabled=True)
    lists = of(
        (wide, [(HOST, "example"), (CIDR, "192.0.2.0/24"), (SUB, "contoso"), (S, "twice.example")]),
        (narrow, [(HOST, "contoso.example"), (CIDR, "192.0.2.7"), (S, "twice.example"), (REGEX, "fabrikam")]),
    )
    first = {
        value: [str(one) for one in lists.known(kind, value)]
        for kind, value in (
            (DOMAIN, "www.contoso.example"),
            (ADDRESS, "192.0.2.7"),
            (ADDRESS, "192.0.2.8"),
            (DOMAIN, "fabrikam.example"),
            (DOMAIN, "twice.example"),
        )
    }
    assert first == {
        "www.contoso.example": ["narrow: Hostname contoso.example", "wide: Hostname example"],
        "192.0.2.7": ["narrow: Cidr 192.0.2.7", "wide: Cidr 192.0.2.0/24"],
        "192.0.2.8": ["wide: Cidr 192.0.2.0/24"],
        "fabrikam.example": ["wide: Hostname example", "narrow: Regex fabrikam"],
        "twice.example": ["wide: String twice.example", "narrow: String twice.example"],
    }


@given(st.data())
def test_networks_are_those_around_the_address(data: st.DataObject) -> None:
    number = st.integers(0, 255)
    prefix = st.integers(20, 32)
    octets = st.builds("198.51.{}.{}".format, number, number)
    written = data.draw(st.lists(st.builds("{}/{}".format, octets, prefix), max_size=30))
    wanted = data.draw(octets)
    lists = of((ENABLED, [(CIDR, text) for text in written]))
    around = [ip_network(text, strict=False) for text in written]
    holding = [net for net in around if ip_network(wanted).subnet_of(net)]  # type: ignore[arg-type]
    best = max(holding, key=lambda net: net.prefixlen, default=None)
    known = lists.known(ADDRESS, wanted)
    if best is None:
        assert not known
    else:
        shown = str(best.network_address) if best.prefixlen == 32 else str(best)
        assert known[0].entry == shown


@given(
    st.lists(st.text("ab.-", min_size=4, max_size=9), min_size=1, max_size=8), st.text("ab.-", max_size=20)
)
def test_parts_are_found_wherever_they_stand(parts: list[str], text: str) -> None:
    made = Allowance()
    made.add(replace(ENABLED, id=1), [(SUB, part, None) for part in parts])
    expected = max((part for part in parts if part in text), key=lambda part: (len(part), part), default=None)
    known = made.known(IndicatorType.FILE_NAME, text)
    assert (known[0].entry if known else None, len(known)) == (
        (None, 0) if expected is None else (known[0].entry, 1)
    )
    assert expected is None or (len(known[0].entry) == len(expected) and known[0].entry in text)


# What a detection is about


def met(kind: DetectionFunction, canonical: str, *hosts: str) -> Detection:
    """A detection of a domain indicator whose event holds these names."""
    owned = indicator(definition(uid="u"), function=kind, value=canonical, canonical=canonical)
    seen = detection(indicator(definition(uid="u")), "", 1)
    evidence = tuple(Evidence("query", Role.OBSERVED, None, host, raises=True) for host in hosts)
    return replace(seen, indicator=owned, evidence=evidence)


def test_of_what_is_wider_than_a_value_each_met_one_must_be_known() -> None:
    below, contains = DetectionFunction.SUBDOMAIN_OF, DetectionFunction.CONTAINS
    lists = of(
        (
            AllowList("quiet", enabled=True, action=SUPPRESS),
            [(S, "a.contoso.example"), (S, "fabrikam.example")],
        ),
        (AllowList("loud", enabled=True), [(S, "b.contoso.example")]),
    )
    assert lists.over(met(below, "contoso.example", "A.contoso.example.")).silenced is Silenced.ALLOW_LIST
    mixed = lists.over(met(below, "contoso.example", "a.contoso.example", "b.contoso.example"))
    assert (mixed.raises, mixed.allow_lists) == (True, ("loud: String b.contoso.example",))
    unknown = met(below, "contoso.example", "a.contoso.example", "c.contoso.example")
    assert lists.over(unknown) is unknown
    assert lists.over(met(contains, "contoso", "a.contoso.example")).silenced is Silenced.ALLOW_LIST
    assert lists.over(met(below, "fabrikam.example", "x.fabrikam.example")).silenced is Silenced.ALLOW_LIST
    # A part of a value is no value, whatever it looks like.
    assert not lists.known_of(DOMAIN, contains, "fabrikam.example")
    silent = replace(met(below, "fabrikam.example"), raises=False)
    assert lists.over(silent) is silent


# Files


def test_files_of_lists(tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    one = {"name": "N", "type": "hostname", "list": ["a.example", 7], "matching_attributes": ["url"]}
    file.write_text(json.dumps(one), "utf-8")
    (found,) = warning_lists.read(str(file))
    assert (found.name, found.attributes) == ("N", ("url",))
    assert found.values == [(1, HOST, "a.example"), (2, HOST, "7")]
    file.write_text("match_type,value,list\ncidr,192.0.2.0/24,nets\nstring,a.example,names\n", "utf-8")
    assert [one.name for one in warning_lists.read(str(file))] == ["nets", "names"]
    assert [one.name for one in warning_lists.read(str(file), "names")] == ["names"]
    file.write_text("# mine\na.example\n\n", "utf-8")
    assert warning_lists.read(str(file), "mine", HOST)[0].values == [(2, HOST, "a.example")]
    with pytest.raises(InputError, match="--name"):
        warning_lists.read(str(file))
    for text, said in (
        ('{"name": "x"}', "no list of values"),
        ("[1]", "no object"),
        ("{", "is not JSON"),
        ('{"name": "x", "type": "glob", "list": []}', "no kind of list"),
        ("match_type,value,list\nglob,a,b\n", "no kind of list"),
        ("match_type,value,list\nstring,a\n", "missing"),
    ):
        file.write_text(text, "utf-8")
        with pytest.raises(MalformedFile, match=said):
            warning_lists.read(str(file))
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(MalformedFile, match="not UTF-8"):
        warning_lists.read(str(file), "x", HOST)


@pytest.mark.full
@pytest.mark.skipif(not REAL.exists(), reason="needs the public warning lists of ../shared")
def test_the_public_lists_are_taken_as_they_are() -> None:
    read = warning_lists.read(str(REAL))
    made, refused, count = Allowance(), [], 0
    for number, one in enumerate(read, 1):
        types = allow.types_of(one.attributes or ())
        ready = []
        for _, kind, text in one.values if types else ():
            try:
                ready += allow.entries(kind, text, types)
            except InvalidValue:
                refused.append(text)
        made.add(AllowList(one.name, id=number, types=types), [(e.kind, e.value, e.type) for e in ready])
        count += len(ready)
    assert (len(read), sum(len(one.values) for one in read)) == (136, 528_972)
    # What is refused is no value of its list's types: `.google.ad`, `corona helden`.
    assert len(refused) == 357
    assert count == 528_767
    decided = {
        value: str(made.known(kind, value)[0])
        for kind, value in (
            (ADDRESS, "8.8.8.8"),
            (ADDRESS, "10.0.0.0/9"),
            (DOMAIN, "x.duckdns.org"),
            (IndicatorType.MD5, EMPTY),
            (URL, "https://bit.ly/x"),
        )
    }
    assert decided == {
        "8.8.8.8": "public-dns-v4: Cidr 8.8.8.8",
        "10.0.0.0/9": "rfc1918: Cidr 10.0.0.0/8",
        "x.duckdns.org": "dynamic-dns: Hostname duckdns.org",
        EMPTY: f"common-ioc-false-positive: String {EMPTY}",
        "https://bit.ly/x": "link-in-bio: Hostname bit.ly",
    }


# In the store


@pytest.fixture
def path(tmp_path: Path, database: str) -> Path:
    """Where the store of a test lies."""
    return tmp_path / "indicia.db"


@pytest.fixture
def tenant(path: Path) -> Iterator[TenantStore]:
    """A tenant with a definition of three indicators; the store is sound after the test."""
    with opened(path) as found:
        add(found, 3)
        yield found
    sound(path)


def put(tenant: TenantStore, name: str, *names: str, **changes: Any) -> AllowList:
    """A list in force of these names."""
    found = [AllowEntry(S, text, DOMAIN) for text in names]
    return tenant.allow_lists.put(AllowList(name, enabled=True, **changes), found, "ann")


def test_what_is_to_be_checked_must_be_there(tenant: TenantStore) -> None:
    before = put(tenant, "mine", "one.example")
    tenant.allow_lists.delete(before.id)
    with pytest.raises(NotFound, match="mine"):
        tenant.allow_lists.put(before, [], "ann", lambda _list: None)
    assert tenant.allow_lists.all() == []


def seen(tenant: TenantStore, event: int, value: int = 0, **more: Any) -> Detection:
    """An event that holds one of the values."""
    return detection(tenant.indicators()[value], tenant.uid, event, **more)


def test_annotated_detections_raise_and_say_so(tenant: TenantStore) -> None:
    put(tenant, "public", "host-0.example")
    (alert,) = tenant.record([seen(tenant, 0)]).opened
    assert alert.allow_lists == ("public: String host-0.example",)
    tenant.record([seen(tenant, 1, 1)])
    assert tenant.alert(alert.number).allow_lists == ("public: String host-0.example",)
    put(tenant, "more", "host-1.example")
    tenant.record([seen(tenant, 2, 1), seen(tenant, 2, 1)])
    named = ("more: String host-1.example", "public: String host-0.example")
    assert tenant.alert(alert.number).allow_lists == named
    kept = [found for _, found in tenant.detections()]
    assert [found.raises for found in kept] == [True] * 3
    assert [found.allow_lists for found in kept] == [named[1:], (), named[:1]]
    more = parse.predicate(f"AllowListId eq {kept[2].allow_list_id}", parse.context(DETECTION))
    assert [found.number for found in tenant.select(DETECTION, Query(more)).found] == [3]
    assert [found.allow_lists for found in tenant.select(ALERT, Query()).found] == [named]
    assert tenant.allow_lists.one("more").suppressed_count == 0


def test_a_list_that_suppresses_keeps_silent_and_counts(tenant: TenantStore) -> None:
    made = put(tenant, "quiet", "host-0.example", action=SUPPRESS)
    recorded = tenant.record([seen(tenant, 0), seen(tenant, 1, 1)])
    assert (recorded.new_detections, recorded.new_alerts) == (2, 1)
    ((_, silent),) = tenant.detections(raises=False)
    assert (silent.silenced, silent.allow_list_id) == (Silenced.ALLOW_LIST, made.id)
    assert silent.allow_lists == ("quiet: String host-0.example",)
    found = tenant.allow_lists.one("quiet")
    assert found.suppressed_count == 1
    assert found.last_suppressed_at is not None
    # What is silent stays so, also when the list is gone.
    tenant.allow_lists.delete("quiet")
    assert tenant.record([seen(tenant, 0)]).new_detections == 0
    assert tenant.record([seen(tenant, 5)]).grown[0].detection_count == 2
    which = parse.predicate(f"AllowListId eq {made.id}", parse.context(DETECTION))
    assert tenant.count(DETECTION, which) == 1


def test_every_process_follows_the_lists(path: Path, tenant: TenantStore) -> None:
    with Store.open(url(path)) as other:
        theirs = other.tenant("contoso")
        assert theirs.record([seen(tenant, 0)]).new_alerts == 1
        put(tenant, "quiet", "host-0.example", action=SUPPRESS)
        assert not theirs.record([seen(tenant, 50)]).opened
        tenant.allow_lists.change("quiet", {"enabled": False}, "ann")
        assert theirs.record([seen(tenant, 100)]).new_alerts == 1
        tenant.allow_lists.change("quiet", {"enabled": True, "action": ANNOTATE}, "ann")
        assert theirs.record([seen(tenant, 150)]).opened[0].allow_lists


def test_lists_are_changed_and_who_did_it_is_kept(tenant: TenantStore) -> None:
    made = put(tenant, "one", "a.example", "b.example", "a.example")
    assert (made.entry_count, made.created_by) == (2, "ann")
    again = put(tenant, "one", "c.example", action=SUPPRESS)
    assert (again.id, again.entry_count, again.action) == (made.id, 1, ANNOTATE), "its owner's words stay"
    assert [one.value for one in tenant.allow_lists.entries("one")] == ["c.example"]
    put(tenant, "two")
    with pytest.raises(InvalidValue, match="already"):
        tenant.allow_lists.change("two", {"name": "one"}, "ann")
    with pytest.raises(InvalidValue, match="cannot be changed"):
        tenant.allow_lists.change("two", {"id": 7}, "ann")
    with pytest.raises(InvalidValue, match="at most"):
        put(tenant, "x" * 101)
    with pytest.raises(InvalidValue, match="empty"):
        put(tenant, " ")
    before = tenant.allow_lists.one("two")
    assert tenant.allow_lists.change("two", {"owner": ""}, "ann") == before
    tenant.allow_lists.change("two", {"owner": "soc", "action": SUPPRESS}, "bob")
    tenant.allow_lists.delete("one")
    with pytest.raises(NotFound):
        tenant.allow_lists.one("one")
    log = [
        (one.action, one.after or one.before) for one in tenant.audit_log() if one.set_name == "AllowLists"
    ]
    assert log == [
        (AuditAction.CREATE, '{"Name": "one", "Entries": 2}'),
        (AuditAction.IMPORT, '{"Name": "one", "Entries": 1}'),
        (AuditAction.CREATE, '{"Name": "two", "Entries": 0}'),
        (AuditAction.CHANGE, '{"Owner": "soc", "Action": "Suppress"}'),
        (AuditAction.DELETE, '{"Name": "one", "Entries": 1}'),
    ]


def test_lists_have_a_limit(tenant: TenantStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_lists, "MOST_ENTRIES", 2)
    put(tenant, "one", "a.example", "b.example")
    put(tenant, "one", "c.example", "d.example")
    with pytest.raises(QuotaExceeded, match="2 of 2 entries"):
        put(tenant, "two", "e.example")
    assert [one.name for one in tenant.allow_lists.all()] == ["one"]
    monkeypatch.setattr(kept_lists, "MOST_PATTERNS", 0)
    with pytest.raises(QuotaExceeded, match="regular expressions"):
        tenant.allow_lists.put(AllowList("one"), [AllowEntry(REGEX, "a")], "ann")
    monkeypatch.setattr(kept_lists, "MOST_LISTS", 1)
    with pytest.raises(QuotaExceeded, match="allow-lists"):
        put(tenant, "two")


def test_a_preview_says_what_then_comes(tenant: TenantStore) -> None:
    tenant.record([seen(tenant, number, number % 3, machine=f"host-{number % 2}") for number in range(4)])
    tenant.record([seen(tenant, 90, 0)])
    made = put(tenant, "mine", "host-0.example", "host-1.example", action=SUPPRESS)
    put(tenant, "narrower", "host-1.example")
    tenant.allow_lists.change("mine", {"enabled": False}, "ann")
    found = tenant.allow_lists.preview("mine", 1)
    assert (found.indicators.seen, found.indicators.suppressed, found.indicators.annotated) == (3, 2, 0)
    assert (found.detections.seen, found.detections.suppressed) == (5, 4)
    assert found.detections.entries == {"String host-0.example": 3, "String host-1.example": 1}
    assert found.alerts == 2
    assert tenant.allow_lists.preview("mine", 1, ANNOTATE).detections.annotated == 4
    assert not tenant.allow_lists.one("mine").enabled, "a preview changes nothing"
    tenant.allow_lists.change("mine", {"enabled": True}, "ann")
    again = [replace(one, id=f"{n:032x}", alert_id=f"{one.alert_id[:-1]}x") for n, one in tenant.detections()]
    outcome = tenant.record(again)
    assert (sum(one.detection_count for one in outcome.opened), len(outcome.opened)) == (1, 1)
    assert tenant.allow_lists.one("mine").suppressed_count == 4
    assert made.id


@given(st.permutations(range(6)), st.integers(1, 5))
def test_what_an_alert_names_does_not_depend_on_the_order(order: list[int], cut: int) -> None:
    owned = indicator(definition(uid="u"))
    found = [replace(detection(owned, "", n % 3), allow_lists=(f"l{n}: x", "l0: x")) for n in range(6)]
    one_by_one = None
    for number in order:
        one_by_one = triage.merge(one_by_one, found[number])
    in_two = triage.merge_all(None, [found[n] for n in order[:cut]])
    in_two = triage.merge_all(in_two, [found[n] for n in order[cut:]])
    assert one_by_one is not None
    assert one_by_one.allow_lists == in_two.allow_lists == tuple(f"l{n}: x" for n in range(6))


def test_an_author_is_warned(tenant: TenantStore) -> None:
    put(tenant, "quiet", "host-0.example", action=SUPPRESS)
    warn = allow.warnings(tenant.allow_lists.allowance())
    known, unknown, _ = tenant.indicators()
    assert warn(known) == (
        "host-0.example is on an allow-list (quiet: String host-0.example): it raises no alert",
    )
    assert warn(unknown) == ()
