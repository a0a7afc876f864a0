"""The Python client (SDK) of the service: `Client`, and `AsyncClient` with the same methods for asyncio.

    pip install 'indicia[client]'

    from indicia.client import Client, Indicator

    with Client.from_file("details.json") as client:
        for found in client.indicators(Indicator.Value.endswith(".example")):
            print(found.value)

Properties of the API are fields of the entities' classes (`Indicator.Value`) that conditions are made of;
attributes (`found.value`) hold what one entity has. Errors are the leaves of `indicia.errors`, with `code`,
`target` and `details` as the service gave them.

The token is renewed before it expires. What was refused with 429, or with 503 and Retry-After, and what
found no connection is tried again after a random, growing wait; a request whose answer was lost only where
doing it twice is the same as once. Of the rest of the package this imports model and errors alone.
"""

from indicia.client.details import Details
from indicia.client.fields import Condition, Field, Order
from indicia.client.nouns import Alert, AlertComment, AlertDefinition, Detection, Indicator
from indicia.client.session import Retries
from indicia.client.transport import AsyncClient, Client
from indicia.client.uploads import Position, Result
from indicia.model import (
    AlertStatus,
    Category,
    Classification,
    DetectionFunction,
    Determination,
    GroupBy,
    IndicatorType,
    Severity,
    Silenced,
    TimeNote,
)

__all__ = [
    "Alert",
    "AlertComment",
    "AlertDefinition",
    "AlertStatus",
    "AsyncClient",
    "Category",
    "Classification",
    "Client",
    "Condition",
    "Details",
    "Detection",
    "DetectionFunction",
    "Determination",
    "Field",
    "GroupBy",
    "Indicator",
    "IndicatorType",
    "Order",
    "Position",
    "Result",
    "Retries",
    "Severity",
    "Silenced",
    "TimeNote",
]
