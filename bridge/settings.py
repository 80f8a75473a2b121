"""Settings: the environment and the configuration file, read once by the entry point and passed down.

Nothing else reads the environment. Names are those of the README's table; a test keeps them in step.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from bridge import configuration, redis_url
from bridge.configuration import Configuration
from bridge.errors import ConfigurationError
from bridge.logs import log
from bridge.source import Endpoint

PREFIX = "DORA_BRIDGE_"
SENDER_TOKENS = {source: f"{PREFIX}{source.upper()}_TOKEN" for source in ("github", "pagerduty", "argocd")}
"""Source -> the variable with the token of its API, for catching up; each has a `_FILE` variant too."""
API_KEY, APP_KEY = "DD_API_KEY", "DD_APP_KEY"
"""The variables with Datadog's keys; each has a `_FILE` variant too."""
_SECRETS = f"{PREFIX}SECRETS__"
_FILE = "_FILE"
_LOOK_AGAIN_S = 1.0


def _listen_address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("not HOST:PORT")
    return text


def _http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        valid = valid and parts.username is None  # the address is told in logs
    except ValueError:
        valid = False  # its message would repeat the value
    if not valid:
        raise ValueError("not an http or https URL without credentials")
    return text.rstrip("/")


def _redis_url(text: str) -> str:
    redis_url.check(text)
    return text


Listen = Annotated[str, AfterValidator(_listen_address)]


class Environment(BaseModel):
    """The variables with one plain value each; the name of each is the alias of its field."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    api_key: SecretStr | None = Field(None, alias=API_KEY, description="Datadog API key; the worker needs it")
    app_key: SecretStr | None = Field(
        None,
        alias=APP_KEY,
        description="Datadog application key; without it change failures, withdrawals and read-back are off",
    )
    site: str = Field("datadoghq.com", alias="DD_SITE", pattern=r"^[a-z0-9.-]+$", description="Datadog site")
    datadog_url: Annotated[str, AfterValidator(_http_url)] | None = Field(
        None, alias=f"{PREFIX}DATADOG_URL", description="Instead of https://api.<site>: a sandbox or a proxy"
    )
    redis_url: Annotated[str, AfterValidator(_redis_url)] = Field(
        "redis://127.0.0.1:6379/0",
        alias=f"{PREFIX}REDIS_URL",
        repr=False,  # it may hold a password
        description="redis://, rediss:// or redis+sentinel://",
    )
    redis_ca: Path | None = Field(
        None,
        alias=f"{PREFIX}REDIS_CA",
        description="File of the certificates that a rediss:// server is trusted by; by default the system's",
    )
    listen: Listen = Field("127.0.0.1:8080", alias=f"{PREFIX}LISTEN", description="Public listener, HOST:PORT")
    internal_listen: Listen = Field(
        "127.0.0.1:9090", alias=f"{PREFIX}INTERNAL_LISTEN", description="Listener of metrics and admin"
    )
    worker_listen: Listen | None = Field(
        None,
        alias=f"{PREFIX}WORKER_LISTEN",
        description="Listener of a worker's metrics and liveness; without it there is none",
    )
    concurrency: int = Field(
        50,
        alias=f"{PREFIX}CONCURRENCY",
        ge=1,
        le=1000,
        description="Requests in flight for each worker process",
    )
    config: Path | None = Field(None, alias=f"{PREFIX}CONFIG", description="Path of bridge.yaml")


class SecretFile:
    """Secrets in a mounted file, one a line, or in the files of a folder; a change is noticed within a second."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked_at = float("-inf")
        self._stamp: object = None
        self._secrets: tuple[bytes, ...] = ()

    def __call__(self) -> tuple[bytes, ...]:
        """The secrets now; those of before while the file is missing or empty, as during a rotation.

        So emptying a file revokes nothing, which the log says: an endpoint without a secret would answer 404, and
        every event of it would be lost for a slip of somebody who writes a file in two steps.
        """
        now = self._clock()
        if now - self._looked_at >= _LOOK_AGAIN_S:
            self._looked_at = now
            try:
                files = self._files()
                stamp = [(one.st_mtime_ns, one.st_ino, one.st_size) for one in map(Path.stat, files)]
                if stamp != self._stamp:
                    lines = [line.strip() for file in files for line in file.read_bytes().splitlines()]
                    found = tuple(filter(None, lines))
                    if self._secrets and not found:
                        log("secrets.empty", logging.WARNING, file=str(self._path))
                    self._stamp, self._secrets = stamp, found or self._secrets
            except OSError:
                pass  # a mounted secret is replaced by unlinking: the next look finds it
        return self._secrets

    @property
    def is_readable(self) -> bool:
        """Whether it was ever read, with or without a secret in it."""
        return self._stamp is not None

    def without_a_secret(self) -> list[str]:
        """The names of the files that hold none now. Raises: OSError."""
        return [one.name for one in self._files() if not one.read_bytes().strip()]

    def _files(self) -> list[Path]:
        """The file; of a folder its files by name, without the `..data` that Kubernetes keeps beside them."""
        if not self._path.is_dir():
            return [self._path]
        return sorted(one for one in self._path.iterdir() if one.is_file() and not one.name.startswith(".."))


Secrets = Callable[[], tuple[bytes, ...]]
"""All secrets that are accepted now; a signature may match any of them."""


@dataclass(frozen=True, slots=True)
class Settings:
    environment: Environment
    configuration: Configuration
    endpoints: Mapping[str, Endpoint]
    """All configured endpoints, with or without secrets."""
    secrets: Mapping[str, Secrets] = field(repr=False)
    """endpoint -> its secrets; only endpoints that have some, the others have no route."""
    admin_tokens: Secrets = field(repr=False, default=tuple)
    sender_tokens: Mapping[str, Secrets] = field(repr=False, default_factory=dict)
    """Source -> token(s) of that sender's API, the first of which is used; only those that are set."""
    api_key_file: SecretFile | None = field(repr=False, default=None)
    app_key_file: SecretFile | None = field(repr=False, default=None)

    @property
    def secret_files(self) -> Mapping[str, SecretFile]:
        """Variable -> the file, or folder of files, that it names."""
        given: dict[str, Secrets | None] = {
            API_KEY: self.api_key_file,
            APP_KEY: self.app_key_file,
            f"{PREFIX}ADMIN_TOKEN": self.admin_tokens,
            **{SENDER_TOKENS[source]: tokens for source, tokens in self.sender_tokens.items()},
            **{secret_variable(endpoint): secrets for endpoint, secrets in self.secrets.items()},
        }
        return {variable + _FILE: one for variable, one in given.items() if isinstance(one, SecretFile)}

    @property
    def datadog_url(self) -> str:
        """Base of all calls, without a slash at its end."""
        return self.environment.datadog_url or f"https://api.{self.environment.site}"

    @property
    def api_key(self) -> str | None:
        """Datadog's API key as of now: that of a file changes with the file, so ask again for each call."""
        return _key(self.api_key_file, self.environment.api_key)

    @property
    def app_key(self) -> str | None:
        """Datadog's application key as of now, likewise."""
        return _key(self.app_key_file, self.environment.app_key)

    @property
    def application_key(self) -> bool:
        return self.app_key_file is not None or self.environment.app_key is not None

    @property
    def incident_endpoints(self) -> list[str]:
        """The endpoints whose failures go to Incident Management, for which there is no way without that key."""
        return [name for name, one in self.endpoints.items() if getattr(one.options, "send_as", "") == "incident"]

    def check_application_key(self) -> None:
        """Raises: ConfigurationError if an endpoint needs Datadog's application key, and there is none."""
        if self.incident_endpoints and not self.application_key:
            raise ConfigurationError(
                f"DD_APP_KEY: not set, but endpoints.{self.incident_endpoints[0]}.send_as is incident, and Incident "
                "Management takes no call without an application key"
            )


def read(environ: Mapping[str, str]) -> Settings:
    """The settings of these variables and the file they name.

    Raises: ConfigurationError naming each variable or key that is wrong.
    """
    aliases = [str(info.alias) for info in Environment.model_fields.values()]
    # without the line feed at the end that a value read from a file often has: a key with one makes no header
    given = {name: value for name in aliases if (value := environ.get(name, "").strip())}
    try:
        environment = Environment.model_validate(given)
    except pydantic.ValidationError as error:
        raise ConfigurationError(_problems(error)) from error
    environment = _trusting(environment)
    if environment.config is None:
        parsed, endpoints = configuration.parse({}, "bridge.yaml")
    else:
        parsed, endpoints = configuration.load(environment.config)
    return Settings(
        environment=environment,
        configuration=parsed,
        endpoints=endpoints,
        secrets=_secrets_of(environ, endpoints),
        admin_tokens=_one_or_several(environ, f"{PREFIX}ADMIN_TOKEN") or tuple,
        sender_tokens={
            source: tokens
            for source, variable in SENDER_TOKENS.items()
            if (tokens := _one_or_several(environ, variable)) is not None
        },
        api_key_file=_file_of(environ, API_KEY),
        app_key_file=_file_of(environ, APP_KEY),
    )


def secret_variable(endpoint: str) -> str:
    """The variable that holds the secrets of an endpoint."""
    return _SECRETS + endpoint.upper().replace("-", "_")


def _secrets_of(environ: Mapping[str, str], endpoints: Mapping[str, Endpoint]) -> dict[str, Secrets]:
    variables = {secret_variable(name): name for name in endpoints}
    for variable in environ:
        base = variable.removesuffix(_FILE) if variable not in variables else variable
        if variable.startswith(_SECRETS) and base not in variables:
            known = ", ".join(sorted(endpoints))
            raise ConfigurationError(f"{variable}: there is no such endpoint; known are {known} (DORA_BRIDGE_CONFIG)")
    found = {name: _one_or_several(environ, variable) for variable, name in variables.items()}
    return {name: secrets for name, secrets in found.items() if secrets is not None}


def _one_or_several(environ: Mapping[str, str], variable: str) -> Secrets | None:
    """The secrets of a variable or of the file that its `_FILE` variant names; None if neither is set."""
    file = _file_of(environ, variable)
    # blanks alone are no secret: anybody could sign with an empty one
    inline = environ.get(variable, "").strip()
    if file is not None or not inline:
        return file
    secrets = _parsed(inline, variable)
    return lambda: secrets


def _file_of(environ: Mapping[str, str], variable: str) -> SecretFile | None:
    """The file that the `_FILE` variant of a variable names; None if that is not set."""
    path = environ.get(variable + _FILE, "").strip()
    if not path:
        return None
    if environ.get(variable, "").strip():
        raise ConfigurationError(f"give {variable} or {variable}{_FILE}, not both")
    file = SecretFile(Path(path))
    if not file():
        if file.is_readable:
            said = "the file is empty, which revokes nothing: what runs goes on with the secret it had"
        else:
            said = "the file is missing or unreadable"
        raise ConfigurationError(f"{variable}{_FILE}: {said}")
    return file


def _key(file: SecretFile | None, inline: SecretStr | None) -> str | None:
    """The first of a file, or the one that was given, without what no header can hold, such as a byte order mark.

    Datadog then says whether it is a key; an error at each call would say less.
    """
    if file is not None:
        key = file()[0].decode("ascii", "ignore")
    elif inline is not None:
        key = inline.get_secret_value()
    else:
        return None
    return "".join(one for one in key if one.isascii() and one.isprintable())


def _trusting(environment: Environment) -> Environment:
    """With the certificates in the URL, which is all that makers of clients get to see."""
    path = environment.redis_ca
    if path is None:
        return environment
    if not environment.redis_url.startswith("rediss"):
        raise ConfigurationError(f"{PREFIX}REDIS_CA: only a rediss:// server has a certificate ({PREFIX}REDIS_URL)")
    if not path.is_file():
        raise ConfigurationError(f"{PREFIX}REDIS_CA: there is no such file")
    return environment.model_copy(update={"redis_url": redis_url.trusting(environment.redis_url, path)})


def _parsed(text: str, variable: str) -> tuple[bytes, ...]:
    if not text.startswith("["):
        return (text.encode("utf-8", "surrogateescape"),)
    try:
        values: Any = json.loads(text)
        if isinstance(values, list) and values and all(isinstance(one, str) and one.strip() for one in values):
            return tuple(one.strip().encode("utf-8", "surrogateescape") for one in values)
    except (ValueError, RecursionError):
        pass  # not JSON, or half a character in it
    raise ConfigurationError(f"{variable}: neither one secret nor a JSON list of secrets")


def _problems(error: pydantic.ValidationError) -> str:
    problems: Sequence[Any] = error.errors(include_url=False, include_input=False, include_context=False)
    return "\n".join(f"{problem['loc'][0]}: {problem['msg'].removeprefix('Value error, ')}" for problem in problems)
