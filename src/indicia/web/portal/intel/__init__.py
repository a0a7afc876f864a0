"""What is looked for: alert definitions, indicators, and the ways in which they come.

`fields` reads forms by the rules of the API's own bodies, `filters` the filters of lists, `choices` lists
what can be chosen; `definitions` and `indicators` are lists, pages and forms, `bulk` what is done to many;
`paste` and `upload` bring in new ones, `trial` shows why one meets an event or does not.
"""

from __future__ import annotations

from indicia.web.portal.intel import bulk, definitions, indicators, paste, trial, upload
from indicia.web.portal.pages import Page

PAGES: tuple[Page, ...] = (
    *definitions.PAGES,
    *indicators.PAGES,
    *bulk.PAGES,
    *paste.PAGES,
    *upload.PAGES,
    *trial.PAGES,
)
