"""Signatures. The expected ones were computed with `openssl dgst -sha256 -hmac <secret>`, not with our code."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import SignatureMismatch, SignatureMissing
from bridge.signatures import HmacSha256, Scheme, SharedToken
from bridge.sources import SOURCES

GITHUB = SOURCES["github"].scheme
PAGERDUTY = SOURCES["pagerduty"].scheme
TOKEN = SOURCES["argocd"].scheme

BODY = b'{"zen":"Approachable is better than simple."}'
FIRST, SECOND, OTHER = b"first-secret", b"second-secret", b"It's a Secret to Everybody"
BY_FIRST = "31d6b82df80fc1ad42877027e6f0e6fed652bd0010ef07e585b151baa3fd7135"
BY_SECOND = "aa402383993a85442eb2bf63d834049586b14fa75bcc342e0b0ea297aa019013"
BY_OTHER = "2df9a376b4844cb955e7639f7ec7ca12341cebee720836593f78cf86d6027964"
SHA1_BY_FIRST = "070ebfc0430dea0ed27760c1226aee267d050354"


def verify(scheme: Scheme, value: str | None, *secrets: bytes, body: bytes = BODY) -> int:
    return scheme.verify({} if value is None else {scheme.header: value}, body, secrets)


def test_each_source_has_the_scheme_of_its_vendor() -> None:
    assert {name: source.scheme for name, source in SOURCES.items()} == {
        "github": HmacSha256("x-hub-signature-256", "sha256="),
        "pagerduty": HmacSha256("x-pagerduty-signature", "v1=", several=True),
        "argocd": SharedToken(),
        "opsgenie": SharedToken(),
    }


@pytest.mark.parametrize(
    ("scheme", "secret", "body", "signature"),
    [
        # of GitHub's documentation
        (
            GITHUB,
            OTHER,
            b"Hello, World!",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        ),
        (GITHUB, FIRST, BODY, f"sha256={BY_FIRST}"),
        (GITHUB, FIRST, b"", "sha256=271539289f4d957d3f6380f2531e083f73682246cc940cfbaffd093e3bcaeeb3"),
        # its bytes look like base64, and are used as they are
        (
            PAGERDUTY,
            b"lDQHScfUeXUKaQRNF+8XIiDKZ7XX3itBAYzwU0TARw8lJqRnkKl2iB1anSb0Z+IK",
            '{"event":{"data":{"title":"Überlast im Café ☕"}}}'.encode(),
            "v1=bd5e0b8170bb2b2f214bbcb044a44b3c5a9e19f020441a8cc02349e52997e912",
        ),
        # a secret that is no text: -macopt hexkey:00ff80
        (GITHUB, b"\x00\xff\x80", BODY, "sha256=8a2b924ca911c0ddb0b0e440b9920999e304aeecfa7eb7b285ccd0fd5820b9c1"),
    ],
)
def test_known_answer(scheme: Scheme, secret: bytes, body: bytes, signature: str) -> None:
    assert verify(scheme, signature, secret, body=body) == 1
    assert scheme.sign(body, secret) == {scheme.header: signature}


@pytest.mark.parametrize(
    ("scheme", "value", "position"),
    [
        (GITHUB, f"sha256={BY_FIRST}", 1),
        (GITHUB, f"sha256={BY_SECOND}", 2),
        (GITHUB, f"  sha256={BY_FIRST}  ", 1),
        (PAGERDUTY, f"v1={BY_FIRST}", 1),
        (PAGERDUTY, f"v1={BY_SECOND}", 2),
        # while PagerDuty rotates: one of a secret that we have not got, and one that we have
        (PAGERDUTY, f"v1={BY_OTHER},v1={BY_SECOND}", 2),
        (PAGERDUTY, f"v1={BY_SECOND},v1={BY_OTHER}", 2),
        (PAGERDUTY, f"v1={BY_SECOND},v1={BY_FIRST}", 1),
        (PAGERDUTY, f" v1={BY_OTHER} ,  v1={BY_SECOND} ", 2),
        (PAGERDUTY, f"v1={BY_OTHER},\tv1={BY_SECOND}", 2),
        # versions to come
        (PAGERDUTY, f"v2=00ff,v1={BY_FIRST}", 1),
        (PAGERDUTY, f"v1=00ff,v1={BY_FIRST},", 1),
    ],
)
def test_position_of_the_secret_that_matched(scheme: Scheme, value: str, position: int) -> None:
    assert verify(scheme, value, FIRST, SECOND) == position


@pytest.mark.parametrize(
    ("scheme", "value"),
    [
        (GITHUB, f"sha256={BY_OTHER}"),
        (GITHUB, "sha256=" + "0" * 64),
        (PAGERDUTY, f"v1={BY_OTHER}"),
        (PAGERDUTY, f"v1={BY_OTHER},v2={BY_FIRST}"),
        (PAGERDUTY, f"v1={BY_FIRST[:-1]}0"),
        (TOKEN, "Bearer first-secre"),
        (TOKEN, "Bearer first-secret2"),
        (TOKEN, "Bearer FIRST-SECRET"),
        (TOKEN, "Bearer first-secret,Bearer first-secret"),
        (TOKEN, "Bearer ÿ"),
    ],
)
def test_well_formed_but_of_no_secret_of_ours(scheme: Scheme, value: str) -> None:
    with pytest.raises(SignatureMismatch) as caught:
        verify(scheme, value, FIRST, SECOND)
    assert caught.value.detail == f"{scheme.header} matches none of the 2 configured secrets"


@pytest.mark.parametrize(
    ("scheme", "value"),
    [
        *(
            (scheme, value)
            for scheme, prefix in ((GITHUB, "sha256="), (PAGERDUTY, "v1="))
            for value in (
                None,
                "",
                " ",
                ",",
                prefix,
                BY_FIRST,
                f"{prefix}{prefix}{BY_FIRST}",
                f"{prefix} {BY_FIRST}",
                f"{prefix}{BY_FIRST}0",
                f"{prefix}{BY_FIRST[:-1]}",
                f"{prefix}{BY_FIRST[:-1]}g",
                f"{prefix}0x{BY_FIRST[2:]}",
                f"{prefix}{BY_FIRST[:-1]}٣",
                f"{prefix}{BY_FIRST[:-2]}\n1",
                f"{prefix}{SHA1_BY_FIRST}",
                prefix.upper() + BY_FIRST,
                f"sha1={SHA1_BY_FIRST}",
                f"sha1={BY_FIRST}",
            )
        ),
        (GITHUB, f"v1={BY_FIRST}"),
        # the header came twice, which the web joins with a comma: GitHub never sends two
        (GITHUB, f"sha256={BY_FIRST},sha256={BY_FIRST}"),
        (GITHUB, f"sha256={BY_OTHER},sha256={BY_FIRST}"),
        (GITHUB, f"sha256={BY_FIRST},"),
        (PAGERDUTY, "v1"),
        (PAGERDUTY, f"sha256={BY_FIRST}"),
        (PAGERDUTY, f"v2={BY_FIRST}"),
        (PAGERDUTY, f"v1={BY_FIRST};v1={BY_FIRST}"),
        (TOKEN, None),
        (TOKEN, ""),
        (TOKEN, "Bearer"),
        (TOKEN, "Bearer "),
        (TOKEN, "first-secret"),
        (TOKEN, "Token first-secret"),
        (TOKEN, "Bearerfirst-secret"),
        (TOKEN, "Bearer €"),  # cannot have been a header's bytes
        (TOKEN, "Basic"),
        (TOKEN, "Basic ***"),
        (TOKEN, "Basic bm8tY29sb24="),  # no-colon
        (TOKEN, "Basic YnJpZGdlOg=="),  # bridge:
        (TOKEN, "Basic YnJpZGdlOmZpcnN0LXNlY3JldA"),  # padding is missing
        (TOKEN, "Basic é"),
    ],
)
def test_missing_or_malformed(scheme: Scheme, value: str | None) -> None:
    with pytest.raises(SignatureMissing):
        verify(scheme, value, FIRST, SECOND)


def test_sha1_is_not_looked_at() -> None:
    with pytest.raises(SignatureMissing):
        GITHUB.verify({"x-hub-signature": f"sha1={SHA1_BY_FIRST}"}, BODY, [FIRST])


@pytest.mark.parametrize("scheme", [GITHUB, PAGERDUTY, TOKEN])
def test_without_secrets_nothing_is_accepted(scheme: Scheme) -> None:
    headers = scheme.sign(BODY, b"")
    if isinstance(scheme, SharedToken):  # an empty token is malformed, whatever the secrets are
        headers = scheme.sign(BODY, FIRST)
    with pytest.raises(SignatureMismatch):
        scheme.verify(headers, BODY, [])


@pytest.mark.parametrize(
    ("value", "position"),
    [
        ("Bearer first-secret", 1),
        ("bearer   second-secret ", 2),
        ("BEARER first-secret", 1),
        ("Basic YnJpZGdlOmZpcnN0LXNlY3JldA==", 1),  # bridge:first-secret
        ("basic OnNlY29uZC1zZWNyZXQ=", 2),  # :second-secret
        ("Basic YXJnb2NkOnMzY3JldDp3aXRoOmNvbG9ucw==", 3),  # argocd:s3cret:with:colons
        # the UTF-8 bytes of Zürich, as a web server decodes headers
        ("Bearer Z\xc3\xbcrich", 4),
        ("Basic OlrDvHJpY2g=", 4),
        ("Bearer voil\xc3\xa0", 5),  # its last byte alone is a no-break space
    ],
)
def test_token(value: str, position: int) -> None:
    secrets = [FIRST, SECOND, b"s3cret:with:colons", "Zürich".encode(), "voilà".encode()]
    assert verify(TOKEN, value, *secrets) == position


@pytest.mark.parametrize("scheme", [GITHUB, PAGERDUTY, TOKEN])
@given(body=st.binary(), secrets=st.lists(st.binary(min_size=1), min_size=1, max_size=4, unique=True))
def test_what_we_sign_is_verified(scheme: Scheme, body: bytes, secrets: list[bytes]) -> None:
    if isinstance(scheme, SharedToken):  # there are no blanks around secrets, settings see to that
        secrets = list(dict.fromkeys(secret.strip() or b"x" for secret in secrets))
    for position, secret in enumerate(secrets, start=1):
        assert scheme.verify(scheme.sign(body, secret), body, secrets) == position


@pytest.mark.parametrize("scheme", [GITHUB, PAGERDUTY])
@given(st.data())
def test_any_changed_byte_is_refused(scheme: HmacSha256, data: st.DataObject) -> None:
    body = data.draw(st.binary(min_size=1, max_size=200))
    headers = scheme.sign(body, FIRST)
    at = data.draw(st.integers(0, len(body) - 1))
    changed = bytearray(body)
    changed[at] ^= data.draw(st.integers(1, 255))
    for other in (bytes(changed), body[:at] + body[at + 1 :], body + b"\0", b" " + body):
        with pytest.raises(SignatureMismatch):
            scheme.verify(headers, other, [FIRST])
    assert scheme.verify(headers, body, [FIRST]) == 1


@given(st.data())
def test_any_changed_character_of_the_signature_is_refused(data: st.DataObject) -> None:
    signature = GITHUB.sign(BODY, FIRST)[GITHUB.header]
    at = data.draw(st.integers(0, len(signature) - 1))
    character = data.draw(st.characters().filter(lambda one: one.lower() != signature[at].lower()))
    with pytest.raises((SignatureMissing, SignatureMismatch)):
        verify(GITHUB, signature[:at] + character + signature[at + 1 :], FIRST)


@pytest.mark.parametrize("scheme", [GITHUB, PAGERDUTY, TOKEN])
@given(
    value=st.text()
    | st.binary().map(lambda raw: raw.decode("latin-1"))
    | st.builds(
        lambda start, rest: start + rest,
        st.sampled_from(["sha256=", "v1=", "v1=,v1=", "Bearer ", "Basic "]),
        st.text(st.characters(max_codepoint=255)) | st.binary().map(lambda raw: base64.b64encode(raw).decode()),
    )
)
def test_no_header_crashes(scheme: Scheme, value: str) -> None:
    with pytest.raises((SignatureMissing, SignatureMismatch)) as caught:
        verify(scheme, value, b"a secret that no generator finds")
    assert b"a secret that no generator finds".decode() not in caught.value.detail


@pytest.mark.parametrize("scheme", [GITHUB, PAGERDUTY, TOKEN])
def test_errors_repeat_neither_secrets_nor_signatures(scheme: Scheme) -> None:
    for value in (f"sha256={BY_OTHER}", f"v1={BY_OTHER}", f"Bearer {BY_OTHER}", BY_OTHER):
        with pytest.raises((SignatureMissing, SignatureMismatch)) as caught:
            verify(scheme, value, FIRST)
        assert BY_OTHER not in caught.value.detail
        assert FIRST.decode() not in caught.value.detail
