"""What was signed, where the signature stands, and whether it is ours.

Everything is checked over the raw bytes, before any parsing, in constant time, against every accepted secret, so
that secrets can be rotated. There is no scheme that accepts anything.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bridge.errors import SignatureMismatch, SignatureMissing

_HEX_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class HmacSha256:
    """Hex HMAC-SHA256 of the body in `header`, behind `prefix`; `several` separated by commas.

    Sources: GitHub "Validating webhook deliveries"; PagerDuty "Webhook signatures".
    """

    header: str
    prefix: str
    several: bool = False

    def sign(self, body: bytes, secret: bytes) -> dict[str, str]:
        """The header that the sender would add."""
        return {self.header: self.prefix + hmac.new(secret, body, hashlib.sha256).hexdigest()}

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes]) -> int:
        """Position, from 1, of the secret that made a presented signature.

        Raises: SignatureMissing, SignatureMismatch.
        """
        presented = self._presented(headers)
        for position, secret in enumerate(secrets, start=1):
            expected = hmac.digest(secret, body, "sha256")
            # stopping at the first match tells a sender no more than which of its own signatures it was
            if any(hmac.compare_digest(expected, signature) for signature in presented):
                return position
        raise SignatureMismatch(f"{self.header} matches none of the {len(secrets)} configured secrets")

    def _presented(self, headers: Mapping[str, str]) -> list[bytes]:
        value = headers.get(self.header, "")
        entries = [entry.strip() for entry in value.split(",")] if self.several else [value.strip()]
        hexes = [entry.removeprefix(self.prefix) for entry in entries if entry.startswith(self.prefix)]
        presented = [bytes.fromhex(text) for text in hexes if _HEX_SHA256.fullmatch(text)]
        if not presented:
            wanted = f"{self.header}: {self.prefix}<64 hex digits>"
            raise SignatureMissing(f"{wanted} is missing or malformed")
        return presented


@dataclass(frozen=True, slots=True)
class SharedToken:
    """A static secret in `Authorization`: `Bearer <token>`, or `Basic` with the token as password.

    For senders that cannot sign: a stolen token can be replayed, so TLS and rotation are all there is.
    """

    header: str = "authorization"

    def sign(self, body: bytes, secret: bytes) -> dict[str, str]:
        """The header that the sender would add; the body plays no part."""
        return {self.header: "Bearer " + secret.decode("latin-1")}

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes]) -> int:
        """Position, from 1, of the secret that was presented.

        Raises: SignatureMissing, SignatureMismatch.
        """
        presented = self._presented(headers)
        for position, secret in enumerate(secrets, start=1):
            if hmac.compare_digest(secret, presented):
                return position
        raise SignatureMismatch(f"{self.header} matches none of the {len(secrets)} configured secrets")

    def _presented(self, headers: Mapping[str, str]) -> bytes:
        scheme, _, value = headers.get(self.header, "").strip(" \t").partition(" ")
        value = value.strip(" \t")
        if scheme.lower() == "bearer" and value:
            # header values are bytes, which reach us decoded as latin-1: this gives back what was sent. So a part
            # of a character may look like a blank above: only those of HTTP are stripped
            with contextlib.suppress(UnicodeEncodeError):
                return value.encode("latin-1")
        if scheme.lower() == "basic" and value:
            try:
                _, colon, password = base64.b64decode(value, validate=True).partition(b":")
            except (binascii.Error, ValueError):
                colon = b""
            if colon and password:
                return password
        raise SignatureMissing(f"{self.header}: Bearer <token> is missing or malformed")


Scheme = HmacSha256 | SharedToken
