"""Rows of lists become indicators, and published lists give what stands in them."""

from __future__ import annotations

import tarfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from indicia import feeds
from indicia.errors import InvalidValue
from indicia.feeds import FeedFault, FeedRow, make
from indicia.model import AlertDefinition, Category, DetectionFunction, GroupBy, IndicatorType, Severity

MD5 = "0123456789abcdef0123456789abcdef"
SHA1 = f"{MD5}01234567"
SHA256 = f"{MD5}{MD5}"
OWNER = AlertDefinition(
    uid="5e1f9f0e-0000-4000-8000-000000000003",
    name="Feed",
    title="A feed",
    severity=Severity.LOW,
    category=Category.GENERAL,
)
EQUALS, SUBDOMAIN = DetectionFunction.EQUALS, DetectionFunction.SUBDOMAIN_OF


# Rows to indicators


def made(row: FeedRow, choice: make.Choice) -> tuple[DetectionFunction, str, tuple[str, ...]]:
    indicator, warnings = make.indicator(row, OWNER, choice)
    return indicator.function, indicator.canonical, warnings


NAME = FeedRow(1, IndicatorType.DOMAIN_NAME, "Evil.example.com.")
SUFFIX = FeedRow(1, IndicatorType.DOMAIN_NAME, "duckdns.org")
SUFFIX_WORDS = "duckdns.org is a public suffix: unrelated people own the names below it"


def test_subdomainof_goes_to_names_alone() -> None:
    choice = make.Choice(SUBDOMAIN)
    assert made(NAME, choice) == (SUBDOMAIN, "evil.example.com", ())
    assert made(FeedRow(1, IndicatorType.MD5, MD5), choice) == (EQUALS, MD5, ())
    contains = FeedRow(1, IndicatorType.URL, "evil", DetectionFunction.CONTAINS)
    assert made(contains, choice)[0] is DetectionFunction.CONTAINS


@pytest.mark.parametrize("choice", [make.Choice(SUBDOMAIN), make.Choice(subdomains=True)])
def test_a_public_suffix_is_taken_as_equals_and_told(choice: make.Choice) -> None:
    assert made(SUFFIX, choice) == (EQUALS, "duckdns.org", (f"{SUFFIX_WORDS}; taken as Equals",))
    below = SUFFIX._replace(value="marzo1.duckdns.org")
    assert made(below, choice) == (SUBDOMAIN, "marzo1.duckdns.org", ())


def test_a_public_suffix_stays_subdomainof_where_it_was_forced_or_named_by_its_row() -> None:
    kept = (SUBDOMAIN, "duckdns.org", (SUFFIX_WORDS,))
    assert made(SUFFIX, make.Choice(SUBDOMAIN, force=True)) == kept
    assert made(SUFFIX._replace(function=SUBDOMAIN), make.Choice(subdomains=True)) == kept


def test_the_function_that_was_asked_for_wins_over_the_rows_own() -> None:
    row = NAME._replace(function=SUBDOMAIN)
    assert made(row, make.Choice()) == (SUBDOMAIN, "evil.example.com", ())
    assert made(row, make.Choice(EQUALS))[0] is EQUALS


def test_warnings_of_networks_and_endings() -> None:
    wide = FeedRow(1, IndicatorType.IP_ADDRESS, "8.0.0.0/7")
    assert made(wide, make.Choice())[2] == ("8.0.0.0/7 is a very wide network",)
    end = NAME._replace(function=DetectionFunction.END_WITH)
    assert "also meets notevil.example.com" in made(end, make.Choice())[2][0]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (FeedRow(1, IndicatorType.MD5, MD5[1:]), "Value: '123456789abcdef0123456789abcdef' is not an MD5"),
        (FeedRow(1, IndicatorType.MD5, SHA1), "32 hexadecimal digits; its length is that of the Type Sha1"),
        (
            FeedRow(1, IndicatorType.DOMAIN_NAME, "*.evil.example"),
            "not a domain name; for all names below one, use SubdomainOf",
        ),
        (
            FeedRow(1, IndicatorType.URL, "exe", DetectionFunction.CONTAINS),
            "Value: Contains needs at least 4 characters",
        ),
        (
            FeedRow(1, IndicatorType.MD5, MD5, SUBDOMAIN),
            "DetectionFunction: SubdomainOf goes with DomainName alone",
        ),
        (FeedRow(1, IndicatorType.URL, "x" * 4097), "Value: has 4097 characters; at most 4096 are allowed"),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused_with_it(row: FeedRow, words: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        make.indicator(row, OWNER, make.Choice())
    assert words in make.words(refused.value)


def test_a_defanged_value_is_refanged_though_its_type_is_named() -> None:
    for kind, value, plain in (
        (IndicatorType.DOMAIN_NAME, "evil[.]example", "evil.example"),
        (IndicatorType.IP_ADDRESS, "192.0.2[.]1", "192.0.2.1"),
        (IndicatorType.URL, "hxxp://evil.example/x", "http://evil.example/x"),
        (IndicatorType.URL, "https://evil[.]example/x", "https://evil.example/x"),
        (IndicatorType.URL, "https://evil.example/?q=(dot)", "https://evil.example/?q=(dot)"),
        (IndicatorType.FILE_NAME, "a[.]exe", "a[.]exe"),
    ):
        indicator, _ = make.indicator(FeedRow(1, kind, value), OWNER, make.Choice())
        assert (indicator.value, indicator.canonical) == (plain, plain)


def test_times_must_be_in_their_order() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    row = NAME._replace(valid_from=noon, expires_at=noon)
    with pytest.raises(InvalidValue, match="earlier") as refused:
        make.indicator(row, OWNER, make.Choice())
    assert refused.value.target == "ValidFrom"


def test_provenance_is_the_rows_own_else_that_of_the_choice_and_is_cut() -> None:
    choice = make.Choice(source="the feed")
    assert make.indicator(NAME, OWNER, choice)[0].source == "the feed"
    assert make.indicator(NAME._replace(source="a report"), OWNER, choice)[0].source == "a report"
    assert len(make.indicator(NAME._replace(source="x" * 501), OWNER, choice)[0].source or "") == 500


# A list with definitions of its own


def read_list(folder: Path, content: str) -> list[FeedRow | FeedFault]:
    path = folder / "list"
    path.write_text(content, "utf-8")
    return list(feeds.read(str(path)))


def test_a_list_brings_its_own_definitions(tmp_path: Path) -> None:
    read = read_list(
        tmp_path,
        "type,value,definition,title,severity,category,group_by,enabled\n"
        "domain,evil.example,C2,Calls home,High,CommandAndControl,indicator,\n"
        "domain,evil.example.,C2,Another title,,,,\n"
        "ip,192.0.2.1,C2,,,,,\n"
        "md5,nonsense,C2,,,,,\n"
        f"md5,{MD5},,,,,,\n"
        f"sha1,{SHA1},,,Terrible,,,\n"
        f"sha256,{SHA256},,,,,,false\n",
    )
    own = make.OwnList("list.csv")
    found = own.indicators(read)
    assert [(indicator.definition.name, indicator.canonical) for indicator in found] == [
        ("C2", "evil.example"),
        ("C2", "192.0.2.1"),
        ("list.csv", MD5),
    ]
    first = found[0].definition
    assert (first.title, first.severity, first.category) == (
        "Calls home",
        Severity.HIGH,
        Category.COMMAND_AND_CONTROL,
    )
    assert first.group_by is GroupBy.INDICATOR
    assert found[1].definition is first
    assert [fault.line for fault in own.faults] == [5, 7]
    assert own.faults[1].reason.startswith("'Terrible' is no severity; known: ")


def test_a_lists_uid_is_its_content_in_any_order(tmp_path: Path) -> None:
    lines = ["type,value", "domain,evil.example", "ip,192.0.2.1", "domain,EVIL.example"]
    uids = {
        make.OwnList(name).indicators(read_list(tmp_path, "\n".join(text) + "\n"))[0].definition.uid
        for name, text in (("a", lines), ("b", [lines[0], *lines[:0:-1]]))
    }
    assert len(uids) == 1
    other = make.OwnList("a").indicators(read_list(tmp_path, "\n".join(lines[:2]) + "\n"))
    assert other[0].definition.uid not in uids
    named = make.OwnList("a").indicators(read_list(tmp_path, "value,definition_uid\nevil.example,u-7\n"))
    assert named[0].definition.uid == "u-7"


# Published lists


@pytest.fixture(scope="module")
def published(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text lists and CSV that three publishers put on the web."""
    folder = tmp_path_factory.mktemp("published")
    with (
        zstandard.open(shared / "data" / "indicators" / "originals.tar.zst", "rb") as packed,
        tarfile.open(fileobj=packed, mode="r|") as archive,
    ):
        for member in archive:
            if member.isfile() and not member.name.endswith((".json", ".stix2", ".ioc")):
                archive.extract(member, folder, filter="data")
    return folder


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "counts", "faults"),
    [
        ("amnesty/2021-07-18_nso/domains.txt", {"DomainName": 1438}, 0),
        ("amnesty/2021-07-18_nso/emails.txt", {}, 0),
        ("eset/modiloader/samples.sha1", {"Sha1": 12}, 1),
        ("pan-unit42/Conti_IOCs.txt", {"IpAddress": 8, "DomainName": 3, "Sha256": 44}, 0),
        ("pan-unit42/BazarCall/Appendix-B.txt", {"DomainName": 31}, 1),
        ("pan-unit42/Shade_ransomware/Shade-ransomware-URLs-March-and-April-2019.txt", {"Url": 203}, 2),
        (
            "pan-unit42/iran_linked_operators/OilRig.csv",
            {"DomainName": 25, "FileName": 8, "IpAddress": 12, "Sha256": 63},
            0,
        ),
        ("pan-unit42/iran_linked_operators/Shamoon.csv", {"FileName": 37, "Sha256": 33}, 2),
        ("pan-unit42/gorgon/hashes.csv", {"Sha256": 1085}, 0),
        ("pan-unit42/squirtdanger/squirtdanger_samples.csv", {"Sha256": 1324, "Sha1": 1324, "Md5": 1324}, 0),
        ("pan-unit42/silverterrier/domains17.csv", {"DomainName": 6275, "IpAddress": 1}, 0),
    ],
)
def test_a_published_list_gives_what_stands_in_it(
    published: Path, name: str, counts: dict[str, int], faults: int
) -> None:
    found = list(feeds.read(str(next(published.rglob(name)))))
    assert Counter(str(row.type) for row in found if isinstance(row, FeedRow)) == counts
    assert sum(isinstance(row, FeedFault) for row in found) == faults


@pytest.mark.full
def test_every_sample_list_of_hashes_is_read_whole(published: Path) -> None:
    """eset's lists are one hash a line, so that their lines can be counted in another way."""
    lists = sorted(published.rglob("eset/*/samples.*"))
    assert len(lists) == 333
    for path in lists:
        found = list(feeds.read(str(path)))
        lines = [
            text for line in path.read_text("utf-8").splitlines() if (text := line.partition("#")[0].strip())
        ]
        assert len(found) == len(lines), path.name
        types = {str(row.type).lower() for row in found if isinstance(row, FeedRow)}
        assert types == {path.suffix[1:].replace("txt", "sha256")}, path.name
        assert sum(isinstance(row, FeedFault) for row in found) == (
            path.parent.name == "modiloader" and path.suffix == ".sha1"
        )


@pytest.mark.full
@pytest.mark.no_cover
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_what_published_lists_give_becomes_indicators(published: Path, every: int) -> None:
    """What was read has a canonical form, but for three of 560 files' values, typed wrongly by publishers."""
    refused = []
    for path in sorted(path for path in published.rglob("*") if path.is_file()):
        for row in feeds.read(str(path)):
            if isinstance(row, FeedRow) and row.line % every == 0:
                try:
                    make.indicator(row, OWNER, make.Choice())
                except InvalidValue as error:
                    refused.append((path.name, row.line, make.words(error)))
    wrong = [
        ("APT33.csv", 52),  # an MD5 of 30 digits
        ("MuddyWater.csv", 46),  # an address with a port
        ("MuddyWater.csv", 47),
    ]
    assert sorted((name, line) for name, line, _ in refused) == [one for one in wrong if one[1] % every == 0]
