"""The nouns that every stage of the road exchanges, their enums and their limits.

All of them are frozen: parse at the edge, then pass values. Times are timezone-aware UTC `datetime`s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from typing import TypeVar

_Noun = TypeVar("_Noun")


class _Word(StrEnum):
    """An enum whose members are keys where every event comes by: their hash is that of the string."""

    __hash__ = str.__hash__


class IndicatorType(_Word):
    """What an indicator's value is. Url and FileName are extensions of the published five."""

    SHA1 = "Sha1"
    SHA256 = "Sha256"
    MD5 = "Md5"
    IP_ADDRESS = "IpAddress"
    DOMAIN_NAME = "DomainName"
    URL = "Url"
    FILE_NAME = "FileName"


class DetectionFunction(_Word):
    """How a value is met. SubdomainOf is an extension of the published four."""

    EQUALS = "Equals"
    START_WITH = "StartWith"
    END_WITH = "EndWith"
    CONTAINS = "Contains"
    SUBDOMAIN_OF = "SubdomainOf"


class Severity(StrEnum):
    """Alert severities of the original product."""

    INFORMATIONAL = "Informational"
    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


class Category(StrEnum):
    """Alert categories of the original product's era."""

    NONE = "None"
    SUSPICIOUS_ACTIVITY = "SuspiciousActivity"
    MALWARE = "Malware"
    CREDENTIAL_THEFT = "CredentialTheft"
    EXPLOIT = "Exploit"
    WEB_EXPLOIT = "WebExploit"
    DOCUMENT_EXPLOIT = "DocumentExploit"
    PRIVILEGE_ESCALATION = "PrivilegeEscalation"
    PERSISTENCE = "Persistence"
    REMOTE_ACCESS_TOOL = "RemoteAccessTool"
    COMMAND_AND_CONTROL = "CommandAndControl"
    SUSPICIOUS_NETWORK_TRAFFIC = "SuspiciousNetworkTraffic"
    RANSOMWARE = "Ransomware"
    MALWARE_DOWNLOAD = "MalwareDownload"
    RECONNAISSANCE = "Reconnaissance"
    WEB_FINGERPRINTING = "WebFingerprinting"
    WEAPONIZATION = "Weaponization"
    DELIVERY = "Delivery"
    SOCIAL_ENGINEERING = "SocialEngineering"
    CREDENTIAL_STEALING = "CredentialStealing"
    INSTALLATION = "Installation"
    BACKDOOR = "Backdoor"
    TROJAN = "Trojan"
    TROJAN_DOWNLOADER = "TrojanDownloader"
    LATERAL_MOVEMENT = "LateralMovement"
    EXPLORATION_ENUMERATION = "ExplorationEnumeration"
    NETWORK_PROPAGATION = "NetworkPropagation"
    EXFILTRATION = "Exfiltration"
    NOT_APPLICABLE = "NotApplicable"
    ENTERPRISE_POLICY = "EnterprisePolicy"
    GENERAL = "General"


class GroupBy(StrEnum):
    """What, beside definition, machine and window, makes two detections one alert (extension)."""

    DEFINITION = "Definition"
    INDICATOR = "Indicator"


class AlertStatus(StrEnum):
    """Where an alert stands."""

    NEW = "New"
    IN_PROGRESS = "InProgress"
    RESOLVED = "Resolved"


class Classification(StrEnum):
    """What an alert turned out to be."""

    UNKNOWN = "Unknown"
    FALSE_POSITIVE = "FalsePositive"
    TRUE_POSITIVE = "TruePositive"


class Determination(StrEnum):
    """What was behind an alert."""

    NOT_AVAILABLE = "NotAvailable"
    APT = "Apt"
    MALWARE = "Malware"
    SECURITY_PERSONNEL = "SecurityPersonnel"
    SECURITY_TESTING = "SecurityTesting"
    UNWANTED_SOFTWARE = "UnwantedSoftware"
    OTHER = "Other"


class Silenced(StrEnum):
    """Why a detection that would raise opens no alert and is in none."""

    SUPPRESSION = "Suppression"
    STORM = "Storm"
    ALLOW_LIST = "AllowList"
    OWN = "Own"
    """Its event is a message of one of the tenant's outputs."""


class Through(StrEnum):
    """By which door a change came."""

    API = "Api"
    COMMAND_LINE = "CommandLine"
    PROGRAM = "Program"
    """Code that opened the store itself."""
    PORTAL = "Portal"


class AuditAction(StrEnum):
    """What was done."""

    CREATE = "Create"
    CHANGE = "Change"
    DELETE = "Delete"
    DELETE_MANY = "DeleteMany"
    BULK_UPLOAD = "BulkUpload"
    IMPORT = "Import"
    COMMENT = "Comment"
    REVOKE = "Revoke"
    SIGN_IN = "SignIn"
    SIGN_OUT = "SignOut"


class Role(_Word):
    """Whether a field means a value (observed) or a text only holds it (mentioned)."""

    OBSERVED = "observed"
    MENTIONED = "mentioned"


class Side(_Word):
    """The end of a connection on which an address was observed."""

    SOURCE = "source"
    DESTINATION = "destination"


class TimeNote(StrEnum):
    """Why an event has no usable time."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    ABSURD = "absurd"


NAME_LIMIT = 100
INTERNAL_DESCRIPTION_LIMIT = 350
TITLE_LIMIT = 120
UX_DESCRIPTION_LIMIT = 500
RECOMMENDED_ACTION_LIMIT = 2000
VALUE_LIMIT = 4096
"""Characters of an indicator's value (ours; the longest real one of 3.3 million has fewer)."""
SOURCE_LIMIT = 500
ASSIGNED_TO_LIMIT = 200
COMMENT_LIMIT = 4000
REASON_LIMIT = 500
MACHINE_LIMIT = 1000
EVENT_LIMIT = 16_384
"""Characters of an event that are kept with its detections."""
BULK_LIMIT = 5000
"""Entities of one bulk upload (contract)."""
PATTERN_MINIMUM = 4
"""Characters that StartWith, EndWith and Contains need unless forced."""
WINDOW_SECONDS = 86_400
"""Length of an alert's window of event time unless the definition says otherwise."""


def _sent_as_arguments(noun: type[_Noun]) -> type[_Noun]:
    """Pickled as a call with all its fields: twice as fast as the state that frozen dataclasses keep."""
    values = attrgetter(*(one.name for one in fields(noun)))  # type: ignore[arg-type]
    noun.__reduce__ = lambda self: (noun, values(self))  # type: ignore[method-assign]
    return noun


@dataclass(frozen=True, slots=True)
class Quotas:
    """Per tenant; beyond: QuotaExceeded (507)."""

    definitions: int = 10_000
    indicators: int = 10_000_000
    patterns: int = 1_000_000
    """Indicators whose function is StartWith, EndWith or Contains; SubdomainOf costs what Equals costs."""
    alerts_per_hour: int = 1000
    """Alerts that one definition may open within an hour; what goes beyond is a storm, and one alert."""


@dataclass(frozen=True, slots=True)
class AlertDefinition:
    """A container of indicators, and what an alert shows when one of them matches."""

    uid: str
    """Made at creation, so that a definition made anew raises new alerts; part of every id."""
    name: str
    title: str
    severity: Severity
    category: Category
    id: int = 0
    """The integer key of the API; 0 for a definition that no store has seen."""
    internal_description: str = ""
    ux_description: str = ""
    recommended_action: str | None = None
    enabled: bool = True
    group_by: GroupBy = GroupBy.DEFINITION
    window_seconds: int = WINDOW_SECONDS
    created_at: datetime | None = None
    created_by: str = ""
    last_modified_at: datetime | None = None
    last_modified_by: str | None = None


@_sent_as_arguments
@dataclass(frozen=True, slots=True)
class Indicator:
    """A type, a value and a function: the concrete detection logic. Belongs to one definition."""

    type: IndicatorType
    value: str
    """As its author wrote it."""
    canonical: str
    """As `values.canonical` gives it; the side that is compared and the one in ids."""
    function: DetectionFunction
    definition: AlertDefinition
    id: int = 0
    """The integer key of the API; 0 for an indicator that no store has seen."""
    enabled: bool = True
    valid_from: datetime | None = None
    expires_at: datetime | None = None
    source: str | None = None
    """Provenance: the feed, report or person that it came from (extension)."""
    created_at: datetime | None = None
    created_by: str = ""
    last_modified_at: datetime | None = None
    last_modified_by: str | None = None


@dataclass(frozen=True, slots=True)
class Observable:
    """One value at one place of an event, ready to meet indicators of its type."""

    type: IndicatorType
    value: str
    """Canonical."""
    text: str
    """As the event spells it."""
    path: str
    """Keys joined by `.`, list elements as `[0]`, `{json}`/`{xml}` where a string was opened."""
    role: Role
    side: Side | None = None
    raises: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """What is worked out only for an event that matched: its identity, time and machine."""

    event_id: str
    time: datetime | None
    """UTC; None where the event has no usable time."""
    time_note: TimeNote | None
    machine: str | None
    """As the mapping names it, lower case; None: then an endpoint or the source's name stands in."""
    endpoints: tuple[tuple[Side, str], ...]
    """Canonical addresses of both ends, in the order source, destination."""
    marks: tuple[str, ...] = ()
    """What stands in it and looks like the id of a message of an output."""
    text: str = ""
    """The event as it was written, a row as JSON; one character longer than EVENT_LIMIT where it was cut."""


@dataclass(frozen=True)
class Event:
    """One record of telemetry as its mapping understands it."""

    schema: str
    source: str
    """The name of the file or stream it was read from."""
    line: int
    """1-based line of a text file; 0-based element of a JSON array."""
    observables: tuple[Observable, ...]
    work_out: Callable[[], Facts]

    @cached_property
    def facts(self) -> Facts:
        """Identity, time and machine; worked out at first use, because most events match nothing."""
        return self.work_out()


@_sent_as_arguments
@dataclass(frozen=True, slots=True)
class Evidence:
    """One place where an event met an indicator."""

    path: str
    role: Role
    side: Side | None
    matched: str
    """The text as the event spells it."""
    raises: bool


@_sent_as_arguments
@dataclass(frozen=True, slots=True)
class Detection:
    """One event met one indicator."""

    id: str
    alert_id: str
    event_id: str
    raises: bool
    source: str
    line: int
    event_time: datetime | None
    time_note: TimeNote | None
    machine: str
    indicator: Indicator
    evidence: tuple[Evidence, ...]
    schema: str
    tenant: str = ""
    """The tenant's uid; empty where there are none."""
    window: str = ""
    """The alert's window as its id has it, as `86400/18382`; empty without a usable time."""
    number: int = field(default=0, compare=False)
    """The row's number in the store; 0 for one that was not read through a query."""
    recorded_at: datetime | None = field(default=None, compare=False)
    silenced: Silenced | None = field(default=None, compare=False)
    """Why the store keeps it as one that does not raise, although its evidence does."""
    suppression_id: int | None = field(default=None, compare=False)
    storm_id: str | None = field(default=None, compare=False)
    """The id of the storm's alert that counts it."""
    allow_list_id: int | None = field(default=None, compare=False)
    """The allow-list whose entry is the most specific; it decides."""
    allow_lists: tuple[str, ...] = field(default=(), compare=False)
    """Allow-lists that know the value, with their entries, the most specific first."""
    marks: tuple[str, ...] = field(default=(), compare=False)
    """As `Facts`."""
    event_text: str = field(default="", compare=False, repr=False)
    """As `Facts.text`; the store keeps it aside, and does not give it with the detection."""

    @property
    def definition(self) -> AlertDefinition:
        """The definition of the indicator, as it was."""
        return self.indicator.definition

    @property
    def evidence_texts(self) -> tuple[str, ...]:
        """Each piece of evidence in one line, as `query observed: beacon.example`."""
        return tuple(f"{piece.path} {piece.role}: {piece.matched}" for piece in self.evidence)


@dataclass(frozen=True, slots=True)
class Alert:
    """Detections of one definition on one machine in one window, with the definition as it then was."""

    id: str
    definition: AlertDefinition
    machine: str
    group: str
    """Empty, or type TAB function TAB canonical value of the indicator that it is grouped by."""
    window: str
    first_seen: datetime | None
    """Event time of the earliest detection; None where none had a usable time."""
    last_seen: datetime | None
    detection_count: int
    indicators: tuple[str, ...]
    """Canonical values of the indicators that matched, at most 10, sorted."""
    status: AlertStatus = AlertStatus.NEW
    reopened_count: int = 0
    created_at: datetime | None = None
    last_modified_at: datetime | None = None
    tenant: str = ""
    number: int = 0
    """The row's number in the store; 0 without a store."""
    classification: Classification = Classification.UNKNOWN
    determination: Determination = Determination.NOT_AVAILABLE
    assigned_to: str | None = None
    resolved_at: datetime | None = None
    """Since when it is Resolved; None unless it is."""
    storm: bool = False
    """Whether it stands for the alerts beyond the hourly limit of its definition."""
    allow_lists: tuple[str, ...] = field(default=(), compare=False)
    """Allow-lists that know a value of its detections, with their entries, at most 10, sorted."""


@dataclass(frozen=True, slots=True)
class AlertComment:
    """What somebody wrote about an alert."""

    id: int
    alert_id: str
    text: str
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class AlertChange:
    """One property of an alert that somebody changed, or that a reopening did."""

    id: int
    alert_id: str
    at: datetime
    by: str
    property: str
    """As the API calls it."""
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Suppression:
    """Until when detections of a definition, on a machine, of a value open no alert; None: any."""

    reason: str
    ends_at: datetime
    definition_uid: str | None = None
    definition_id: int | None = None
    machine: str | None = None
    value: str | None = None
    """The indicator's, canonical."""
    alert_id: str | None = None
    """The alert that it was made from."""
    id: int = 0
    created_at: datetime | None = None
    created_by: str = ""
    suppressed_count: int = 0
    last_suppressed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SuppressAlert:
    """What of an alert its suppressions name, until when, and why."""

    ends_at: datetime
    reason: str = ""
    by_definition: bool = True
    by_machine: bool = True
    by_value: bool = True


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, and by which request."""

    name: str = ""
    through: Through = Through.PROGRAM
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change, as it is kept for those who ask who did what."""

    id: int
    at: datetime
    by: str
    through: Through
    request_id: str | None
    action: AuditAction
    set_name: str
    """Of what was changed, as `AlertDefinitions`."""
    key: str | None
    """Of the one entity; None for many."""
    count: int
    """How many entities."""
    before: str | None
    """JSON of what was changed, as it was; texts are cut short."""
    after: str | None
