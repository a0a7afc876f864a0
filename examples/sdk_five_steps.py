"""The five steps of the published Python example, with the client of Indicia.

    indicia init --save details.json
    indicia serve &
    python examples/sdk_five_steps.py details.json

The same in plain `requests`: five_steps.py. The client gets its token by itself, and renews it; it needs
`pip install 'indicia[client]'`.
"""

from __future__ import annotations

import sys

from indicia.client import AlertDefinition, Category, Client, Indicator, IndicatorType, Severity
from indicia.errors import IndiciaError

DEFINITION = AlertDefinition(
    name="The alert's name",
    title="The title",
    severity=Severity.LOW,
    category=Category.TROJAN,
    internal_description="An internal description of the alert",
    ux_description="Description of the alert",
    recommended_action="The alert's recommended action",
)
SHA1 = "dead1111eeaabbccddeeaabbccddee11ffffffff"


def main(details_file: str) -> None:
    """All five, and what came back."""
    # Steps 1 and 2: a token, and a session that shows it with every request.
    with Client.from_file(details_file) as client:
        # Step 3: the alert definitions; none at first use.
        for found in client.definitions():
            print(f"there is definition {found.id}: {found.title}")
        # Step 4: an alert definition.
        definition = client.add_definition(DEFINITION)
        print(f"made definition {definition.id}: {definition.title}")
        # Step 5: an indicator of it.
        indicator = client.add_indicator(
            Indicator(type=IndicatorType.SHA1, value=SHA1, definition_id=definition.id)
        )
        print(f"made indicator {indicator.id}: {indicator.type} {indicator.value}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python sdk_five_steps.py DETAILS.json   (indicia init --save DETAILS.json makes it)")
    try:
        main(sys.argv[1])
    except IndiciaError as error:
        sys.exit(f"{error.code}: {error}")
