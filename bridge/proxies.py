"""Which way calls go out: by the proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name, as httpx's clients
do by themselves; and never by one to this machine itself, which a proxy would look for on its own.
"""

from __future__ import annotations

import ipaddress
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

from bridge.errors import ConfigurationError

DIRECT: Mapping[str, None] = {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}
"""`mounts` of each client of httpx."""


def proxy_for(url: str) -> str | None:
    """The proxy on the way to `url`; None if there is none.

    Raises: ConfigurationError for one that httpx cannot speak to.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    known = urllib.request.getproxies()
    proxy = known.get(parts.scheme) or known.get("all")
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise ConfigurationError("HTTPS_PROXY, HTTP_PROXY or ALL_PROXY: not an http or https proxy")
    return proxy


def is_loopback(host: str) -> bool:
    """Whether the name or address is that of this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
