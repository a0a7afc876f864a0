"""Texts of attackers on every page of the portal: none is more than text, none makes a page large."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from administered import HOSTILE
from alerting import alert_of, armed, dns
from furnished import BY, furnish, scan, scans, upload
from indicia.allow import AllowEntry, AllowKind, AllowList
from indicia.model import IndicatorType
from indicia.store import Arrived, TenantStore
from screenshots import PARAMETERS, paths
from service import Local
from visiting import Visiting, add_person

pytestmark = pytest.mark.full
LARGE = HOSTILE * (1_000_000 // len(HOSTILE))
LARGEST = 400_000
"""Bytes of a page."""
MARKUP = (b"<script>alert", b">49<")
CONTROLS = ("\u202e".encode(), b"\x1b", b"\0")
"""Shown by their names; but the field of a form holds a text as it is, else saving would change it."""
FIELDS = re.compile(rb'value="[^"]*"|<textarea[^>]*>[^<]*')


def attacked(service: Local, tenant: TenantStore) -> int:
    """Whatever has a text has a hostile one; the number of the alert."""
    add_person(service.store, tenant.tenant.uid, HOSTILE.replace("\u202e", "").replace("\x1b", ""))
    found = armed(
        tenant,
        name=f"0 {HOSTILE}",
        title=HOSTILE,
        ux_description=LARGE[:500],
        recommended_action=LARGE[:2000],
        internal_description=LARGE[:500],
    )
    (more,) = tenant.add_indicators([replace(found, id=0, value="b.example", source=HOSTILE)], HOSTILE)
    assert more.source == HOSTILE
    lines = [dns(machine=HOSTILE + str(number), CommandLine=LARGE, Image=LARGE) for number in range(3)]
    for line in lines:
        alert = alert_of(tenant, found, line)
    alert = alert_of(tenant, found, dns(machine=LARGE, CommandLine=LARGE))
    tenant.add_comment(alert.number, LARGE[:4000], HOSTILE)
    tenant.change_alert(alert.number, {"assigned_to": HOSTILE}, HOSTILE)
    entries = [AllowEntry(AllowKind.STRING, HOSTILE + "x.example", IndicatorType.DOMAIN_NAME)]
    tenant.allow_lists.put(AllowList("listed", comment=HOSTILE, owner=HOSTILE), entries, HOSTILE)
    now = datetime.now(UTC)
    tenant.overview.note_sources([Arrived(HOSTILE, 1, 1, 1, now, now)])
    log = dns(query="evil.example", machine=HOSTILE, CommandLine=LARGE[:60_000]).encode()
    scans(tenant).begin(f"{HOSTILE}.log", io.BytesIO(log), BY, 2**20, record=False)
    return alert.number


def test_texts_of_attackers_are_text_on_every_page(
    service: Local, tenant: TenantStore, alex: Visiting
) -> None:
    number = attacked(service, tenant)
    furnish(tenant)
    scan(tenant)
    upload(tenant)
    asked = [*paths(tenant), f"/portal/alerts/{number}", "/portal/alerts?status=all", "/portal/?period=24h"]
    assert len(asked) > len(PARAMETERS)
    seen = 0
    for path in asked:
        reply = alex.get(path)
        assert reply.status in (200, 303, 404), path
        assert not [one for one in MARKUP if one in reply.body], path
        shown = FIELDS.sub(b"", reply.body)
        assert not [one for one in CONTROLS if one in shown], path
        assert len(reply.body) < LARGEST, path
        seen += b"&lt;script&gt;alert" in reply.body
    assert seen > 8, "these texts stood on few pages"
