"""Every page of the portal's route table with something in it, as axe-core sees it: none can be forgotten."""

from __future__ import annotations

from itertools import islice

import pytest

from browser import WIDTHS, Portal
from furnished import furnish, scan, upload
from screenshots import MORE, paths

pytestmark = pytest.mark.full


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_every_page_is_for_everybody(portal: Portal, every: int) -> None:
    """With 2 each page in one of the two looks, in turns."""
    furnish(portal.tenant)
    scan(portal.tenant)
    upload(portal.tenant)
    wrong = []
    for number, (scheme, width) in enumerate((("light", "wide"), ("dark", "narrow"))):
        page = portal.tab(width=WIDTHS[width], scheme=scheme)
        for path in islice(paths(portal.tenant), number % every, None, every):
            answer = page.goto(portal.process.url + path)
            assert answer is not None
            assert answer.status == (404 if path == MORE[0] else 200), path
            try:
                portal.accessible(page)
            except AssertionError as fault:
                wrong.append(f"{path}, {scheme}, {width}: {fault}")
    assert not wrong, "\n".join(wrong)
