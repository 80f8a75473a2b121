"""Whether a web process answers: where none does, senders' webhooks are lost."""

from __future__ import annotations

import httpx

from bridge.check.finding import Finding
from bridge.proxies import is_loopback
from bridge.settings import Settings

_NOBODY = (502, 503, 504)
"""What a proxy answers for a bridge that does not."""


async def web_process(settings: Settings, client: httpx.AsyncClient, public_url: str) -> list[Finding]:
    """The answer to GET /livez of `public_url`, or without it of the public listener where it is one of this machine.

    Silence at `public_url` is a problem. Here it is a warning: the web process may run elsewhere.
    """
    listen = settings.environment.listen
    if public_url:
        address, mend = public_url.rstrip("/"), "dora-bridge serve, --public-url"
    elif is_loopback(listen.rpartition(":")[0]):
        address, mend = f"http://{listen}", "DORA_BRIDGE_LISTEN; --public-url asks elsewhere"
    else:
        return []
    try:
        status = (await client.get(f"{address}/livez")).status_code
    except (httpx.TransportError, httpx.InvalidURL) as error:
        said = f"no web process answers at {address}: {type(error).__name__}"
        return [Finding("problem" if public_url else "warning", "web", f"{said} ({mend})")]
    if status in _NOBODY:
        said = f"no web process answers at {address}: status {status}"
        return [Finding("problem" if public_url else "warning", "web", f"{said} ({mend})")]
    if status != 200:
        said = f"{address} answers {status} to GET /livez: something else may be listening there"
        return [Finding("warning", "web", f"{said} ({mend})")]
    return [Finding("ok", "web", f"a web process answers at {address}")]
