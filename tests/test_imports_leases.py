"""An import whose lease was lost: its process leaves to the next one what that one needs."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indicia.live.importer import Importer
from indicia.live.imports import Asked, Imports
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
