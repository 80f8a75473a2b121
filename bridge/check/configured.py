"""What the settings and the configuration file say, before anything is asked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from bridge.access import named
from bridge.check.finding import Finding
from bridge.rule_reach import dead_rules
from bridge.settings import PREFIX, SENDER_TOKENS, Environment, Settings, secret_variable

_SHORTEST_TOKEN = 16
"""Characters: of hexadecimal digits 64 bits, which nobody guesses at ten tries a minute."""
_GOVERNMENT = ("ddog-gov.com", "us2.ddog-gov.com")


def configured(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """Endpoints, keys, files of secrets, tokens of the admin, variables and rules."""
    return [
        *_endpoints(settings),
        *_keys(settings),
        *_files(settings),
        *_admin(settings),
        *_variables(environ),
        *_rules(settings),
    ]


def _endpoints(settings: Settings) -> list[Finding]:
    found = []
    for name in settings.endpoints:
        if name in settings.secrets:
            count = len(settings.secrets[name]())
            found.append(Finding("ok", "endpoint", f"/webhooks/{name} accepts {count} secret{'s' * (count != 1)}"))
        elif name in settings.configuration.endpoints:
            detail = f"{name} is configured but has no secret, so no route (set {secret_variable(name)})"
            found.append(Finding("problem", "endpoint", detail))
    if not settings.secrets:
        found.append(Finding("problem", "endpoint", "no endpoint has a secret (set DORA_BRIDGE_SECRETS__<ENDPOINT>)"))
    if not settings.application_key:
        for name in settings.incident_endpoints:
            detail = f"{name} sends to Incident Management, which needs an application key (set DD_APP_KEY)"
            found.append(Finding("problem", "endpoint", detail))
    return found


def _keys(settings: Settings) -> list[Finding]:
    found = []
    if settings.api_key is None:
        found.append(Finding("problem", "datadog", "no API key: nothing can be delivered (set DD_API_KEY)"))
    else:
        found.append(Finding("ok", "datadog", f"events go to {settings.datadog_url}"))
    if not settings.application_key:
        detail = "no application key: change failures, withdrawals and read-back are off (DD_APP_KEY)"
        found.append(Finding("warning", "datadog", detail))
    site = settings.environment.site
    if site in _GOVERNMENT and settings.environment.datadog_url is None:
        found.append(Finding("warning", "datadog", f"the site {site} does not offer DORA metrics (DD_SITE)"))
    return found


def _files(settings: Settings) -> list[Finding]:
    """Files without a secret in a folder of several: one alone keeps `check` from starting."""
    found = []
    for variable, folder in settings.secret_files.items():
        try:
            empty = folder.without_a_secret()
        except OSError:
            continue  # replaced just now
        if empty:
            detail = f"{', '.join(empty)} of the folder {'is' if len(empty) == 1 else 'are'} empty ({variable})"
            found.append(Finding("warning", "secrets", detail))
    return found


def _admin(settings: Settings) -> list[Finding]:
    short = [name for name, token, _ in named(settings.admin_tokens()) if len(token) < _SHORTEST_TOKEN]
    said = f"shorter than {_SHORTEST_TOKEN} characters: make one with openssl rand -hex 32 (DORA_BRIDGE_ADMIN_TOKEN)"
    return [Finding("warning", "admin", f"the token of the admin called {name} is {said}") for name in short]


def _variables(environ: Mapping[str, str]) -> list[Finding]:
    """Variables that look like settings and are none: with a slip in its name, a setting silently has its default."""
    known = {str(info.alias) for info in Environment.model_fields.values()}
    for one in (f"{PREFIX}ADMIN_TOKEN", *SENDER_TOKENS.values()):
        known |= {one, f"{one}_FILE"}
    found = []
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in known and not variable.startswith(f"{PREFIX}SECRETS__"):
            near = difflib.get_close_matches(variable, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            found.append(Finding("warning", "settings", f"{variable} is no setting{hint}"))
    return found


def _rules(settings: Settings) -> list[Finding]:
    return [
        Finding("warning", "rules", f"{dead.rule} can never match: {dead.why} (rules)")
        for dead in dead_rules(settings.configuration.rules, settings.endpoints)
    ]
