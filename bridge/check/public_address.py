"""The address that a sender posts to, compared with that of an endpoint."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def wanted_address(public_url: str, endpoint: str) -> str:
    """What has to be registered with the sender; `public_url` may be empty, if nobody said what it is."""
    return f"{public_url.rstrip('/') or 'https://YOUR-HOST'}/webhooks/{endpoint}"


def is_address_of(url: str, public_url: str, endpoint: str) -> bool:
    """Whether webhooks posted to `url` reach the endpoint; host and scheme count only if the public URL is known."""
    try:
        given, wanted = urlsplit(url), urlsplit(wanted_address(public_url, endpoint))
        if public_url and _origin(given) != _origin(wanted):
            return False
    except ValueError:
        return False
    return given.path == wanted.path if public_url else given.path.endswith(wanted.path)


def _origin(parts: SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)


def without_query(url: str) -> str:
    """Scheme, host and path: what stands before and behind them may be a secret."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return "an unreadable address"
