"""Who may use the admin: bearer tokens with names, sessions of browsers, and patience with wrong tokens.

A session is a cookie that only a holder of the token can have made: its HMAC key is the token itself. Any web process
can check it without keeping anything, and it ends when the token is taken out of the settings.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

COOKIE = "dora_bridge_session"
SESSION_S = 12 * 3600
_NAMED = re.compile(rb"([A-Za-z0-9._@-]{1,40}):(.{8,})", re.DOTALL)
_TRIES = 10
_WITHIN_S = 60.0
_MOST_ADDRESSES = 1_000


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody at a browser, and the text that forms must bring along."""

    who: str
    form_token: str


class Access:
    """Checks tokens and sessions. `tokens` gives those that are valid now: each plain, or as `name:token`."""

    def __init__(self, tokens: Callable[[], tuple[bytes, ...]], clock: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._clock = clock
        self._failures: dict[str, dict[bytes, float]] = {}

    @property
    def is_on(self) -> bool:
        """Whether there is a token at all."""
        return bool(self._tokens())

    def who(self, presented: bytes) -> str | None:
        """The name of the token that was presented, in constant time over all of them; None if it is none."""
        found = None
        for name, token, whole in named(self._tokens()):
            same = hmac.compare_digest(token, presented) | hmac.compare_digest(whole, presented)
            if same and found is None:
                found = name
        return found

    def open(self, presented: bytes) -> str:
        """The cookie of a new session of this token, which must be valid."""
        expires = int(self._clock()) + SESSION_S
        start = f"{expires}.{secrets.token_urlsafe(16)}"
        token = next(
            token
            for _, token, whole in named(self._tokens())
            if hmac.compare_digest(token, presented) or hmac.compare_digest(whole, presented)
        )
        return f"{start}.{_sign(token, f'session {start}')}"

    def session(self, cookie: str) -> Session | None:
        """The session of a cookie; None if it is over, or nobody's."""
        start, _, signature = cookie.rpartition(".")
        expires = start.partition(".")[0]
        if not (expires.isascii() and expires.isdigit() and len(expires) < 13 and int(expires) > self._clock()):
            return None
        if not signature.isascii():
            return None
        found = None
        for name, token, _ in named(self._tokens()):
            if hmac.compare_digest(_sign(token, f"session {start}"), signature) and found is None:
                found = Session(name, _sign(token, f"form {start}"))
        return found

    def must_wait(self, address: str) -> bool:
        """Whether too many different wrong tokens came from this address within the last minute."""
        return len(self._recent(address)) >= _TRIES

    def failed(self, address: str, presented: bytes) -> None:
        """Notes a wrong token. Only different ones count: a script with an old token guesses nothing."""
        if len(self._failures) >= _MOST_ADDRESSES:
            self._failures.clear()
        self._failures[address] = {**self._recent(address), hashlib.sha256(presented).digest(): self._clock()}

    def _recent(self, address: str) -> dict[bytes, float]:
        since = self._clock() - _WITHIN_S
        return {guess: moment for guess, moment in self._failures.get(address, {}).items() if moment > since}


def named(tokens: Sequence[bytes]) -> list[tuple[str, bytes, bytes]]:
    """Name, token and how it was written, of each."""
    found = []
    for number, whole in enumerate(tokens, start=1):
        match = _NAMED.fullmatch(whole)
        found.append((match[1].decode(), match[2], whole) if match else (f"token {number}", whole, whole))
    return found


def bearer(headers: Mapping[str, str]) -> bytes | None:
    """The token of an `Authorization` header, None if there is none."""
    # only the blanks of HTTP: in what was decoded as latin-1, a part of a character may look like another one
    scheme, _, value = headers.get("authorization", "").strip(" \t").partition(" ")
    token = value.strip(" \t")
    return token.encode("latin-1") if scheme.lower() == "bearer" and token else None


def _sign(token: bytes, text: str) -> str:
    digest = hmac.digest(hashlib.sha256(b"dora-bridge admin\0" + token).digest(), text.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
