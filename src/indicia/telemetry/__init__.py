"""Events in: bytes of any known form, understood by the mapping of their schema.

bytes ─► records (records.py, zeek.py) ─► schema (schema.py, mappings/*.toml) ─► events (events.py)
"""

from indicia.telemetry.events import Malformed, again, events, of_lines, of_table
from indicia.telemetry.lines import Selection, Sieve
from indicia.telemetry.schema import Schema, schemas
from indicia.telemetry.slices import pieces
from indicia.telemetry.sources import Change, Source, sources

__all__ = [
    "Change",
    "Malformed",
    "Schema",
    "Selection",
    "Sieve",
    "Source",
    "again",
    "events",
    "of_lines",
    "of_table",
    "pieces",
    "schemas",
    "sources",
]
