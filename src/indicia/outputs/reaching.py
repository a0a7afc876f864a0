"""Connections to receivers, and to which addresses there may be none.

A name is resolved, the addresses are looked at, and one of these very addresses is connected to: what the
name means a moment later does not matter. It is done anew for each connection and each redirect.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from indicia.errors import InvalidValue, Unreachable

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a host as texts; OSError where it has none."""
CONNECT_SECONDS = 10.0
_TRANSLATED = IPv6Network("64:ff9b::/96")
"""IPv4 by way of a translator (RFC 6052)."""


def resolve(host: str, port: int) -> list[str]:
    """As the system does it."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def public(address: Address) -> bool:
    """Whether it is one of the internet: not private, loopback, link-local, shared, reserved, multicast.

    Of an IPv6 address that stands for an IPv4 one, both are looked at.
    """
    inner: list[Address] = []
    if isinstance(address, IPv6Address):
        teredo = address.teredo or ()
        inner = [found for found in (address.ipv4_mapped, address.sixtofour, *teredo) if found is not None]
        if address in _TRANSLATED:
            inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
        if address.ipv4_mapped is not None or address in _TRANSLATED:
            return all(map(public, inner))
    return address.is_global and not address.is_multicast and all(map(public, inner))


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which addresses may be connected to: those of the internet, and what is named; `any` is all."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    everything: bool = False

    @classmethod
    def of(cls, text: str) -> Allowed:
        """From `any`, or addresses and networks joined by commas; InvalidValue."""
        if text == "any":
            return cls(everything=True)
        try:
            return cls(tuple(ip_network(part.strip()) for part in text.split(",") if part.strip()))
        except ValueError as error:
            raise InvalidValue(f"allow must be `any` or networks: {error}", target="Options") from None

    def __contains__(self, address: Address) -> bool:
        known = [address]
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            known.append(address.ipv4_mapped)
        named = any(one in network for one in known for network in self.networks)
        return self.everything or named or public(address)


def connect(host: str, port: int, allowed: Allowed, resolving: Resolve = resolve) -> socket.socket:
    """A TCP connection to a host; Unreachable with what to do."""
    try:
        addresses = resolving(host, port)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{host} has no address: {error}") from None
    refused, fault = "", ""
    for text in addresses:
        if ip_address(text) not in allowed:
            refused = refused or text
            continue
        try:
            made = socket.create_connection((text, port), timeout=CONNECT_SECONDS)
        except OSError as error:
            fault = f"{host}:{port} cannot be reached: {error.strerror or error}"
            continue
        # What is really connected to, whatever was asked for.
        peer = str(made.getpeername()[0])
        if ip_address(peer) in allowed:
            return made
        made.close()
        refused = peer
    raise Unreachable(
        fault
        or f"{host} leads to {refused}, which is no address of the internet; "
        f"where that is meant, allow it: --option allow={refused}"
    )
