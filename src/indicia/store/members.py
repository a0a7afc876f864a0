"""The members of one tenant, and the links by which people become members or set a new password.

A tenant never stays without an administrator by what is done here. What is said of people is in the audit
log under PEOPLE; of links and sessions never more than that there was one.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, or_

from indicia.errors import InvalidValue, NotFound, QuotaExceeded
from indicia.model import Actor, AuditAction
from indicia.store import audit, rows
from indicia.store.nouns import Link, Member, Role, Session
from indicia.store.parts import Part
from indicia.store.scope import Scope
from indicia.store.tables import links, members, people, sessions

PEOPLE = "People"
"""What the audit log calls them."""
LINKS = "Links"
SESSIONS = "Sessions"
MOST_LINKS = 100
"""Links of a tenant that can be used at one time."""
NAME_LIMIT = 64


def login_of(name: str) -> str:
    """A name as it is compared: NFKC, without letter case."""
    return unicodedata.normalize("NFKC", name.strip()).casefold()


@dataclass(frozen=True, slots=True)
class Members(Part):
    """The members of a tenant. Each call is one transaction."""

    def all(self) -> list[Member]:
        """Every member by name, disabled ones too."""
        with self._reading() as scope:
            seen = {row.person_id: row.seen_at for row in scope.rows(_last_seen(scope))}
            found = scope.rows(_every(scope).order_by(people.c.login))
            return [rows.member(row, seen.get(row.person_id)) for row in found]

    def page(self, after: str = "", limit: int = 50) -> list[Member]:
        """Up to `limit` members by name, those whose name comes after `after`."""
        with self._reading() as scope:
            wanted = _every(scope).where(people.c.login > login_of(after)).order_by(people.c.login)
            found = scope.rows(wanted.limit(limit))
            some = sessions.c.person_id.in_([row.person_id for row in found])
            seen = {row.person_id: row.seen_at for row in scope.rows(_last_seen(scope).where(some))}
            return [rows.member(row, seen.get(row.person_id)) for row in found]

    def one(self, uid: str) -> Member:
        """The member of a person's uid; NotFound."""
        with self._reading() as scope:
            found = _one(scope, uid)
            seen = scope.row(_last_seen(scope).where(sessions.c.person_id == found.person_id))
            return rows.member(found, None if seen is None else seen.seen_at)

    def change_role(self, uid: str, role: Role) -> Member:
        """Give another role; links for and by it end. NotFound, InvalidValue for the last administrator."""
        with self._writing() as scope:
            found = _one(scope, uid)
            before = rows.member(found)
            if role < Role.ADMINISTRATOR:
                _not_the_last(scope, before)
            if role != before.role:
                scope.update(members, members.c.id == found.id, role=role.word)
                self._note(scope, before, {"Role": before.role.word}, {"Role": role.word})
                end_links(scope, self.actor, found.person_id, before.name)
            return rows.member(_one(scope, uid))

    def disable(self, uid: str) -> Member:
        """Let it in no more until `enable`; its sessions and links here end. NotFound, InvalidValue."""
        with self._writing() as scope:
            found = _one(scope, uid)
            before = rows.member(found)
            _not_the_last(scope, before)
            if before.disabled_at is None:
                scope.update(members, members.c.id == found.id, disabled_at=rows.micros(rows.now()))
                self._note(scope, before, {"Enabled": True}, {"Enabled": False})
                end_links(scope, self.actor, found.person_id, before.name)
            scope.delete(sessions, sessions.c.person_id == found.person_id)
            return rows.member(_one(scope, uid))

    def enable(self, uid: str) -> Member:
        """Let a disabled one in again; NotFound."""
        with self._writing() as scope:
            found = _one(scope, uid)
            if found.disabled_at is not None:
                scope.update(members, members.c.id == found.id, disabled_at=None)
                self._note(scope, rows.member(found), {"Enabled": False}, {"Enabled": True})
            return rows.member(_one(scope, uid))

    def remove(self, uid: str) -> None:
        """It is no member any more; sessions and links here end. NotFound, InvalidValue for the last one."""
        with self._writing() as scope:
            found = _one(scope, uid)
            before = rows.member(found)
            _not_the_last(scope, before)
            scope.delete(members, members.c.id == found.id)
            end_links(scope, self.actor, found.person_id, before.name)
            said = {"Name": before.name, "Role": before.role.word}
            audit.note(scope, self.actor, AuditAction.DELETE, PEOPLE, key=uid, before=said)

    def has_administrator(self) -> bool:
        """Whether somebody can administer the tenant."""
        with self._reading() as scope:
            return bool(scope.count(members, *ADMINISTERING))

    def sessions(self, uid: str) -> list[Session]:
        """The sessions of a member in this tenant, the latest first; NotFound."""
        with self._reading() as scope:
            mine = scope.select(sessions).where(sessions.c.person_id == _one(scope, uid).person_id)
            return [rows.session(row, self.tenant.name) for row in scope.rows(mine.order_by(_LATEST))]

    def sign_out(self, uid: str) -> int:
        """End the sessions of a member in this tenant; how many. NotFound."""
        with self._writing() as scope:
            count = scope.delete(sessions, sessions.c.person_id == _one(scope, uid).person_id)
            if count:
                audit.note(scope, self.actor, AuditAction.SIGN_OUT, SESSIONS, key=uid, count=count)
            return count

    # Links

    def invite(self, link_hash: str, role: Role, name: str, valid: timedelta) -> Link:
        """A link by which somebody becomes a member; InvalidValue, QuotaExceeded."""
        return self._add_link(link_hash, role, name, valid, None)

    def reset(self, link_hash: str, uid: str, valid: timedelta, role: Role = Role.READER) -> Link:
        """A link by which a member sets a new password; NotFound, InvalidValue where it signs on elsewhere.

        Who uses it has at least that role then, and the one that it has already.

        The password is the person's in every tenant: see `People.belongs_elsewhere`.
        """
        with self._reading() as scope:
            found = _one(scope, uid)
        if found.issuer is not None:
            raise InvalidValue(f"{found.name} signs on at {found.issuer} and has no password here")
        return self._add_link(link_hash, max(role, Role.of(found.role)), found.name, valid, found.person_id)

    def links(self) -> list[Link]:
        """Those that can be used, the latest first."""
        with self._reading() as scope:
            found = scope.rows(_usable(scope).order_by(links.c.id.desc()))
            uids = {row.person_id: row.uid for row in scope.rows(_every(scope))}
            return [rows.link(row, self.tenant, uids.get(row.person_id)) for row in found]

    def revoke_link(self, number: int) -> None:
        """It opens nothing any more; NotFound."""
        with self._writing() as scope:
            if not revoke(scope, self.actor, links.c.id == number):
                raise NotFound(f"there is no link {number} that could be used; see the list of members")

    def _add_link(
        self, link_hash: str, role: Role, name: str, valid: timedelta, person_id: int | None
    ) -> Link:
        named = printable(name, "name") if name else ""
        with self._writing() as scope:
            now = rows.now()
            scope.delete(links, links.c.expires_at < rows.micros(now))
            if scope.count(links, links.c.used_at.is_(None)) >= MOST_LINKS:
                raise QuotaExceeded(f"there are {MOST_LINKS} links that can be used; revoke some first")
            number = scope.insert(
                links,
                hash=link_hash,
                role=role.word,
                person_id=person_id,
                name=named,
                created_at=rows.micros(now),
                created_by=self.actor.name,
                expires_at=rows.micros(now + valid),
            )
            said = {"For": named, "Role": role.word, "ExpiresAt": now + valid}
            audit.note(scope, self.actor, AuditAction.CREATE, LINKS, key=number, after=said)
            (made,) = scope.rows(scope.select(links).where(links.c.id == number))
            uids = {row.person_id: row.uid for row in scope.rows(_every(scope))}
            return rows.link(made, self.tenant, uids.get(person_id))

    def _note(self, scope: Scope, who: Member, before: audit.Content, after: audit.Content) -> None:
        named = {"Name": who.name}
        audit.note(
            scope,
            self.actor,
            AuditAction.CHANGE,
            PEOPLE,
            key=who.uid,
            before=named | dict(before),
            after=named | dict(after),
        )


def revoke(scope: Scope, actor: Actor, *which: ColumnElement[bool]) -> int:
    """Links of the tenant that were not used and will not be; how many."""
    unused = scope.select(links).where(links.c.used_at.is_(None), *which).order_by(links.c.id)
    found = [row.id for row in scope.rows(unused)]
    for number in found:
        scope.delete(links, links.c.id == number)
        audit.note(scope, actor, AuditAction.REVOKE, LINKS, key=number)
    return len(found)


def end_links(scope: Scope, actor: Actor, person_id: int, name: str) -> int:
    """Nothing gives back what a member was: no link for its password, no invitation that it made."""
    return revoke(scope, actor, or_(links.c.person_id == person_id, links.c.created_by == name))


def printable(text: str, target: str) -> str:
    """The text without white space around it; InvalidValue unless it has 1 to 64 printable characters."""
    text = text.strip()
    if not text or len(text) > NAME_LIMIT or not text.isprintable():
        raise InvalidValue(f"has 1 to {NAME_LIMIT} printable characters", target=target)
    return text


ADMINISTERING = (members.c.role == Role.ADMINISTRATOR.word, members.c.disabled_at.is_(None))
_LATEST = sessions.c.seen_at.desc()


def _not_the_last(scope: Scope, member: Member) -> None:
    if member.role is Role.ADMINISTRATOR and member.disabled_at is None:
        if scope.count(members, *ADMINISTERING) > 1:
            return
        raise InvalidValue(
            f"{member.name} is the last administrator of this tenant; make somebody else one first",
            target="role",
        )


def _every(scope: Scope) -> Select[Any]:
    """Members with what is known of their persons."""
    known = (people.c.uid, people.c.name, people.c.issuer)
    return scope.select(members, *members.c, *known).join(people, people.c.id == members.c.person_id)


def _one(scope: Scope, uid: str) -> Row[Any]:
    found = scope.row(_every(scope).where(people.c.uid == uid))
    if found is None:
        raise NotFound("there is no such member in this tenant")
    return found


def _last_seen(scope: Scope) -> Select[Any]:
    latest = func.max(sessions.c.seen_at).label("seen_at")
    return scope.select(sessions, sessions.c.person_id, latest).group_by(sessions.c.person_id)


def _usable(scope: Scope) -> Select[Any]:
    return scope.select(links).where(links.c.used_at.is_(None), links.c.expires_at > rows.micros(rows.now()))
