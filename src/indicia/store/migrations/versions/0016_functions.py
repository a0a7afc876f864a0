"""The functions of the query language as functions of PostgreSQL; on SQLite each connection brings them.

What they mean is said by `odata.functions`; a test holds the two together. Letters are those of the Python
that migrates. Nothing in here raises: what has no result is null.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

SECOND = 1_000_000
DAY = 86_400 * SECOND
EPOCH = "date '1970-01-01'"
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
WHOLE = (-(2**63), 2**63 - 1)
DAYS = (FIRST_DAY, LAST_DAY)
TIMES = (FIRST_DAY * DAY, (LAST_DAY + 1) * DAY - 1)
DIGITS = 70
"""Decimals of a quotient of two integers that is then rounded once, to a double: ties need 63 of them."""
KINDS = {
    "int64": "bigint",
    "double": "double precision",
    "string": "text",
    "datetimeoffset": "bigint",
    "date": "bigint",
    "timeofday": "bigint",
    "duration": "bigint",
}


def _within(bounds: tuple[int, int], value: str) -> str:
    """The integer that an expression gives without overflow, where it is within bounds."""
    low, high = bounds
    return (
        f"DECLARE made numeric := {value}; "
        f"BEGIN RETURN CASE WHEN made BETWEEN {low} AND {high} THEN made END; END"
    )


def _plain(value: str) -> str:
    return f"BEGIN RETURN {value}; END"


def _finite(value: str, otherwise: str = "NULL") -> str:
    """A double; PostgreSQL raises where it would be infinite, and where it would round to zero."""
    return f"BEGIN RETURN {value}; EXCEPTION WHEN numeric_value_out_of_range THEN RETURN {otherwise}; END"


def _floored(value: str, by: int) -> str:
    return f"({value} / {by} - CASE WHEN mod({value}, {by}) < 0 THEN 1 ELSE 0 END)"


def _left_over(value: str, by: int) -> str:
    return f"(mod({value}, {by}) + CASE WHEN mod({value}, {by}) < 0 THEN {by} ELSE 0 END)"


def _part(part: str, days: str) -> str:
    """Of the day, or of the first or last one where it lies beyond."""
    day = f"({EPOCH} + least(greatest({days}, {FIRST_DAY}), {LAST_DAY})::integer)"
    return _plain(f"extract({part} FROM {day})::bigint")


# As C does it: the divisor, doubled while it fits, is taken away, each time without any rounding.
_REMAINDER = """
DECLARE
  left_over double precision := abs(a);
  least double precision := abs(b);
  taken double precision := abs(b);
BEGIN
  IF b = 0 THEN RETURN NULL; END IF;
  WHILE taken <= left_over - taken LOOP taken := taken + taken; END LOOP;
  LOOP
    IF left_over >= taken THEN left_over := left_over - taken; END IF;
    EXIT WHEN taken = least;
    taken := taken * 0.5;
  END LOOP;
  RETURN CASE WHEN a < 0 THEN -left_over ELSE left_over END;
END"""
# Cast to a double an integer may be rounded; cast to an integer a double that fits is cut, and no more.
_COMPARED = """
BEGIN
  IF b >= 9223372036854775808 THEN RETURN -1; END IF;
  IF b < -9223372036854775808 THEN RETURN 1; END IF;
  IF a <> trunc(b)::bigint THEN RETURN CASE WHEN a < trunc(b)::bigint THEN -1 ELSE 1 END; END IF;
  RETURN -sign(b - trunc(b));
END"""
_UP = "floor(abs(a)) + CASE WHEN abs(a) - floor(abs(a)) >= 0.5 THEN 1 ELSE 0 END"
_FROM = "least(greatest(b, 0), 2147483646)::integer + 1"
_UNITS = {"hour": (3600 * SECOND, 24), "minute": (60 * SECOND, 60), "second": (SECOND, 60)}

BODIES: dict[str, str] = {
    "add_int64_int64": _within(WHOLE, "a::numeric + b"),
    "add_double_double": _finite("a + b"),
    "add_datetimeoffset_duration": _within(TIMES, "a::numeric + b"),
    "add_date_duration": _within(DAYS, f"a::numeric + b / {DAY}"),
    "add_duration_duration": _within(WHOLE, "a::numeric + b"),
    "sub_int64_int64": _within(WHOLE, "a::numeric - b"),
    "sub_double_double": _finite("a - b"),
    "sub_datetimeoffset_duration": _within(TIMES, "a::numeric - b"),
    "sub_date_duration": _within(DAYS, f"a::numeric - b / {DAY}"),
    "sub_duration_duration": _within(WHOLE, "a::numeric - b"),
    "sub_datetimeoffset_datetimeoffset": _within(WHOLE, "a::numeric - b"),
    "sub_date_date": _within(WHOLE, f"(a::numeric - b) * {DAY}"),
    "mul_int64_int64": _within(WHOLE, "a::numeric * b"),
    "mul_double_double": _finite("a * b", "CASE WHEN abs(a) < 1 OR abs(b) < 1 THEN 0 END"),
    "div_int64_int64": _within(WHOLE, "CASE WHEN b <> 0 THEN div(a, b) END"),
    "div_double_double": _finite("CASE WHEN b <> 0 THEN a / b END", "CASE WHEN abs(b) > 1 THEN 0 END"),
    "divby_int64_int64": _plain(
        f"CASE WHEN b <> 0 THEN (round(a::numeric, {DIGITS}) / b)::double precision END"
    ),
    "divby_double_double": _finite("CASE WHEN b <> 0 THEN a / b END", "CASE WHEN abs(b) > 1 THEN 0 END"),
    "mod_int64_int64": _plain("CASE WHEN b <> 0 THEN mod(a, b) END"),
    "mod_double_double": _REMAINDER,
    "negate_int64": _within(WHOLE, "-(a::numeric)"),
    "negate_double": _plain("-a"),
    "negate_duration": _within(WHOLE, "-(a::numeric)"),
    "substring_string_int64": _plain(f"substr(a, {_FROM})"),
    "substring_string_int64_int64": _plain(f"substr(a, {_FROM}, least(greatest(c, 0), 2147483647)::integer)"),
    "year_datetimeoffset": _part("year", _floored("a", DAY)),
    "year_date": _part("year", "a"),
    "month_datetimeoffset": _part("month", _floored("a", DAY)),
    "month_date": _part("month", "a"),
    "day_datetimeoffset": _part("day", _floored("a", DAY)),
    "day_date": _part("day", "a"),
    **{
        f"{name}_{kind}": _plain(f"mod({_left_over('a', DAY)} / {unit}, {most})")
        for name, (unit, most) in _UNITS.items()
        for kind in ("datetimeoffset", "timeofday")
    },
    **{
        f"fractionalseconds_{kind}": _plain(f"{_left_over('a', SECOND)}::double precision / {SECOND}")
        for kind in ("datetimeoffset", "timeofday")
    },
    "date_datetimeoffset": _plain(_floored("a", DAY)),
    "time_datetimeoffset": _plain(_left_over("a", DAY)),
    "totalseconds_duration": _plain("(a::numeric * 0.000001)::double precision"),
    "round_int64": _plain("a"),
    "round_double": _plain(f"CASE WHEN a < 0 THEN -({_UP}) ELSE {_UP} END"),
    "floor_int64": _plain("a"),
    "floor_double": _plain("floor(a)"),
    "ceiling_int64": _plain("a"),
    "ceiling_double": _plain("ceiling(a)"),
    "compared_int64_double": _COMPARED,
}
"""What each does with its arguments a, b and c, of which none is null."""
DOUBLES = frozenset({"double", "divby", "fractionalseconds", "totalseconds"})


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        for statement in statements():
            op.execute(statement)


def statements() -> Iterator[str]:
    """What makes the functions."""
    bodies = BODIES | {
        "tolower_string": _letters("lower", _changed(str.lower)),
        "toupper_string": _letters("upper", _changed(str.upper)),
        "trim_string": _plain(f"btrim(a, {_escaped(filter(str.isspace, _every()))})"),
    }
    for name, body in bodies.items():
        # What catches an error may not run beside itself.
        parallel = "UNSAFE" if "EXCEPTION" in body else "SAFE"
        yield (
            f"CREATE FUNCTION odata_{name}({_arguments(name)}) RETURNS {_result(name)} LANGUAGE plpgsql "
            f"IMMUTABLE STRICT PARALLEL {parallel} AS $body${body}$body$"
        )


def _arguments(name: str) -> str:
    kinds = [KINDS[kind] for kind in name.split("_")[1:]]
    return ", ".join(f"{letter} {kind}" for letter, kind in zip("abc", kinds, strict=False))


def _result(name: str) -> str:
    function, first, *_ = name.split("_")
    if function == "compared":
        return "integer"
    if DOUBLES & {function, first}:
        return KINDS["double"]
    return KINDS["string" if first == "string" else "int64"]


def _every() -> Iterator[str]:
    """Every character that a text can hold."""
    return (chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)


def _changed(change: Callable[[str], str]) -> dict[str, str]:
    """The characters beyond ASCII that a change of letter case changes, each by itself."""
    return {one: change(one) for one in _every() if one > "\x7f" and change(one) != one}


def _letters(plain: str, changed: Mapping[str, str]) -> str:
    """Letter by letter, whatever the server knows of letters; nearly all texts are ASCII, which is quick."""
    known = f"'{json.dumps(changed)}'::jsonb"
    return (
        "DECLARE made text := ''; letter text; "
        f'BEGIN IF octet_length(a) = length(a) THEN RETURN {plain}(a COLLATE "C"); END IF; '
        "FOREACH letter IN ARRAY string_to_array(a, NULL) LOOP "
        f'made := made || coalesce({known} ->> letter, {plain}(letter COLLATE "C")); '
        "END LOOP; RETURN made; END"
    )


def _escaped(characters: Iterable[str]) -> str:
    """A text in ASCII alone."""
    return "U&'" + "".join(f"\\+{ord(one):06X}" for one in characters) + "'"


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        for name in (*BODIES, "tolower_string", "toupper_string", "trim_string"):
            op.execute(f"DROP FUNCTION odata_{name}")
