"""Addresses that senders post to."""

from __future__ import annotations

import pytest

from bridge.check.public_address import is_address_of, wanted_address, without_query


@pytest.mark.parametrize(
    ("url", "public_url", "same"),
    [
        ("https://bridge.example.com/webhooks/github", "", True),
        ("https://bridge.example.com/webhooks/github?env=production", "", True),
        ("https://example.com/behind/a/path/webhooks/github", "", True),
        ("https://bridge.example.com/webhooks/github/", "", False),
        ("https://bridge.example.com/webhooks/github-mobile", "", False),
        ("https://bridge.example.com/", "", False),
        ("", "", False),
        ("https://bridge.example.com/webhooks/github", "https://bridge.example.com", True),
        ("https://bridge.example.com:443/webhooks/github?env=x", "https://bridge.example.com/", True),
        ("https://Bridge.example.com/webhooks/github", "https://bridge.example.com", True),
        ("http://bridge.example.com/webhooks/github", "https://bridge.example.com", False),
        ("https://old.example.com/webhooks/github", "https://bridge.example.com", False),
        ("https://bridge.example.com/sub/webhooks/github", "https://bridge.example.com", False),
        ("https://bridge.example.com/sub/webhooks/github", "https://bridge.example.com/sub", True),
        ("https://[broken/webhooks/github", "https://bridge.example.com", False),
        ("https://[broken/webhooks/github", "", False),
    ],
)
def test_same_address(url: str, public_url: str, same: bool) -> None:
    assert is_address_of(url, public_url, "github") is same


def test_said_without_what_may_be_secret() -> None:
    assert without_query("https://user:hidden@host:1/a?token=hidden#hidden") == "https://host:1/a"
    assert without_query("https://[hidden") == "an unreadable address"
    assert wanted_address("", "jsm") == "https://YOUR-HOST/webhooks/jsm"
