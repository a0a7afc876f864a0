"""Every page of the portal's route table with something in it, as axe-core sees it: none can be forgotten."""

from __future__ import annotations

import pytest

from browser import WIDTHS, Portal
from furnished import furnish, scan, upload
from screenshots import MORE, paths

pytestmark = pytest.mark.full


def test_every_page_is_for_everybody(portal: Portal) -> None:
    furnish(portal.tenant)
    scan(portal.tenant)
    upload(portal.tenant)
    wrong = []
    for scheme, width in (("light", "wide"), ("dark", "narrow")):
        page = portal.tab(width=WIDTHS[width], scheme=scheme)
        for path in paths(portal.tenant):
            answer = page.goto(portal.process.url + path)
            assert answer is not None
            assert answer.status == (404 if path == MORE[0] else 200), path
            try:
                portal.accessible(page)
            except AssertionError as fault:
                wrong.append(f"{path}, {scheme}, {width}: {fault}")
    assert not wrong, "\n".join(wrong)
