"""Everything that one tenant can do with its store. Each call is one transaction unless it says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection

from indicia.errors import IndiciaError
from indicia.model import (
    Actor,
    Alert,
    AlertChange,
    AlertComment,
    AlertDefinition,
    AlertStatus,
    AuditAction,
    AuditEntry,
    Detection,
    Indicator,
    Quotas,
    SuppressAlert,
    Suppression,
)
from indicia.odata.entities import ALERT, ALERT_DEFINITION, INDICATOR, SUPPRESSION
from indicia.odata.shapes import Entity
from indicia.odata.tree import Expression, Query
from indicia.store import (
    alerts,
    audit,
    casework,
    changes,
    clients,
    counting,
    credentials,
    definitions,
    imports,
    indicators,
    queries,
    receipts,
    suppressions,
    uploads,
)
from indicia.store.access import Access
from indicia.store.allow import AllowLists
from indicia.store.casework import Changes as AlertChanges
from indicia.store.catalogue import Catalogue
from indicia.store.changes import News, Position, Standing
from indicia.store.definitions import Changes as DefinitionChanges
from indicia.store.engine import Database
from indicia.store.indicators import Changes as IndicatorChanges
from indicia.store.jobs import Jobs
from indicia.store.many import Many
from indicia.store.members import Members
from indicia.store.nouns import (
    Application,
    Certificate,
    Counts,
    ImportState,
    Recorded,
    Secret,
    Tenant,
)
from indicia.store.outbox import Outbox
from indicia.store.overview import Overview
from indicia.store.parts import Has
from indicia.store.queries import Page, Within
from indicia.store.queue import Queue
from indicia.store.receipts import Receipt
from indicia.store.retention import Retention
from indicia.store.scope import Scope
from indicia.store.suppressions import Changes as SuppressionChanges
from indicia.store.trail import Trail
from indicia.store.uploads import Upload, Uploaded

NOBODY = Actor()
AlertCheck = Callable[[Alert], None]
PAGE = 1000
"""Rows of a page unless the caller says otherwise."""
BATCH = 20_000
"""Indicators of one transaction of an import."""
QUERY_SECONDS = 15.0
"""How long a query of the query language may take."""


class TenantStore:
    """The store as one tenant sees it; safe for any number of threads.

    Lists are pages: at most `limit` rows with an id beyond `after`, in the order of ids; the last id of a
    page is the next `after`; a page shorter than `limit` is the last one. What another tenant has is
    NotFound here. StoreError (503) where the disk or another writer is in the way; nothing is half done.
    """

    def __init__(self, database: Database, tenant: Tenant, quotas: Quotas, actor: Actor = NOBODY) -> None:
        self._database = database
        self.tenant = tenant
        self.quotas = quotas
        self.actor = actor
        """Who changes something through it, as the audit log says."""

    def acting(self, actor: Actor) -> TenantStore:
        """The same store for somebody."""
        return TenantStore(self._database, self.tenant, self.quotas, actor)

    @property
    def uid(self) -> str:
        """The tenant's uid, as tokens and detection ids have it."""
        return self.tenant.uid

    @property
    def name(self) -> str:
        """The tenant's name."""
        return self.tenant.name

    allow_lists = Has(AllowLists)
    """Values that are known to be harmless."""
    retention = Has(Retention)
    """For how long what is recorded is kept."""
    outbox = Has(Outbox)
    """Outputs, and what waits for them."""
    access = Has(Access)
    """Applications, one by one, and the tokens that were generated for them."""
    trail = Has(Trail)
    """The audit log, the newest first."""
    overview = Has(Overview)
    """What happens and what is there, in figures."""
    members = Has(Members)
    """Who may sign in to it, and as what."""
    queue = Has(Queue)
    """The alerts as people look through them."""
    catalogue = Has(Catalogue)
    """Indicators and definitions as people look for them."""
    many = Has(Many)
    """What is done to many indicators at once."""
    jobs = Has(Jobs)
    """Work on files that people bring."""

    # Alert definitions

    def definitions(self, *, after: int = 0, limit: int = PAGE) -> list[AlertDefinition]:
        """A page of alert definitions."""
        with self._reading() as scope:
            return definitions.page(scope, after, limit)

    def definition(self, definition_id: int) -> AlertDefinition:
        """One alert definition; NotFound."""
        with self._reading() as scope:
            return definitions.one(scope, definition_id)

    def definitions_by_id(self, ids: Iterable[int]) -> dict[int, AlertDefinition]:
        """Those of the ids that exist."""
        with self._reading() as scope:
            return definitions.by_id(scope, ids)

    def add_definitions(self, new: Sequence[AlertDefinition], by: str) -> list[AlertDefinition]:
        """All or none, with uid, id and stamps made here; QuotaExceeded."""
        with self._writing() as scope:
            made = definitions.add(scope, new, by, self.quotas)
            audit.created(scope, self._who(by), ALERT_DEFINITION, made)
            return made

    def change_definition(self, definition_id: int, changes: DefinitionChanges, by: str) -> AlertDefinition:
        """Set attributes by their names in `model`; NotFound, InvalidValue for id, uid and stamps.

        `changes` may be a function, which is then asked inside the transaction with the entity as it stands
        (and may raise to leave it so).
        """
        with self._writing() as scope:
            before = definitions.one(scope, definition_id)
            after = definitions.change(scope, definition_id, changes, by)
            audit.changed(scope, self._who(by), ALERT_DEFINITION, before, after)
            return after

    def delete_definition(
        self, definition_id: int, check: Callable[[AlertDefinition], None] | None = None
    ) -> None:
        """Delete it with its indicators; its alerts and detections stay. NotFound.

        `check` is asked inside the transaction with the entity as it stands, and may raise to leave it so.
        """
        with self._writing() as scope:
            before = definitions.one(scope, definition_id)
            have = counting.counts(scope)
            definitions.delete(scope, definition_id, check)
            gone = {"Indicators": have.indicators - counting.counts(scope).indicators}
            said = audit.content(ALERT_DEFINITION, before) | gone
            audit.deleted(scope, self.actor, ALERT_DEFINITION, before.id, said)

    def delete_definitions(self) -> int:
        """Delete all of the tenant's with their indicators; how many definitions."""
        with self._writing() as scope:
            have = counting.counts(scope)
            count = definitions.delete_all(scope)
            gone = {"Indicators": have.indicators - counting.counts(scope).indicators}
            audit.emptied(scope, self.actor, ALERT_DEFINITION, count, gone)
            return count

    # Indicators

    def indicators(
        self, *, after: int = 0, limit: int = PAGE, definition_id: int | None = None
    ) -> list[Indicator]:
        """A page of indicators, of one definition or of all."""
        with self._reading() as scope:
            return indicators.page(scope, after, limit, definition_id)

    def indicator(self, indicator_id: int) -> Indicator:
        """One indicator; NotFound."""
        with self._reading() as scope:
            return indicators.one(scope, indicator_id)

    def add_indicators(self, new: Sequence[Indicator], by: str) -> list[Indicator]:
        """All or none under their definitions (by `definition.id`), with id and stamps made here.

        QuotaExceeded; NotFound, whose target is the index as `[17]`, for a definition that is not there.
        """
        with self._writing() as scope:
            made = indicators.add(scope, new, by, self.quotas)
            audit.created(scope, self._who(by), INDICATOR, made)
            return made

    def upload_definitions(
        self, new: Sequence[AlertDefinition], by: str
    ) -> list[AlertDefinition | IndiciaError]:
        """Those that fit, in their order; QuotaExceeded in the place of each other one."""
        with self._writing() as scope:
            outcomes = uploads.store_definitions(scope, new, by, self.quotas)
            made = [one for one in outcomes if isinstance(one, AlertDefinition)]
            audit.created(scope, self._who(by), ALERT_DEFINITION, made)
            return outcomes

    def upload_indicators(
        self, new: Sequence[Upload], by: str, *, upsert: bool = False, whole: bool = False
    ) -> list[Uploaded | IndiciaError]:
        """The outcome of each: NotFound, QuotaExceeded, InvalidValue where it was not stored.

        With `upsert` one that is there (definition, type, function, canonical value) is changed instead.
        With `whole` all or none: the first error is raised, its index as target, as `[17]`.
        """
        with self._writing() as scope:
            outcomes = uploads.store_indicators(scope, new, by, self.quotas, upsert=upsert, whole=whole)
            audit.uploaded(scope, self._who(by), [one for one in outcomes if isinstance(one, Uploaded)])
            return outcomes

    def change_indicator(self, indicator_id: int, changes: IndicatorChanges, by: str) -> Indicator:
        """As `change_definition`; type, value and function come together with `canonical`. QuotaExceeded."""
        with self._writing() as scope:
            before = indicators.one(scope, indicator_id)
            after = indicators.change(scope, indicator_id, changes, by, self.quotas)
            audit.indicator_changed(scope, self._who(by), before, after)
            return after

    def move_indicator(self, indicator_id: int, definition_id: int, by: str) -> Indicator:
        """Put it under another definition; NotFound for either."""
        with self._writing() as scope:
            before = indicators.one(scope, indicator_id)
            after = indicators.move(scope, indicator_id, definition_id, by)
            audit.indicator_changed(scope, self._who(by), before, after)
            return after

    def delete_indicator(self, indicator_id: int, check: Callable[[Indicator], None] | None = None) -> None:
        """Delete one; NotFound. `check` as in `delete_definition`."""
        with self._writing() as scope:
            before = indicators.one(scope, indicator_id)
            indicators.delete(scope, indicator_id, check)
            said = audit.content(INDICATOR, before) | {audit.OWNER: before.definition.id}
            audit.deleted(scope, self.actor, INDICATOR, before.id, said)

    def delete_indicators(self, definition_id: int | None = None) -> int:
        """Delete those of one definition (NotFound), or all of the tenant's; how many."""
        with self._writing() as scope:
            if definition_id is not None:
                definitions.one(scope, definition_id)
            count = definitions.clear(scope, definition_id)
            of = {} if definition_id is None else {audit.OWNER: definition_id}
            audit.emptied(scope, self.actor, INDICATOR, count, of)
            return count

    def matchable(self) -> Iterator[Indicator]:
        """Enabled indicators of enabled definitions in the order of ids, without their stamps.

        Streamed from one snapshot of the store. Indicators of one definition share one object.
        Valid times are for the matcher to judge, at event time.
        """
        with self._reading() as scope:
            yield from indicators.matchable(scope)

    def import_indicators(
        self,
        definition_id: int,
        new: Iterable[Indicator],
        by: str,
        *,
        key: str,
        start: int = 0,
        position: Callable[[], int] | None = None,
        batch: int = BATCH,
    ) -> Iterator[ImportState]:
        """Add those that the definition does not have yet, in batches of one transaction each.

        Yields the checkpoint after every batch that is on disk; the last one is `finished`. `key` names
        the input (its content and what was asked of it). `position` tells how far the reader of `new` has
        come when a batch is full (default: `start` plus rows consumed). To resume, begin the reader at
        `import_state(definition_id, key).position`, the `start`. What is in already is skipped.
        QuotaExceeded keeps the batches before; NotFound where the definition is not there (any more).
        """
        with self._database.bulk() as begin:
            with begin() as connection:
                scope = self._scope(connection)
                state = imports.begin(scope, definition_id, key, start)
                entry, earlier = audit.importing(scope, self._who(by), definition_id), state.added
            rows, consumed = iter(new), start
            while chunk := list(islice(rows, batch)):
                consumed += len(chunk)
                place = consumed if position is None else position()
                with begin() as connection:
                    scope = self._scope(connection)
                    state = imports.store_batch(scope, state, chunk, place, by, self.quotas)
                    audit.count(scope, entry, state.added - earlier)
                yield state
            with begin() as connection:
                state = imports.finish(self._scope(connection), state)
            yield state

    def import_state(self, definition_id: int, key: str) -> ImportState | None:
        """How far an import of that input under that definition came; None where there was none."""
        with self._reading() as scope:
            return imports.state(scope, definition_id, key)

    # Detections and alerts

    def record(self, found: Iterable[Detection]) -> Recorded:
        """Store detections once and fold those that raise into their alerts; a replay changes nothing."""
        new = list(found)
        if not new:
            return Recorded(0, (), (), ())
        most = self.quotas.alerts_per_hour
        return self.allow_lists.recording(lambda s, over: alerts.record(s, self.uid, new, most, over))

    def alerts(
        self,
        *,
        after: int = 0,
        limit: int = PAGE,
        definition_uid: str | None = None,
        status: AlertStatus | None = None,
    ) -> list[Alert]:
        """A page of alerts by their numbers, of one definition or status or of all."""
        with self._reading() as scope:
            return alerts.page(scope, self.uid, after, limit, definition_uid, status)

    def alert(self, number_or_id: int | str) -> Alert:
        """The alert of a number (int) or of an alert id (str); NotFound."""
        with self._reading() as scope:
            return alerts.one(scope, self.uid, number_or_id)

    def alerts_by_id(self, ids: Iterable[str]) -> dict[str, Alert]:
        """Those of the alert ids that exist."""
        with self._reading() as scope:
            return alerts.by_id(scope, self.uid, ids)

    def detections(
        self, alert_id: str | None = None, *, raises: bool | None = None, after: int = 0, limit: int = PAGE
    ) -> list[tuple[int, Detection]]:
        """A page of detections with their row numbers, of one alert or of all, silent ones too."""
        with self._reading() as scope:
            return alerts.detections_page(scope, self.uid, alert_id, raises, after, limit)

    # Work on alerts

    def change_alert(self, number_or_id: int | str, changes: AlertChanges, by: str) -> Alert:
        """Set status, classification, determination or assigned_to, otherwise as `change_definition`."""
        with self._writing() as scope:
            before = alerts.one(scope, self.uid, number_or_id)
            after = casework.change(scope, before, changes, by)
            audit.changed(scope, self._who(by), ALERT, before, after)
            return after

    def add_comment(self, number_or_id: int | str, text: str, by: str) -> AlertComment:
        """Write something about an alert; NotFound, InvalidValue."""
        with self._writing() as scope:
            about = alerts.one(scope, self.uid, number_or_id)
            made = casework.comment(scope, about, text, by)
            audit.commented(scope, self._who(by), about, made)
            return made

    def comments(self, number_or_id: int | str) -> list[AlertComment]:
        """What was written about an alert, oldest first; NotFound."""
        with self._reading() as scope:
            return casework.comments(scope, alerts.one(scope, self.uid, number_or_id))

    def history(self, number_or_id: int | str) -> list[AlertChange]:
        """What was changed of an alert, oldest first; NotFound."""
        with self._reading() as scope:
            return casework.history(scope, alerts.one(scope, self.uid, number_or_id))

    # Suppressions

    def suppress_alert(
        self, number_or_id: int | str, given: SuppressAlert, by: str, check: AlertCheck | None = None
    ) -> list[Suppression]:
        """Resolve an alert as a false positive and keep its like in silence; NotFound, InvalidValue.

        One suppression, or one for each value of the alert. `check` as in `delete_definition`.
        """
        with self._writing() as scope:
            before = alerts.one(scope, self.uid, number_or_id)
            if check is not None:
                check(before)
            after = casework.change(scope, before, casework.FALSE_POSITIVE, by)
            audit.changed(scope, self._who(by), ALERT, before, after)
            made = suppressions.add(scope, suppressions.of_alert(scope, before, given), by)
            audit.created(scope, self._who(by), SUPPRESSION, made)
            return made

    def add_suppression(self, new: Suppression, by: str) -> Suppression:
        """With id and stamps made here; InvalidValue, QuotaExceeded."""
        with self._writing() as scope:
            (made,) = suppressions.add(scope, [new], by)
            audit.created(scope, self._who(by), SUPPRESSION, [made])
            return made

    def suppressions(self, *, after: int = 0, limit: int = PAGE) -> list[Suppression]:
        """A page of suppressions, ended ones too."""
        with self._reading() as scope:
            return suppressions.page(scope, after, limit)

    def change_suppression(self, number: int, changes: SuppressionChanges, by: str) -> Suppression:
        """Set `ends_at` or `reason`; NotFound, InvalidValue. `changes` may be a function."""
        with self._writing() as scope:
            before, after = suppressions.change(scope, number, changes)
            audit.changed(scope, self._who(by), SUPPRESSION, before, after)
            return after

    def delete_suppression(self, number: int, check: Callable[[Suppression], None] | None = None) -> None:
        """End one and forget it; NotFound. `check` as in `delete_definition`."""
        with self._writing() as scope:
            before = suppressions.delete(scope, number, check)
            audit.deleted(scope, self.actor, SUPPRESSION, number, audit.content(SUPPRESSION, before))

    def audit_log(self, *, after: int = 0, limit: int = PAGE) -> list[AuditEntry]:
        """A page of what was changed by whom, oldest first."""
        with self._reading() as scope:
            return audit.page(scope, after, limit)

    # Queries; each is InputError after QUERY_SECONDS
    def select(self, entity: Entity, query: Query, within: Within | None = None) -> Page[Any]:
        """What a query of `odata` selects of a set, in its order: of the whole set, or within one entity."""
        with self._querying() as scope:
            return queries.page(scope, entity, query, within)

    def select_each(
        self, entity: Entity, query: Query, within: Iterable[Within], *, counted: bool = False
    ) -> list[tuple[Page[Any], int | None]]:
        """For each place what a query selects within it, and how many it keeps if `counted`."""
        with self._querying() as scope:
            return [
                (
                    queries.page(scope, entity, query, place),
                    queries.count(scope, entity, query.where, place) if counted else None,
                )
                for place in within
            ]

    def count(self, entity: Entity, where: Expression | None = None, within: Within | None = None) -> int:
        """How many entities of a set a filter keeps."""
        with self._querying() as scope:
            return queries.count(scope, entity, where, within)

    def find(self, entity: Entity, column: str, values: Iterable[int | str]) -> list[Any]:
        """The entities of a set that hold one of the values in a column, as `id`; in no order."""
        with self._reading() as scope:
            return queries.nouns(scope, entity, column, values)

    # Counts and clients

    def generation(self) -> int:
        """A number that has grown with every change of definitions and indicators."""
        with self._reading() as scope:
            return counting.generation(scope)

    @contextmanager
    def standing(self) -> Iterator[Standing]:
        """Everything that is matched, and where that stands in the history of changes; one snapshot."""
        with self._reading() as scope:
            yield changes.standing(scope)

    def news(self, since: Position, most: int) -> News | None:
        """What changed since; None where `standing` has to be read: too old, or beyond `most` indicators."""
        with self._reading() as scope:
            return changes.news(scope, since, most)

    def drop_changes(self, generation: int) -> None:
        """Forget what changed up to a generation; `news` since an earlier one is None from then on."""
        with self._writing() as scope:
            changes.drop(scope, generation)

    def receipt(self, key: str) -> Receipt | None:
        """What was answered under an Idempotency-Key; None where that is unknown, or too long ago."""
        with self._reading() as scope:
            return receipts.find(scope, key)

    def keep_receipt(self, key: str, receipt: Receipt) -> Receipt:
        """Keep an answer under a key; the one that was there before wins and is given."""
        with self._writing() as scope:
            return receipts.keep(scope, key, receipt)

    def counts(self) -> Counts:
        """How much the tenant has; one row is read, whatever the size."""
        with self._reading() as scope:
            return counting.counts(scope)

    def applications(self) -> list[Application]:
        """All of the tenant's applications with their secrets (hashes), revoked ones too."""
        with self._reading() as scope:
            return clients.every(scope, self.uid)

    def add_application(self, name: str, roles: Iterable[str]) -> Application:
        """A new application with a client id made here and no secret yet."""
        with self._writing() as scope:
            made = clients.add(scope, self.uid, name, roles)
            said = {"Name": name, "Roles": " ".join(made.roles)}
            audit.of_client(scope, self.actor, AuditAction.CREATE, made.client_id, after=said)
            return made

    def add_secret(
        self,
        client_id: str,
        secret_hash: str,
        hint: str,
        description: str = "",
        expires_at: datetime | None = None,
    ) -> Secret:
        """Keep the hash of a new secret beside those there are; NotFound."""
        with self._writing() as scope:
            made = clients.add_secret(scope, client_id, secret_hash, hint, description, expires_at)
            said = {"Secret": made.id, "Description": description, "ExpiresAt": expires_at}
            audit.of_client(scope, self.actor, AuditAction.CHANGE, client_id, after=said)
            return made

    def revoke_secret(self, client_id: str, secret_id: int) -> None:
        """It is refused from now on; NotFound."""
        with self._writing() as scope:
            clients.revoke_secret(scope, client_id, secret_id)
            audit.revoked(scope, self.actor, client_id, {"Secret": secret_id})

    def revoke_application(self, client_id: str) -> None:
        """The application and all of its secrets are refused from now on; NotFound."""
        with self._writing() as scope:
            clients.revoke(scope, client_id)
            audit.revoked(scope, self.actor, client_id)

    def add_certificate(self, client_id: str, new: Certificate) -> Certificate:
        """Keep a certificate beside those there are; NotFound, InvalidValue."""
        with self._writing() as scope:
            made = credentials.add_certificate(scope, client_id, new)
            said = {"Certificate": made.id, "Subject": made.subject, "Sha256": made.sha256}
            audit.of_client(scope, self.actor, AuditAction.CHANGE, client_id, after=said)
            return made

    def revoke_certificate(self, client_id: str, number: int) -> None:
        """It is refused from now on; NotFound."""
        with self._writing() as scope:
            credentials.revoke_certificate(scope, client_id, number)
            audit.revoked(scope, self.actor, client_id, {"Certificate": number})

    @contextmanager
    def _reading(self) -> Iterator[Scope]:
        with self._database.reading() as connection:
            yield self._scope(connection)

    @contextmanager
    def _querying(self) -> Iterator[Scope]:
        with self._database.querying(QUERY_SECONDS) as connection:
            yield self._scope(connection)

    @contextmanager
    def _writing(self) -> Iterator[Scope]:
        with self._database.writing() as connection:
            yield self._scope(connection)

    def _who(self, by: str) -> Actor:
        """Who acts; where nobody was named, whom the stamps name."""
        return self.actor if self.actor.name else replace(self.actor, name=by)

    def _scope(self, connection: Connection) -> Scope:
        return Scope.walled(connection, self.tenant.id)
