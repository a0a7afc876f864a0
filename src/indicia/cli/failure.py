"""How a command ends: one line on stderr, an exit code, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from indicia.cli.lazy import CLOSED
from indicia.cli.show import complain, safe
from indicia.errors import IndiciaError

USAGE = 2
INTERRUPTED = 130
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Why a write fails though its file is open."""


def run(command: click.Command, arguments: Sequence[str]) -> int:
    """The exit code of the command."""
    _robust_streams()
    as_json = "--json" in arguments
    try:
        code = command.main(args=list(arguments), prog_name="indicia", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
        return CLOSED
    except (click.Abort, KeyboardInterrupt):
        return _end(as_json, "Interrupted", "interrupted", INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.UsageError as error:
        return _end(as_json, "Usage", _usage(error), USAGE)
    except click.ClickException as error:
        return _end(as_json, "Usage", error.format_message(), USAGE)
    except IndiciaError as error:
        return _end(as_json, error.code, error.message, USAGE, target=error.target, place=error.place)
    except Exception as error:
        if "--debug" in arguments:
            raise
        return _fault(error, as_json)
    if code == CLOSED:
        _forget_stdout()
    return code if isinstance(code, int) else 0


def _fault(error: Exception, as_json: bool) -> int:
    """A full disk, or a fault of ours."""
    if not isinstance(error, OSError) or error.errno not in _FULL or error.filename is not None:
        return _end(as_json, "Unexpected", _unexpected(error), USAGE)
    # What still waits to be written would be tried again at the interpreter's end.
    _forget_stdout()
    return _end(as_json, "Output", f"the output cannot be written: {error.strerror}", USAGE)


def _end(as_json: bool, error_code: str, message: str, code: int, **where: str | None) -> int:
    """Say what was wrong, where and what to do."""
    message = message.rstrip(".")
    if as_json:
        content = {"code": error_code, "message": message}
        content |= {name: text for name, text in where.items() if text}
        click.echo(json.dumps({"error": content}), err=True)
    else:
        place = where.get("place") or where.get("target")
        complain(f"{place}: {message}" if place else message)
    return code


def _usage(error: click.UsageError) -> str:
    message = error.format_message().rstrip(".")
    path = error.ctx.command_path if error.ctx else "indicia"
    return f"{message} (see {path} --help)"


def _unexpected(error: Exception) -> str:
    said = safe(str(error)).splitlines()
    return (
        f"unexpected {type(error).__name__}: {said[0] if said else ''}; this is a fault of Indicia: "
        "`indicia --debug …` shows where it happened"
    )


def _robust_streams() -> None:
    """UTF-8 whatever the locale; what cannot be written is escaped (inside JSON that is valid JSON)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _forget_stdout() -> None:
    """Else the interpreter complains when it flushes at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
