"""Targets of outputs and their secrets: checked, sealed for the store, and opened again to be sent to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from indicia import outputs
from indicia.auth.sealing import Seal
from indicia.messages import Output
from indicia.outputs.given import Given
from indicia.outputs.webhook import make_secret


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


def given(seal: Seal, tenant_uid: str, output: Output) -> Given:
    """What an output was given; StoreError where the key of the home does not open it."""
    whole: Mapping[str, str] = json.loads(seal.unseal(output.sealed, tenant_uid))
    return Given(whole["target"], output.options, whole["secret"])


def opened(seal: Seal, tenant_uid: str, output: Output) -> outputs.Receiver:
    """The receiver of an output. StoreError, InvalidValue."""
    return outputs.opened(output.kind, given(seal, tenant_uid, output))


def secret_for(target: str) -> str:
    """A new one, where the kind of target needs one and anyone will do; else empty."""
    return make_secret() if outputs.kind_of(target) == "webhook" else ""
