"""What would lose events, or keep them from Datadog: `dora-bridge check`.

One file for each thing that is looked at; a check only reads, whatever it finds.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import httpx
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from bridge import redis_url
from bridge.check.configured import configured
from bridge.check.datadog_keys import datadog_keys
from bridge.check.finding import Finding
from bridge.check.github_registration import github_registration
from bridge.check.heard import SILENT_DAYS, heard
from bridge.check.pagerduty_registration import pagerduty_registration
from bridge.check.redis_rights import redis_rights
from bridge.check.redis_server import redis_server
from bridge.check.under_way import under_way
from bridge.check.web_process import web_process
from bridge.dead_letters import DeadLetters
from bridge.last_heard import LastHeard
from bridge.ledger import Ledger
from bridge.proxies import DIRECT
from bridge.settings import Settings

_TIMEOUT_S = 10.0


async def findings(
    settings: Settings,
    environ: Mapping[str, str],
    transport: httpx.AsyncBaseTransport | None = None,
    *,
    public_url: str = "",
    silent_days: float = SILENT_DAYS,
) -> list[Finding]:
    """All findings, of the configuration first, then of the world.

    `transport` makes the calls of Datadog, the senders and the public listener; `public_url` is where senders find
    that; a source without a webhook for `silent_days` is told of.
    """
    found = configured(settings, environ)
    async with httpx.AsyncClient(transport=transport, timeout=_TIMEOUT_S, mounts=DIRECT) as client:
        found += await datadog_keys(settings, client)
        found += await github_registration(settings, client, public_url)
        found += await pagerduty_registration(settings, client, public_url)
        found += await web_process(settings, client, public_url)
    return [*found, *await _of_redis(settings, silent_days)]


async def _of_redis(settings: Settings, silent_days: float) -> list[Finding]:
    """The server, and what the ledger in it tells."""
    url, retention = settings.environment.redis_url, settings.configuration.retention
    redis = redis_url.impatient(url)
    found: list[Finding] = []
    try:
        found += await redis_server(redis, url)
        found += await redis_rights(redis)
        found += await under_way(settings, Ledger(redis, retention), DeadLetters(redis, retention))
        found += await heard(settings, LastHeard(redis), silent_days=silent_days)
    except NoPermissionError:
        if not any(one.level == "problem" for one in found):
            found.append(Finding("problem", "redis", "the user lacks permissions (DORA_BRIDGE_REDIS_URL)"))
    except AuthenticationError:
        found.append(Finding("problem", "redis", "user or password are refused (DORA_BRIDGE_REDIS_URL)"))
    except (RedisError, OSError) as error:
        if _is_of_certificates(error):
            detail = "its certificate is not trusted, or not of its name (DORA_BRIDGE_REDIS_CA, DORA_BRIDGE_REDIS_URL)"
        else:
            detail = f"not reachable: {type(error).__name__} (DORA_BRIDGE_REDIS_URL)"
        found.append(Finding("problem", "redis", detail))
    finally:
        await redis.aclose()
    return found


def _is_of_certificates(error: BaseException | None) -> bool:
    """redis-py makes one kind of error of all that keeps it from connecting; what it was stands behind it."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
