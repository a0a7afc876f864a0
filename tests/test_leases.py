"""Leases that are lost, of processes and of clocks: the next one has what it needs, and is not kept out."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indicia.live.importer import Importer
from indicia.live.imports import Asked, Imports
from indicia.live.scans import Scans
from indicia.live.work import Desk
from indicia.model import Quotas
from indicia.store import UPLOAD, Phase
from stored import add, opened, raw, url


@pytest.mark.parametrize("lost", [True, False])
def test_who_has_lost_an_import_leaves_its_file(database: str, tmp_path: Path, lost: bool) -> None:
    path = tmp_path / "indicia.db"
    with opened(url(path)) as tenant:
        add(tenant, 1)
        owner, imports = tenant.definitions()[0], Imports(tmp_path, tenant)
        asked = Asked(
            "list.txt", 0, "x", datetime.now(UTC), owner.id, owner.title, "", "", "", False, Quotas()
        )
        imports.begin(asked, io.BytesIO(b"192.0.2.7\n"), 1000)
        one = imports.take("first")
        assert one is not None
        late = Importer(Desk(imports, one), tmp_path, "")
        if lost:
            with raw(path) as execute:
                execute("UPDATE jobs SET lease_until = 1")
            assert imports.take("second") is not None
        late.end(Phase.DONE)
        assert imports.contents.has(one.kept, UPLOAD) is lost


def test_a_clock_that_is_put_back_keeps_no_job(database: str, tmp_path: Path) -> None:
    path = tmp_path / "indicia.db"
    with opened(url(path)) as tenant:
        scans = Scans(tmp_path, tenant)
        one = scans.begin("a", io.BytesIO(b"{}"), "x", 1000, record=False)
        assert scans.take("first") is not None
        assert scans.take("second") is None
        with raw(path) as execute:
            execute("UPDATE jobs SET lease_until = lease_until + 3600000000")
        taken = scans.take("second")
        assert taken is not None
        assert taken.id == one.id
        assert not tenant.jobs.put("scans", one.id, "first", 20)
