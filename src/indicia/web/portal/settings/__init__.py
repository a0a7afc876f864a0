"""The portal's settings, an area each: how clients get in, what is told to whom, what is kept, who did it.

`applications` shows one application, for its own page and for that of the original service
(`threat_intel`); secrets and tokens are on the answer to the POST that made them and nowhere else.
"""

from __future__ import annotations

from indicia.web.portal.pages import Page
from indicia.web.portal.settings import (
    allow_lists,
    applications,
    audit,
    outputs,
    quotas,
    retention,
    threat_intel,
)

PAGES: tuple[Page, ...] = (
    *threat_intel.PAGES,
    *applications.PAGES,
    *quotas.PAGES,
    *allow_lists.PAGES,
    *outputs.PAGES,
    *audit.PAGES,
    *retention.PAGES,
)
