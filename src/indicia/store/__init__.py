"""At rest: tables, migrations, and the only code that speaks SQL.

    store = Store.open(settings.database_url)
    tenant = store.tenant("contoso")
    tenant.add_indicators([...], by="someone")

`scope` is the one place that adds the tenant to a query; `definitions`, `indicators`, `imports`, `uploads`,
`purges`, `notes`, `changes`, `receipts`, `alerts`, `casework`, `suppressions`, `storms`, `messages`,
`audit`, `clients`, `credentials`, `counting` and `queries` work on a scope; `outbox` keeps outputs and what
they wait for, `allow` the allow-lists, `access` one application, `retention` says how long what is recorded
is kept, `trail` reads the audit log, `overview` says what happens, by the figures of `tallies` and
`sources`, `queue` finds alerts, `catalogue` what is looked for, `many` changes much of it at once;
`members` tells who may sign in to a tenant, `people` who signs in at all; `tenant.TenantStore` gives each
its transaction; `directory` knows the tenants, `leaving` removes one; `jobs` keeps work on files; `marks`
and `turns` are what processes of several hosts share; `engine` the file or the server, its locks and its
faults; `migrate` its version; `inspection` looks at it for `indicia doctor` and changes nothing.
"""

from indicia.store.catalogue import Catalogue, Chosen, Expiry, Figures, Found, Place
from indicia.store.changes import News, Position, Standing
from indicia.store.jobs import UPLOAD, Jobs, KeptJob, NewJob, Phase, Piece
from indicia.store.many import Deed, Many, Progress
from indicia.store.marks import Marks
from indicia.store.members import Members
from indicia.store.nouns import (
    Application,
    Certificate,
    Counts,
    Holder,
    ImportState,
    Link,
    Member,
    Person,
    Recorded,
    Redeemed,
    RefreshToken,
    Role,
    Secret,
    Session,
    SigningKey,
    Tenant,
    Visitor,
)
from indicia.store.outbox import Outbox
from indicia.store.overview import Held, Overview, State, Top
from indicia.store.people import People
from indicia.store.queries import Page, Within
from indicia.store.queue import AlertFilter, Hours, Listed, Outcomes, Queue, Related, Sort
from indicia.store.receipts import Receipt
from indicia.store.retention import Extent, Limit, What
from indicia.store.sources import Arrived
from indicia.store.store import Store
from indicia.store.tallies import Tally
from indicia.store.tenant import TenantStore
from indicia.store.trail import Looked, Mark, Trail, Wanted
from indicia.store.turns import Turn
from indicia.store.uploads import Upload, Uploaded

__all__ = [
    "UPLOAD",
    "AlertFilter",
    "Application",
    "Arrived",
    "Catalogue",
    "Certificate",
    "Chosen",
    "Counts",
    "Deed",
    "Expiry",
    "Extent",
    "Figures",
    "Found",
    "Held",
    "Holder",
    "Hours",
    "ImportState",
    "Jobs",
    "KeptJob",
    "Limit",
    "Link",
    "Listed",
    "Looked",
    "Many",
    "Mark",
    "Marks",
    "Member",
    "Members",
    "NewJob",
    "News",
    "Outbox",
    "Outcomes",
    "Overview",
    "Page",
    "People",
    "Person",
    "Phase",
    "Piece",
    "Place",
    "Position",
    "Progress",
    "Queue",
    "Receipt",
    "Recorded",
    "Redeemed",
    "RefreshToken",
    "Related",
    "Role",
    "Secret",
    "Session",
    "SigningKey",
    "Sort",
    "Standing",
    "State",
    "Store",
    "Tally",
    "Tenant",
    "TenantStore",
    "Top",
    "Trail",
    "Turn",
    "Upload",
    "Uploaded",
    "Visitor",
    "Wanted",
    "What",
    "Within",
]
