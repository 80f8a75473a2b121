"""Whether GitHub's hooks are registered as an endpoint needs them, with the command that mends them.

Hooks: https://docs.github.com/en/rest/repos/webhooks (and /orgs/webhooks, which are alike); of an App, /apps/webhooks
has address and content type, and GET /app the events.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from bridge.backfill.github_hooks import hooks_of
from bridge.backfill.vendor_api import GITHUB
from bridge.check.finding import Finding
from bridge.check.public_address import is_address_of, wanted_address, without_query
from bridge.check.vendor_answer import vendor_answer
from bridge.errors import SenderUnreadable
from bridge.settings import SENDER_TOKENS, Secrets, Settings

_APP = "app/hook"


async def github_registration(settings: Settings, client: httpx.AsyncClient, public_url: str) -> list[Finding]:
    """Each hook that the configuration lists: as it is registered, and whether its failures are asked for again."""
    token = settings.sender_tokens.get("github")
    hooks = hooks_of(settings)
    found: list[Finding] = []
    if token is not None:
        found += [
            _none_listed(name)
            for name in settings.secrets
            if settings.endpoints[name].source.name == "github" and name not in {endpoint for endpoint, _, _ in hooks}
        ]
    for (endpoint, base_url, hook), events in hooks.items():
        if token is None:
            detail = f"{hook} is listed for {endpoint}, but failed deliveries are not asked for again without a token"
            found.append(Finding("warning", "github", f"{detail} ({SENDER_TOKENS['github']})"))
            continue
        try:
            found += await _registration(client, token, base_url, hook, endpoint, events, public_url)
            await vendor_answer(client, GITHUB, f"{base_url}/{hook}/deliveries", token, {"per_page": 1})
            found.append(Finding("ok", "github", f"failed deliveries of {hook} are asked for again"))
        except SenderUnreadable as error:
            detail = f"{error.detail} when asked for {hook} and its deliveries (hooks, {SENDER_TOKENS['github']})"
            found.append(Finding("warning", "github", detail))
    return found


def _none_listed(endpoint: str) -> Finding:
    detail = f"no hook of {endpoint} is listed: its registration is not checked, nor failures asked for again"
    return Finding("warning", "github", f"{detail} (endpoints.{endpoint}.hooks)")


async def _registration(
    client: httpx.AsyncClient,
    token: Secrets,
    base_url: str,
    hook: str,
    endpoint: str,
    events: Collection[str],
    public_url: str,
) -> list[Finding]:
    try:
        if hook == _APP:
            app = await vendor_answer(client, GITHUB, f"{base_url}/app", token)
            config = await vendor_answer(client, GITHUB, f"{base_url}/{hook}/config", token)
            registered = {"active": True, "events": app.get("events", ()), "config": config}
        else:
            registered = await vendor_answer(client, GITHUB, f"{base_url}/{hook}", token)
        faults = faults_of(registered, base_url, hook, endpoint, events, public_url)
    except (AttributeError, KeyError, TypeError, ValueError):
        return [Finding("warning", "github", f"GitHub describes {hook} in a way that is not known")]
    return faults or [Finding("ok", "github", f"{hook} is active and posts {', '.join(sorted(events))} to {endpoint}")]


def faults_of(
    registered: Mapping[str, Any],
    base_url: str,
    hook: str,
    endpoint: str,
    events: Collection[str],
    public_url: str = "",
) -> list[Finding]:
    """What is wrong with a hook as the API describes it, each with the command that mends it."""
    config: Mapping[str, Any] = registered["config"]
    faults = []

    def fault(what: str, mend: str, level: Any = "problem") -> None:
        faults.append(Finding(level, "github", f"{hook} {what}: {mend}"))

    mend = _Mend(base_url, hook)
    if not registered["active"]:
        fault("is not active", mend.hook("-F active=true"))
    url, wanted = str(config.get("url") or ""), wanted_address(public_url, endpoint)
    if not is_address_of(url, public_url, endpoint):
        fault(f"posts to {without_query(url)} and not to /webhooks/{endpoint}", mend.config(f"-f url={wanted}"))
    if config.get("content_type") not in ("json", "form"):
        fault("posts neither JSON nor forms", mend.config("-f content_type=json"))
    if not config.get("secret"):
        fault("has no secret, so every delivery is refused", mend.config('-f secret="$SECRET"'))
    if str(config.get("insecure_ssl", "0")) == "1":
        fault("does not look at certificates", mend.config("-f insecure_ssl=0"), "warning")
    sent = set(registered["events"])
    if "*" not in sent and (lacking := sorted(set(events) - sent)):
        fault(f"does not post {', '.join(lacking)}", mend.events(sent | set(lacking), lacking))
    code = (registered.get("last_response") or {}).get("code")
    if code and not 200 <= int(code) < 300:
        fault(f"was answered {int(code)} the last time", _meaning(int(code), endpoint), "warning")
    return faults


def _meaning(code: int, endpoint: str) -> str:
    if code == 401:
        return f"its secret is not one of {endpoint}'s"
    if code == 404:
        return f"{endpoint} has no secret, or the address is wrong"
    if code == 503:
        return "Redis was away"
    return "look at its recent deliveries"


class _Mend:
    """Commands of GitHub's own command line."""

    def __init__(self, base_url: str, hook: str) -> None:
        host = urlsplit(base_url).hostname
        self._start = "gh api -X PATCH" if host == "api.github.com" else f"GH_HOST={host} gh api -X PATCH"
        self._hook = hook

    def hook(self, fields: str) -> str:
        return f"{self._start} {self._hook} {fields}"

    def config(self, fields: str) -> str:
        """Of address, secret and the like: PATCH of the hook itself would take away a secret that is not repeated."""
        return f"{self._start} {self._hook}/config {fields}"

    def events(self, all_: Collection[str], lacking: Collection[str]) -> str:
        if self._hook == _APP:
            return f"add {', '.join(lacking)} in the settings of the App (Permissions & events)"
        if self._hook.startswith("repos/"):
            return self.hook(" ".join(f"-f 'add_events[]={one}'" for one in lacking))
        return self.hook(" ".join(f"-f 'events[]={one}'" for one in sorted(all_)))  # there is no add_events
