"""The five steps of the published Python example, in plain `requests`.

    indicia init --save details.json
    indicia serve &
    python examples/five_steps.py details.json

The file holds what the service's *Save details to file* gave: who may ask, where, and whom to trust. A
script written for the original service has the same five steps with the hosts written into it; how it is
pointed here: docs/clients.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from pprint import pprint
from typing import Any

import requests

SECONDS = 30
"""How long any answer may take."""

ALERT_DEFINITION = {
    "Name": "The alert's name",
    "Severity": "Low",
    "InternalDescription": "An internal description of the alert",
    "Title": "The title",
    "UxDescription": "Description of the alert",
    "RecommendedAction": "The alert's recommended action",
    "Category": "Trojan",
    "Enabled": True,
}
INDICATOR = {
    "Type": "Sha1",
    "Value": "dead1111eeaabbccddeeaabbccddee11ffffffff",
    "DetectionFunction": "Equals",
    "Enabled": True,
}


def token(details: dict[str, str]) -> str:
    """Step 1: an access token for the application of the details."""
    form = {
        "grant_type": "client_credentials",
        "client_id": details["client_id"],
        "client_secret": details["client_secret"],
        "resource": details["resource"],
    }
    with requests.Session() as asking:
        trust(asking, details)
        answer = asking.post(details["authorization_url"], data=form, timeout=SECONDS)
    return str(content(answer)["access_token"])


def session(details: dict[str, str], access_token: str) -> requests.Session:
    """Step 2: a session that shows the token with every request."""
    made = requests.Session()
    trust(made, details)
    made.headers["Authorization"] = f"Bearer {access_token}"
    made.headers["Content-Type"] = "application/json"
    made.headers["Accept"] = "application/json"
    return made


def definitions(api: requests.Session, url: str) -> list[dict[str, Any]]:
    """Step 3: the alert definitions; none at first use."""
    return list(content(api.get(f"{url}/AlertDefinitions", timeout=SECONDS))["value"])


def create_definition(api: requests.Session, url: str, definition: dict[str, Any]) -> int:
    """Step 4: an alert definition; its Id."""
    return int(content(api.post(f"{url}/AlertDefinitions", json=definition, timeout=SECONDS))["Id"])


def create_indicator(
    api: requests.Session, url: str, indicator: dict[str, Any], definition_id: int
) -> dict[str, Any]:
    """Step 5: an indicator that is bound to the definition; as the service has it now."""
    bound = {**indicator, "AlertDefinition@odata.bind": f"AlertDefinitions({definition_id})"}
    return dict(content(api.post(f"{url}/IndicatorsOfCompromise", json=bound, timeout=SECONDS)))


def trust(made: requests.Session, details: dict[str, str]) -> None:
    """Trust the service's own authority; where there is none in the details, those of the system."""
    if details.get("ca_file"):
        # Else REQUESTS_CA_BUNDLE of the environment would win.
        made.trust_env = False
        made.verify = details["ca_file"]


def content(answer: requests.Response) -> dict[str, Any]:
    """The JSON of an answer; of a refusal, the service's own words as the error."""
    if not answer.ok:
        raise requests.HTTPError(f"{answer.status_code} of {answer.url}: {answer.text}", response=answer)
    return dict(answer.json())


def main(details_file: str) -> None:
    """All five, and what came back."""
    details = json.loads(Path(details_file).read_text("utf-8"))
    url = details["api_url"]
    with session(details, token(details)) as api:
        pprint(definitions(api, url))
        definition_id = create_definition(api, url, ALERT_DEFINITION)
        pprint(create_indicator(api, url, INDICATOR, definition_id))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python five_steps.py DETAILS.json   (indicia init --save DETAILS.json makes it)")
    main(sys.argv[1])
