"""Signing keys and other credentials on the command line, and in a service that runs meanwhile."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import hashes
from joserfc.jws import extract_compact

from indicia.auth import keys
from indicia.cli import root
from indicia.store import Store
from indicia.web.gate import issuer_of
from oauth import ask, assertion_form, claims, endpoint, pair, redeem, sign, works
from service import add_access, local, running

GOOD, PAST = pair(), pair("past", days=1, begin=-2)
X5T = {"x5t": GOOD.thumbprint(hashes.SHA1())}


def cli(home: Path, *arguments: str) -> Any:
    """A command; what it prints as JSON."""
    done = CliRunner().invoke(root, ["--home", str(home), *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_command_line_registers_certificates_and_generates_tokens(tmp_path: Path) -> None:
    with local(tmp_path) as service:
        access = add_access(service.store, "contoso")
        file = tmp_path / "soc.pem"
        file.write_bytes(GOOD.pem)
        (kept,) = cli(tmp_path, "clients", "certificate", access.client_id, str(file))
        assert (kept["subject"], kept["revoked_at"]) == ("CN=soc-scripts", None)
        made = sign(GOOD, {"alg": "RS256"} | X5T, claims(access.client_id, endpoint(access)))
        assert ask(service, access, "/v2.0", **assertion_form(access, made)).status == 200
        (gone,) = cli(tmp_path, "clients", "certificate", access.client_id, "--revoke", str(kept["id"]))
        assert gone["revoked_at"]
        assert ask(service, access, "/v2.0", **assertion_form(access, made)).status == 401

        tokens = cli(tmp_path, "clients", "token", access.client_id)
        assert works(service, tokens["access_token"])
        fresh = redeem(service, access, tokens["refresh_token"]).json()
        assert works(service, fresh["access_token"])
        assert cli(tmp_path, "clients", "revoke-tokens", access.client_id, "--yes") == {"revoked": 1}
        assert not works(service, fresh["access_token"])

        saved = tmp_path / "tokens.json"
        done = CliRunner().invoke(
            root, ["--home", str(tmp_path), "clients", "token", access.client_id, "--save", str(saved)]
        )
        assert done.exit_code == 0, done.output
        assert saved.stat().st_mode & 0o777 == 0o600
        token = json.loads(saved.read_text())["access_token"]
        assert token not in done.output
        assert works(service, token)


def test_the_command_line_says_what_was_wrong(tmp_path: Path) -> None:
    with local(tmp_path) as service:
        access = add_access(service.store, "contoso")
        old = tmp_path / "old.pem"
        old.write_bytes(PAST.pem)
        for arguments, told in [
            (("certificate", access.client_id, str(tmp_path / "absent.pem")), "cannot be read"),
            (("certificate", access.client_id, str(old)), "has expired"),
            (("certificate", access.client_id, str(old), "--revoke", "1"), "either FILE or --revoke"),
            (("certificate", access.client_id, "--revoke", "1"), "has no certificate 1"),
            (("certificate", "nobody"), "no application"),
            (("token", "nobody"), "no application"),
            (("revoke-tokens", "nobody", "--yes"), "no application"),
        ]:
            done = CliRunner().invoke(root, ["--home", str(tmp_path), "clients", *arguments])
            assert done.exit_code != 0
            assert told in str(done.exception) + done.output


def test_keys_are_rotated_with_overlap(tmp_path: Path) -> None:
    with local(tmp_path):
        (only,) = cli(tmp_path, "keys", "list")
        fresh, old = cli(tmp_path, "keys", "rotate")
        assert (fresh["state"], old["state"], old["kid"]) == ("signs next", "signs", only["kid"])
        assert old["retired_at"]
        with Store.open(f"sqlite:///{tmp_path / 'indicia.db'}") as store:
            store.retire_signing_key(old["kid"])
        assert [key["state"] for key in cli(tmp_path, "keys", "list")] == ["signs", "verifies"]
        (stolen,) = cli(tmp_path, "keys", "rotate", "--revoke", "--yes")
        assert stolen["state"] == "signs"
        assert stolen["kid"] not in (fresh["kid"], old["kid"])


@pytest.mark.full
def test_a_retired_key_is_forgotten_when_its_last_token_is_over(tmp_path: Path) -> None:
    with local(tmp_path) as service:
        (key,) = service.store.signing_keys()
        service.store.retire_signing_key(key.kid, datetime.now(UTC) - timedelta(hours=23))
        assert len(issuer_of(service.settings, service.store).ring.every()) == 2
        service.store.retire_signing_key(key.kid, datetime.now(UTC) - timedelta(hours=25))
        (other,) = issuer_of(service.settings, service.store).ring.every()
        assert other.kid != key.kid


@pytest.mark.full
def test_a_running_service_takes_a_new_key_and_old_tokens_hold(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with Store.open(f"sqlite:///{home / 'indicia.db'}") as store:
        access = add_access(store, "contoso")
    with running(home) as process, process.session() as session:
        entity = f"{process.url}/v1.0/AlertDefinitions(1)"
        where = f"{process.url}/{access.tenant_id}/discovery/keys"
        before = process.token(access)
        (old,) = session.get(where, timeout=30).json()["keys"]
        cli(home, "keys", "rotate")

        def published() -> list[str]:
            return [key["kid"] for key in session.get(where, timeout=30).json()["keys"]]

        started = time.monotonic()
        while len(published()) < 2:
            assert time.monotonic() - started < keys.RELOAD_SECONDS + 2
            time.sleep(0.2)
        new = published()[0]
        while _kid(after := process.token(access)) != new:
            assert time.monotonic() - started < keys.OVERLAP_SECONDS + keys.RELOAD_SECONDS + 2
            time.sleep(0.5)
        assert _kid(before) == old["kid"]
        for token in (before, after):
            headers = {"Authorization": f"Bearer {token}"}
            assert session.get(entity, headers=headers, timeout=30).status_code == 404

        cli(home, "keys", "rotate", "--revoke", "--yes")
        time.sleep(keys.RELOAD_SECONDS + 1)
        for token in (before, after):
            headers = {"Authorization": f"Bearer {token}"}
            assert session.get(entity, headers=headers, timeout=30).status_code == 401
        fresh = {"Authorization": f"Bearer {process.token(access)}"}
        assert session.get(entity, headers=fresh, timeout=30).status_code == 404


def _kid(token: str) -> str:
    return str(extract_compact(token.encode()).headers()["kid"])
