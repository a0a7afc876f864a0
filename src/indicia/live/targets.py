"""Targets of outputs and their secrets: checked, sealed for the store, and opened again to be sent to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from indicia import outputs
from indicia.auth.sealing import Seal
from indicia.errors import InvalidValue
from indicia.messages import Output
from indicia.outputs.given import TLS_OPTIONS, Given
from indicia.outputs.webhook import make_secret

_NONE: Mapping[str, str] = {}


def sealed(seal: Seal, tenant_uid: str, output: Output, given: Given) -> Output:
    """The output with target, options and secret as they are kept. InvalidValue, StoreError."""
    kind = outputs.kind_of(given.target)
    receiver = outputs.opened(kind, given)
    whole = json.dumps({"target": given.target, "secret": given.secret})
    return replace(
        output,
        kind=kind,
        target=receiver.shown,
        options=dict(given.options),
        sealed=seal.seal(whole, tenant_uid),
    )


def renewed(
    seal: Seal,
    tenant_uid: str,
    before: Output,
    target: str | None,
    options: Mapping[str, str],
    secret: str | None,
) -> Output:
    """The output with these options, another target and another secret, or the ones it has.

    With both given the old ones need not be readable: that is how a lost key is got over. InvalidValue where
    the target is of another kind, StoreError.
    """
    kind = before.kind if target is None else outputs.kind_of(target)
    if kind != before.kind:
        raise InvalidValue(
            f"{before.name} is a {before.kind}; add another output for a {kind}", target="Target"
        )
    was = Given("") if target and secret else given(seal, tenant_uid, before)
    return sealed(seal, tenant_uid, before, Given(target or was.target, options, secret or was.secret))


def options_of(texts: Iterable[str]) -> dict[str, str]:
    """Options that are written as `format=cef`; InvalidValue."""
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise InvalidValue(f"{text[:80]!r} is no option; write it as NAME=VALUE", target="Options")
        found[name] = value
    return found


def must_be_remote(target: str | None, options: Mapping[str, str], before: Mapping[str, str] = _NONE) -> None:
    """Raise InvalidValue for what only the command line may say: whatever is a file of this machine.

    Who administers a tenant from elsewhere would else write and read files of whoever runs the service.
    """
    if target is not None and outputs.kind_of(target) == "file":
        raise InvalidValue(
            "a file is written by the service's machine: `indicia outputs add` makes such an output",
            target="Target",
        )
    for name in TLS_OPTIONS:
        if options.get(name) not in (None, before.get(name)):
            raise InvalidValue(
                f"{name} is a file of the service's machine: `indicia outputs set` gives it", target="Options"
            )


def given(seal: Seal, tenant_uid: str, output: Output) -> Given:
    """What an output was given; StoreError where the key of the home does not open it."""
    whole: Mapping[str, str] = json.loads(seal.unseal(output.sealed, tenant_uid))
    return Given(whole["target"], output.options, whole["secret"])


def must_open(seal: Seal, tenant_uid: str, those: Iterable[Output]) -> None:
    """Raise StoreError where the key of the home is not the one that those outputs were sealed with.

    Asked before another is sealed: of several hosts on one store each could come to have a key of its own.
    """
    for output in those:
        given(seal, tenant_uid, output)


def opened(seal: Seal, tenant_uid: str, output: Output) -> outputs.Receiver:
    """The receiver of an output. StoreError, InvalidValue."""
    return outputs.opened(output.kind, given(seal, tenant_uid, output))


def secret_for(target: str) -> str:
    """A new one, where the kind of target needs one and anyone will do; else empty."""
    return make_secret() if outputs.kind_of(target) == "webhook" else ""
