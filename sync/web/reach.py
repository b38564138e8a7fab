"""Can `web.public_url` be right: what can be told from here, before a store tries."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from config.model import Web

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Host name -> addresses. Raises OSError when there are none."""
NAMES_INSIDE = (".local", ".localhost", ".internal", ".lan", ".home", ".home.arpa", ".test", ".invalid")


async def doubts(web: Web | None, resolve: Resolve | None = None) -> list[str]:
    """Say what is wrong with the public address, in a sentence each; nothing for an address that may be right."""
    if web is None or web.public_url is None:
        return []
    parts = urlsplit(web.public_url)
    host = (parts.hostname or "").rstrip(".")
    said = []
    if parts.scheme != "https":
        said.append("`public_url` must begin with https://: stores send webhooks over nothing else")
    inside = _inside(host)
    if inside:
        return [*said, f"`public_url` names {inside}: stores cannot reach that from outside"]
    return said if _as_address(host) else [*said, *await _unresolved(host, resolve or _resolve)]


def _inside(host: str) -> str | None:
    """Say in what way a host is one that only this machine or network knows."""
    address = _as_address(host)
    if address is not None:
        return None if address.is_global else "a private address"
    if host == "localhost" or host.endswith(NAMES_INSIDE):
        return "this machine, or a name of the local network"
    return None if "." in host else "a name without a dot"


async def _unresolved(host: str, resolve: Resolve) -> list[str]:
    try:
        found = await resolve(host)
    except OSError:
        return ["the host of `public_url` has no address: set its DNS record, or correct the name"]
    addresses = [address for each in found if (address := _as_address(each))]
    if addresses and not any(address.is_global for address in addresses):
        return ["the host of `public_url` leads to a private address: stores cannot reach that from outside"]
    return []


def _as_address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


async def _resolve(host: str) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]
