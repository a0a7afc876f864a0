"""Who signs in: people, their sessions, and what a one-time link gives.

People belong to no tenant, their memberships do, so this module asks without a tenant, as `directory` does:
a session by its token's digest, a link by its own, the memberships of a person. What changes a tenant's
people is in that tenant's audit log. Passwords, tokens and links come as digests; none can be had back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from indicia.errors import Forbidden, InvalidValue, NotFound
from indicia.model import Actor, AuditAction
from indicia.store import audit, rows, tables
from indicia.store.engine import Database
from indicia.store.members import (
    ADMINISTERING,
    NAME_LIMIT,
    PEOPLE,
    SESSIONS,
    end_links,
    login_of,
    printable,
    revoke,
)
from indicia.store.nouns import Link, Member, Person, Role, Session, Tenant, Visitor
from indicia.store.scope import Scope

SEEN_STEP = timedelta(seconds=60)
"""A session's last use is kept to this; a write for each request would be many."""
AGENT_LIMIT = 256
SHORTENED = NAME_LIMIT - 8
"""Characters that are kept of a name from elsewhere, so that a number fits behind it."""
_SPENT = "this link was used before, has expired or was revoked; ask for a new one"
_P, _M, _S, _L, _T = tables.people, tables.members, tables.sessions, tables.links, tables.tenants


@dataclass(frozen=True, slots=True)
class People:
    """Everybody who signs in. Each call is one transaction."""

    database: Database

    def by_name(self, name: str) -> tuple[Person, str | None] | None:
        """The person of that name in any letter case, with the digest of its password."""
        with self.database.reading() as connection:
            found = connection.execute(select(_P).where(_P.c.login == login_of(name))).first()
        return None if found is None else (rows.person(found), found.password)

    def of(self, uid: str) -> tuple[Person, str | None]:
        """The person of that uid, with the digest of its password; NotFound."""
        with self.database.reading() as connection:
            found = _person(connection, uid)
        return rows.person(found), found.password

    def memberships(self, uid: str) -> list[tuple[Tenant, Role]]:
        """The tenants that the person may enter, by name, and as what."""
        with self.database.reading() as connection:
            return [(entered.tenant, entered.member.role) for entered in _tenants(connection, uid)]

    def belongs_elsewhere(self, uid: str, tenant: Tenant) -> bool:
        """Whether the person is in another tenant too, disabled or not."""
        asked = select(_M.c.id).join(_P, _P.c.id == _M.c.person_id)
        with self.database.reading() as connection:
            others = asked.where(_P.c.uid == uid, _M.c.tenant_id != tenant.id)
            return connection.execute(others).first() is not None

    # Links

    def link(self, link_hash: str) -> Link | None:
        """The link of that digest; None where it is unknown, used or expired."""
        with self.database.reading() as connection:
            return _link(connection, link_hash)

    def join(self, link_hash: str, uid: str, through: Actor) -> Link:
        """Make a person that is there a member by a link, or raise its role; Forbidden, NotFound."""
        with self.database.writing() as connection:
            link = _take(connection, link_hash)
            found = _person(connection, uid)
            _admit(connection, link, found, _as(through, found.name))
            return link

    def begin(self, link_hash: str, name: str, password: str, through: Actor) -> tuple[Person, Link]:
        """Make a new person with a password a member by a link; Forbidden, InvalidValue for the name."""
        with self.database.writing() as connection:
            link = _take(connection, link_hash)
            made = _add(connection, name, password=password)
            _admit(connection, link, made, _as(through, made.name))
            return rows.person(made), link

    def set_password(self, link_hash: str, password: str, through: Actor) -> tuple[Person, Link]:
        """The new password of the person whom a link is for, who is let in again; sessions end. Forbidden."""
        with self.database.writing() as connection:
            link = _take(connection, link_hash)
            found = _person(connection, link.person_uid or "")
            connection.execute(update(_P).where(_P.c.id == found.id).values(password=password))
            connection.execute(delete(_S).where(_S.c.person_id == found.id))
            _admit(connection, link, found, _as(through, found.name))
            _note_everywhere(connection, found, _as(through, found.name), {"Password": "set by a link"})
            return rows.person(found), link

    def signed_on(
        self, issuer: str, subject: str, name: str, tenant: Tenant, role: Role, through: Actor
    ) -> Person:
        """The person for whom a provider vouches, made at the first time, with the role of now.

        Forbidden for who is disabled in the tenant. A name that somebody has already gets a number: whose
        the name is here does not depend on what a provider says.
        """
        with self.database.writing() as connection:
            known = (_P.c.issuer == issuer, _P.c.subject == subject)
            found = connection.execute(select(_P).where(*known)).first()
            if found is None:
                found = _add(connection, _free(connection, name), issuer=issuer, subject=subject)
            scope, mine = Scope(connection, tenant.id), _M.c.person_id == found.id
            member = scope.row(scope.select(_M).where(mine))
            if member is not None and member.disabled_at is not None:
                raise Forbidden("you are disabled in this tenant; ask an administrator")
            if member is None:
                _end_passwords(connection, found, _as(through, found.name))
            _assign(scope, found, role, issuer, _as(through, found.name), member)
            return rows.person(found)

    # Passwords

    def rehash(self, uid: str, password: str) -> None:
        """Keep the same password under another digest."""
        with self.database.writing() as connection:
            connection.execute(update(_P).where(_P.c.uid == uid).values(password=password))

    def change_password(self, uid: str, password: str, kept: str, actor: Actor) -> None:
        """Another password; all sessions but the one of digest `kept` end. NotFound."""
        with self.database.writing() as connection:
            found = _person(connection, uid)
            connection.execute(update(_P).where(_P.c.id == found.id).values(password=password))
            connection.execute(delete(_S).where(_S.c.person_id == found.id, _S.c.hash != kept))
            _note_everywhere(connection, found, actor, {"Password": "changed"})

    # Sessions

    def sign_in(
        self,
        uid: str,
        tenant: Tenant,
        session_hash: str,
        expires_at: datetime,
        actor: Actor,
        *,
        address: str = "",
        agent: str = "",
    ) -> None:
        """Keep a new session in a tenant; Forbidden where the person may not enter it."""
        now = rows.now()
        with self.database.writing() as connection:
            entered = next((one for one in _tenants(connection, uid) if one.tenant.id == tenant.id), None)
            if entered is None:
                raise Forbidden("you are no member of this tenant, or disabled there")
            connection.execute(delete(_S).where(_S.c.expires_at < rows.micros(now)))
            connection.execute(
                insert(_S).values(
                    tenant_id=tenant.id,
                    person_id=entered.person_id,
                    hash=session_hash,
                    created_at=rows.micros(now),
                    seen_at=rows.micros(now),
                    expires_at=rows.micros(expires_at),
                    address=address[:AGENT_LIMIT],
                    agent=agent[:AGENT_LIMIT],
                )
            )
            scope = Scope(connection, tenant.id)
            audit.note(scope, actor, AuditAction.SIGN_IN, SESSIONS, key=uid, after={"Address": address})

    def visitor(self, session_hash: str, idle: timedelta) -> Visitor | None:
        """Whom a session stands for; None where it is over, unused for `idle`, or its person locked out."""
        now = rows.now()
        asked = (
            select(_S, _P.c.uid, _P.c.name, _P.c.issuer)
            .join(_P, _P.c.id == _S.c.person_id)
            .where(
                _S.c.hash == session_hash,
                _S.c.expires_at > rows.micros(now),
                _S.c.seen_at > rows.micros(now - idle),
            )
        )
        with self.database.reading() as connection:
            found = connection.execute(asked).first()
            entered = _tenants(connection, found.uid) if found else ()
        here = next((one for one in entered if found and one.tenant.id == found.tenant_id), None)
        if found is None or here is None:
            return None
        session = rows.session(found, here.tenant.name)
        return Visitor(session, here.member, here.tenant, tuple(one.tenant for one in entered))

    def seen(self, visitor: Visitor) -> None:
        """Note that a session was used, if that was not noted within SEEN_STEP."""
        now = rows.now()
        if now - visitor.session.seen_at >= SEEN_STEP:
            with self.database.writing() as connection:
                used = update(_S).where(_S.c.id == visitor.session.id)
                connection.execute(used.values(seen_at=rows.micros(now)))

    def sessions(self, uid: str) -> list[Session]:
        """The sessions of a person in all tenants, the latest first; those over are not among them."""
        asked = (
            select(_S, _T.c.name.label("tenant"))
            .join(_P, _P.c.id == _S.c.person_id)
            .join(_T, _T.c.id == _S.c.tenant_id)
            .where(_P.c.uid == uid, _S.c.expires_at > rows.micros(rows.now()))
            .order_by(_S.c.seen_at.desc())
        )
        with self.database.reading() as connection:
            return [rows.session(row, row.tenant) for row in connection.execute(asked)]

    def sign_out(self, session_id: int, uid: str, actor: Actor) -> None:
        """End a session of a person; NotFound where it has none of that id."""
        with self.database.writing() as connection:
            found = _person(connection, uid)
            mine = (_S.c.id == session_id, _S.c.person_id == found.id)
            tenant_id = connection.execute(select(_S.c.tenant_id).where(*mine)).scalar()
            if tenant_id is None:
                raise NotFound("there is no such session; it may have ended already")
            connection.execute(delete(_S).where(*mine))
            audit.note(Scope(connection, tenant_id), actor, AuditAction.SIGN_OUT, SESSIONS, key=uid)

    def sign_out_everywhere(self, uid: str, actor: Actor) -> int:
        """End every session of a person; how many."""
        with self.database.writing() as connection:
            found = _person(connection, uid)
            asked = select(_S.c.tenant_id).where(_S.c.person_id == found.id)
            ended = list(connection.execute(asked).scalars())
            connection.execute(delete(_S).where(_S.c.person_id == found.id))
            for tenant_id in sorted(set(ended)):
                scope, count = Scope(connection, tenant_id), ended.count(tenant_id)
                audit.note(scope, actor, AuditAction.SIGN_OUT, SESSIONS, key=uid, count=count)
            return len(ended)


def _person(connection: Connection, uid: str) -> Row[Any]:
    found = connection.execute(select(_P).where(_P.c.uid == uid)).first()
    if found is None:
        raise NotFound("there is no such person")
    return found


class _Entered(NamedTuple):
    """A tenant that a person may enter, and what it is there."""

    tenant: Tenant
    person_id: int
    member: Member


def _tenants(connection: Connection, uid: str) -> list[_Entered]:
    """Those of a person by name; one query."""
    asked = (
        select(_M, _P.c.uid, _P.c.name, _P.c.issuer, *_OF_TENANT)
        .join(_P, _P.c.id == _M.c.person_id)
        .join(_T, _T.c.id == _M.c.tenant_id)
        .where(_P.c.uid == uid, _M.c.disabled_at.is_(None))
        .order_by(_T.c.name)
    )
    return [_Entered(_tenant(row), row.person_id, rows.member(row)) for row in connection.execute(asked)]


_OF_TENANT = (
    _T.c.uid.label("tenant_uid"),
    _T.c.name.label("tenant_name"),
    _T.c.created_at.label("tenant_created_at"),
)


def _tenant(row: Row[Any]) -> Tenant:
    """Of a row that has `_OF_TENANT`."""
    return Tenant(row.tenant_id, row.tenant_uid, row.tenant_name, rows.when(row.tenant_created_at))


def _link(connection: Connection, link_hash: str) -> Link | None:
    asked = (
        select(_L, _P.c.uid, *_OF_TENANT)
        .join(_T, _T.c.id == _L.c.tenant_id)
        .join(_P, _P.c.id == _L.c.person_id, isouter=True)
        .where(
            _L.c.hash == link_hash,
            _L.c.used_at.is_(None),
            _L.c.expires_at > rows.micros(rows.now()),
        )
    )
    found = connection.execute(asked).first()
    return None if found is None else rows.link(found, _tenant(found), found.uid)


def _take(connection: Connection, link_hash: str) -> Link:
    """The link, which from now on opens nothing any more; Forbidden where it does not already."""
    link = _link(connection, link_hash)
    if link is None:
        raise Forbidden(_SPENT)
    used = update(_L).where(_L.c.id == link.id, _L.c.used_at.is_(None))
    if not connection.execute(used.values(used_at=rows.micros(rows.now()))).rowcount:
        raise Forbidden(_SPENT)
    return link


def _end_passwords(connection: Connection, found: Row[Any], actor: Actor) -> None:
    """Links for the password of somebody who is to be in another tenant, too.

    Else whoever administers the first one could, by a link that was made before, be the person in the second.
    """
    mine = (_L.c.person_id == found.id, _L.c.used_at.is_(None))
    for tenant_id in connection.execute(select(_L.c.tenant_id).where(*mine).distinct()).scalars().all():
        revoke(Scope(connection, tenant_id), actor, *mine)


def _add(connection: Connection, name: str, **values: str | None) -> Row[Any]:
    """A new person; InvalidValue where the name is taken."""
    named = printable(name, "name")
    uid = str(uuid4())
    new = {"uid": uid, "name": named, "login": login_of(named), "created_at": rows.micros(rows.now())}
    try:
        connection.execute(insert(_P).values(**new, **values))
    except IntegrityError:
        raise InvalidValue(f"the name {named} is taken; choose another one", target="name") from None
    return _person(connection, uid)


def _free(connection: Connection, name: str) -> str:
    """The name, or with a number behind it where somebody has it."""
    wanted = "".join(letter for letter in name if letter.isprintable()).strip()[:SHORTENED] or "person"
    number, free = 1, wanted
    while connection.execute(select(_P.c.id).where(_P.c.login == login_of(free))).first():
        number += 1
        free = f"{wanted} ({number})"
    return free


def _admit(connection: Connection, link: Link, found: Row[Any], actor: Actor) -> None:
    """Make the person a member as a link says; who is one keeps a higher role, and is let in again."""
    scope = Scope(connection, link.tenant.id)
    known = scope.row(scope.select(_M).where(_M.c.person_id == found.id))
    role = max(link.role, Role.of(known.role)) if known else link.role
    if known is None:
        _end_passwords(connection, found, actor)
    _assign(scope, found, role, link.created_by, actor, known)


def _assign(scope: Scope, found: Row[Any], role: Role, by: str, actor: Actor, known: Row[Any] | None) -> None:
    """Make the person a member with a role, or change the membership to that, and let it in again."""
    mine = _M.c.person_id == found.id
    if role is Role.ADMINISTRATOR and not scope.count(_M, *ADMINISTERING):
        # Each start of the service has printed a link for the first administrator, and here it is.
        revoke(scope, actor, _L.c.person_id.is_(None), _L.c.role == role.word)
    if known is None:
        now = rows.micros(rows.now())
        scope.insert(_M, person_id=found.id, role=role.word, created_at=now, created_by=by)
        said = {"Name": found.name, "Role": role.word}
        audit.note(scope, actor, AuditAction.CREATE, PEOPLE, key=found.uid, after=said)
    elif known.disabled_at is not None or role.word != known.role:
        if role < Role.of(known.role):
            end_links(scope, actor, found.id, found.name)
        scope.update(_M, mine, role=role.word, disabled_at=None)
        before = {"Name": found.name, "Role": known.role, "Enabled": known.disabled_at is None}
        after = {"Name": found.name, "Role": role.word, "Enabled": True}
        audit.note(scope, actor, AuditAction.CHANGE, PEOPLE, key=found.uid, before=before, after=after)


def _note_everywhere(connection: Connection, found: Row[Any], actor: Actor, after: audit.Content) -> None:
    """In the audit log of each tenant that the person may enter."""
    for entered in _tenants(connection, found.uid):
        scope = Scope(connection, entered.tenant.id)
        said = {"Name": found.name} | dict(after)
        audit.note(scope, actor, AuditAction.CHANGE, PEOPLE, key=found.uid, after=said)


def _as(through: Actor, name: str) -> Actor:
    """Whoever opened a link acts as the person that it made."""
    return replace(through, name=name)
