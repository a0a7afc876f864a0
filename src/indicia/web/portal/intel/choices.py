"""What forms offer: definitions to choose from, found again by what was chosen or written."""

from __future__ import annotations

from urllib.parse import quote

from indicia.errors import InvalidValue, NotFound
from indicia.model import AlertDefinition
from indicia.odata import options
from indicia.odata.entities import ALERT_DEFINITION
from indicia.store import TenantStore
from indicia.web.portal.intel.fields import OWNER

OFFERED = 200
"""Definitions that a form lists; more are found by id or name."""
_DIGITS = 18


def definitions(tenant: TenantStore, chosen: str = "") -> dict[str, object]:
    """For the macro `choose`: definitions by name, whether these are all, and the one that is chosen."""
    query = options.parse(f"$orderby=Name&$top={OFFERED}", options.LIST_OPTIONS, ALERT_DEFINITION).query
    found: list[AlertDefinition] = tenant.select(ALERT_DEFINITION, query).found
    return {"offered": found, "whole": tenant.counts().definitions <= len(found), "chosen": chosen}


def definition(tenant: TenantStore, text: str, target: str = OWNER) -> AlertDefinition:
    """The definition that somebody chose: by its id, or by its name where one has it. InvalidValue."""
    wanted = text.strip()
    if not wanted:
        raise InvalidValue("choose one: an indicator belongs to an alert definition", target=target)
    if wanted.isascii() and wanted.isdecimal() and len(wanted) <= _DIGITS:
        try:
            return tenant.definition(int(wanted))
        except NotFound as error:
            raise InvalidValue(error.message, target=target) from None
    if len(wanted) > 200 or "\0" in wanted:
        raise InvalidValue("names no alert definition", target=target)
    asked = quote(f"Name eq '{wanted.replace(chr(39), chr(39) * 2)}'")
    query = options.parse(f"$filter={asked}&$top=2", options.LIST_OPTIONS, ALERT_DEFINITION).query
    found: list[AlertDefinition] = tenant.select(ALERT_DEFINITION, query).found
    if len(found) == 1:
        return found[0]
    several = "several alert definitions have this name; write the number of one"
    raise InvalidValue(
        several if found else "names no alert definition; write its name or its number", target=target
    )
