"""Settings: each variable, secrets and their files, and errors that name the variable and never show its value."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from bridge import redis_url
from bridge.errors import ConfigurationError
from bridge.logs import JsonLines
from bridge.settings import Environment, SecretFile, Settings, read, secret_variable

GITHUB = "DORA_BRIDGE_SECRETS__GITHUB"
HIDDEN = "hidden-value"


def problem(**environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(environ)
    return caught.value.detail


def secrets(**environ: str) -> dict[str, tuple[bytes, ...]]:
    return {name: found() for name, found in read(environ).secrets.items()}


def test_defaults() -> None:
    found = read({})
    assert found.environment == Environment(
        DD_API_KEY=None,
        DD_APP_KEY=None,
        DD_SITE="datadoghq.com",
        DORA_BRIDGE_DATADOG_URL=None,
        DORA_BRIDGE_REDIS_URL="redis://127.0.0.1:6379/0",
        DORA_BRIDGE_LISTEN="127.0.0.1:8080",
        DORA_BRIDGE_INTERNAL_LISTEN="127.0.0.1:9090",
        DORA_BRIDGE_CONCURRENCY=50,
        DORA_BRIDGE_CONFIG=None,
    )
    assert found.datadog_url == "https://api.datadoghq.com"
    assert found.application_key is False
    assert set(found.endpoints) == {"github", "argocd", "pagerduty", "opsgenie", "jsm"}
    assert (found.secrets, found.admin_tokens()) == ({}, ())


def test_every_variable(tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text("retention: {raw_days: 1}")
    found = read(
        {
            "DD_API_KEY": "api",
            "DD_APP_KEY": "app",
            "DD_SITE": "datadoghq.eu",
            "DORA_BRIDGE_DATADOG_URL": "http://127.0.0.1:8126/",
            "DORA_BRIDGE_REDIS_URL": "rediss://user:pass%2Fword@redis:6380/3",
            "DORA_BRIDGE_LISTEN": "[::]:80",
            "DORA_BRIDGE_INTERNAL_LISTEN": "0.0.0.0:0",
            "DORA_BRIDGE_CONCURRENCY": "7",
            "DORA_BRIDGE_CONFIG": str(tmp_path / "bridge.yaml"),
            "DORA_BRIDGE_ADMIN_TOKEN": '["one", "two"]',
            "DORA_BRIDGE_SECRETS__PAGERDUTY": "s",
            "HOME": "/root",
        }
    )
    environment = found.environment
    assert environment.api_key is not None
    assert environment.app_key is not None
    assert (environment.api_key.get_secret_value(), environment.app_key.get_secret_value()) == ("api", "app")
    assert (environment.site, found.datadog_url) == ("datadoghq.eu", "http://127.0.0.1:8126")
    assert environment.redis_url == "rediss://user:pass%2Fword@redis:6380/3"
    assert (environment.listen, environment.internal_listen) == ("[::]:80", "0.0.0.0:0")
    assert (environment.concurrency, found.application_key) == (7, True)
    assert found.configuration.retention.raw_days == 1
    assert found.admin_tokens() == (b"one", b"two")
    assert set(found.secrets) == {"pagerduty"}


def test_tokens_of_senders(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\nsecond\n")
    found = read(
        {"DORA_BRIDGE_GITHUB_TOKEN": "one", "DORA_BRIDGE_ARGOCD_TOKEN_FILE": str(tmp_path / "token")}
    ).sender_tokens
    assert {source: tokens() for source, tokens in found.items()} == {
        "github": (b"one",),
        "argocd": (b"first", b"second"),
    }
    assert read({"DORA_BRIDGE_PAGERDUTY_TOKEN": " "}).sender_tokens == {}
    assert "give DORA_BRIDGE_GITHUB_TOKEN or" in problem(
        DORA_BRIDGE_GITHUB_TOKEN="a", DORA_BRIDGE_GITHUB_TOKEN_FILE="b"
    )


def test_keys_of_datadog_in_files(tmp_path: Path) -> None:
    (tmp_path / "api").write_bytes(b"\xef\xbb\xbfnew\nold\n")  # with a byte order mark
    (tmp_path / "app").write_bytes(b" app\xff \n")
    found = read({"DD_API_KEY_FILE": str(tmp_path / "api"), "DD_APP_KEY_FILE": str(tmp_path / "app")})
    assert found.api_key == "new", "the first one"
    assert found.app_key == "app"
    assert found.application_key
    inline = read({"DD_API_KEY": "[apié"})
    assert (inline.api_key, inline.app_key, inline.application_key) == ("[api", None, False)
    for variable in ("DD_API_KEY", "DD_APP_KEY"):
        assert problem(**{variable: HIDDEN, f"{variable}_FILE": "x"}) == f"give {variable} or {variable}_FILE, not both"
        missing = problem(**{f"{variable}_FILE": str(tmp_path / "none")})
        assert missing == f"{variable}_FILE: the file is missing or unreadable"


def test_key_of_datadog_changes_with_its_file(tmp_path: Path) -> None:
    path, clock = tmp_path / "key", Clock()
    path.write_text("old")
    settings = replace(read({}), api_key_file=SecretFile(path, clock))
    assert settings.api_key == "old"
    path.write_text("newer")
    clock.now += 1
    assert settings.api_key == "newer"


def test_certificates_of_redis(tmp_path: Path) -> None:
    path = tmp_path / "ca of ours.pem"
    path.write_text("x")
    given = {"DORA_BRIDGE_REDIS_CA": str(path), "DORA_BRIDGE_REDIS_URL": "rediss://:p%2Fw@redis:6380/3?ssl_certfile=a"}
    url = read(given).environment.redis_url
    assert url == f"rediss://:p%2Fw@redis:6380/3?ssl_certfile=a&ssl_ca_certs={quote(str(path))}"
    options = redis_url.impatient(url).connection_pool.connection_kwargs
    assert (options["ssl_ca_certs"], options["ssl_certfile"], options["password"]) == (str(path), "a", "p/w")
    assert problem(DORA_BRIDGE_REDIS_CA=str(path)) == (
        "DORA_BRIDGE_REDIS_CA: only a rediss:// server has a certificate (DORA_BRIDGE_REDIS_URL)"
    )
    assert problem(**given | {"DORA_BRIDGE_REDIS_CA": "/none"}) == "DORA_BRIDGE_REDIS_CA: there is no such file"


def test_site_makes_the_address() -> None:
    assert read({"DD_SITE": "us5.datadoghq.com"}).datadog_url == "https://api.us5.datadoghq.com"


def test_empty_and_blank_is_as_not_given() -> None:
    aliases = [str(field.alias) for field in Environment.model_fields.values()]
    assert read(dict.fromkeys(aliases, "")).environment == read({}).environment
    assert read(dict.fromkeys(aliases, " \n")).environment == read({}).environment


def test_blanks_around_values_do_not_count() -> None:
    """A key read from a file ends in a line feed, which no header can hold."""
    found = read({"DD_API_KEY": "key\n", "DORA_BRIDGE_CONCURRENCY": " 3 ", "DD_SITE": "datadoghq.eu\n"})
    assert found.environment.api_key is not None
    assert found.environment.api_key.get_secret_value() == "key"
    assert (found.environment.concurrency, found.environment.site) == (3, "datadoghq.eu")


@pytest.mark.parametrize(
    ("variable", "values"),
    [
        ("DD_SITE", ["https://hidden-value", "hidden-value/", "HIDDEN-VALUE", "hidden-value com"]),
        (
            "DORA_BRIDGE_DATADOG_URL",
            [
                "hidden-value",
                "ftp://hidden-value",
                "https://",
                "https:///hidden-value",
                "http://host:hidden-value",
                "http://[hidden-value",
                "http://hidden-value:0",
                "http://hidden-value:65536",
                "https://hidden:value@proxy",
            ],
        ),
        (
            "DORA_BRIDGE_REDIS_URL",
            [
                "hidden-value",
                "http://hidden-value",
                "redis://host:hidden-value",
                "redis://:hidden-value/with-slash@host:6379/0",
                "redis://[hidden-value",
                "redis://host?socket_timeout=hidden-value",
                "redis://host?hidden-value=1",
                "redis+sentinel://host:hidden-value/service",
                "redis+sentinel://host/service/hidden-value",
                "redis+sentinel://host/service?hidden-value=1",
                "other+sentinel://hidden-value/service",
            ],
        ),
        (
            "DORA_BRIDGE_LISTEN",
            ["hidden-value", "hidden-value:", ":80", "80", "hidden-value:65536", "hidden-value:-1", "hidden-value:²"],
        ),
        ("DORA_BRIDGE_INTERNAL_LISTEN", ["hidden-value", "hidden-value:http"]),
        ("DORA_BRIDGE_CONCURRENCY", ["hidden-value", "0", "1001", "-1", "1.5", "1e3", "0x10"]),
    ],
)
def test_bad_value_names_the_variable_and_is_not_shown(variable: str, values: list[str]) -> None:
    for value in values:
        found = problem(**{variable: value})
        assert found.startswith(f"{variable}: "), value
        assert found.count("\n") == 0, value
        assert "hidden" not in found.lower(), value


def test_every_bad_variable_is_named_at_once() -> None:
    found = problem(DORA_BRIDGE_LISTEN="x", DORA_BRIDGE_CONCURRENCY="y", DD_SITE="Z")
    assert [line.partition(":")[0] for line in found.splitlines()] == [
        "DD_SITE",
        "DORA_BRIDGE_LISTEN",
        "DORA_BRIDGE_CONCURRENCY",
    ]


def test_incident_management_needs_the_application_key(tmp_path: Path) -> None:
    path = tmp_path / "bridge.yaml"
    path.write_text("endpoints: {pagerduty: {send_as: incident}}")
    needy = read({"DORA_BRIDGE_CONFIG": str(path)})
    assert needy.incident_endpoints == ["pagerduty"]
    with pytest.raises(ConfigurationError, match=r"DD_APP_KEY: .*endpoints\.pagerduty\.send_as"):
        needy.check_application_key()
    read({"DORA_BRIDGE_CONFIG": str(path), "DD_APP_KEY": "k"}).check_application_key()
    read({}).check_application_key()


def test_missing_configuration_file(tmp_path: Path) -> None:
    found = problem(DORA_BRIDGE_CONFIG=str(tmp_path / "missing.yaml"))
    assert found == f"{tmp_path}/missing.yaml: No such file or directory (DORA_BRIDGE_CONFIG)"


# -- secrets


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("one", [b"one"]),
        (" one \n", [b"one"]),
        ("one two", [b"one two"]),
        ("one,two", [b"one,two"]),
        ('["one"]', [b"one"]),
        (' ["one", " two "]\n', [b"one", b"two"]),
        ('["zw\\u00f6lf", "Zürich"]', ["zwölf".encode(), "Zürich".encode()]),
        ('"quoted"', [b'"quoted"']),
        ("{not-json}", [b"{not-json}"]),
        (os.fsdecode(b"\xff\x00".replace(b"\x00", b"a")), [b"\xffa"]),
    ],
)
def test_one_secret_or_a_json_list(value: str, expected: list[bytes]) -> None:
    assert secrets(**{GITHUB: value}) == {"github": tuple(expected)}


@pytest.mark.parametrize(
    "value",
    ["[", "[]", "[hidden-value]", '["hidden-value", ""]', '["hidden-value", " "]', '["hidden-value", 1]', "[1]"],
)
def test_list_that_is_none(value: str) -> None:
    assert problem(**{GITHUB: value}) == f"{GITHUB}: neither one secret nor a JSON list of secrets"


@pytest.mark.parametrize("value", ["", " ", "\n", "\t \r\n"])
def test_blank_secret_is_none(value: str) -> None:
    """With an empty key anybody can sign: such an endpoint has no route."""
    assert secrets(**{GITHUB: value, "DORA_BRIDGE_ADMIN_TOKEN": value}) == {}
    assert read({"DORA_BRIDGE_ADMIN_TOKEN": value}).admin_tokens() == ()


def test_names_of_variables(tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text("endpoints: {github-mobile-2: {kind: github}}")
    found = secrets(
        DORA_BRIDGE_CONFIG=str(tmp_path / "bridge.yaml"), DORA_BRIDGE_SECRETS__GITHUB_MOBILE_2="a", **{GITHUB: "b"}
    )
    assert found == {"github": (b"b",), "github-mobile-2": (b"a",)}
    assert secret_variable("github-mobile-2") == "DORA_BRIDGE_SECRETS__GITHUB_MOBILE_2"


@pytest.mark.parametrize(
    "variable",
    [
        "DORA_BRIDGE_SECRETS__GITLAB",
        "DORA_BRIDGE_SECRETS__GITLAB_FILE",
        "DORA_BRIDGE_SECRETS__github",
        "DORA_BRIDGE_SECRETS__",
        "DORA_BRIDGE_SECRETS___FILE",
        "DORA_BRIDGE_SECRETS__GITHUB_",
    ],
)
def test_secret_of_an_unknown_endpoint(variable: str) -> None:
    known = "argocd, github, jsm, opsgenie, pagerduty"
    expected = f"{variable}: there is no such endpoint; known are {known} (DORA_BRIDGE_CONFIG)"
    assert problem(**{variable: HIDDEN}) == expected


@pytest.mark.parametrize("variable", [GITHUB, "DORA_BRIDGE_ADMIN_TOKEN"])
def test_variable_and_file_both(tmp_path: Path, variable: str) -> None:
    (tmp_path / "secret").write_text("x")
    found = problem(**{variable: HIDDEN, f"{variable}_FILE": str(tmp_path / "secret")})
    assert found == f"give {variable} or {variable}_FILE, not both"


@pytest.mark.parametrize("variable", [GITHUB, "DORA_BRIDGE_ADMIN_TOKEN"])
@pytest.mark.parametrize("content", [None, b"", b"\n \r\n"])
def test_file_without_a_secret(tmp_path: Path, variable: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    empty = f"{variable}_FILE: the file is empty, which revokes nothing: what runs goes on with the secret it had"
    expected = f"{variable}_FILE: the file is missing or unreadable" if content is None else empty
    assert problem(**{f"{variable}_FILE": str(tmp_path / "secret")}) == expected
    assert problem(**{f"{variable}_FILE": str(tmp_path)}) == empty  # a folder


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"one", [b"one"]),
        (b"one\n", [b"one"]),
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"\r\none\r\n\n  two \r\n", [b"one", b"two"]),
        (b"\xff\x80\n", [b"\xff\x80"]),
        (b'["one"]', [b'["one"]']),
    ],
)
def test_file_has_a_secret_a_line(tmp_path: Path, content: bytes, expected: list[bytes]) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert secrets(**{f"{GITHUB}_FILE": str(tmp_path / "secret")}) == {"github": tuple(expected)}
    assert read({"DORA_BRIDGE_ADMIN_TOKEN_FILE": f"{tmp_path}/secret\n"}).admin_tokens() == tuple(expected)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_change_of_a_file_is_noticed_within_a_second(tmp_path: Path) -> None:
    path, clock = tmp_path / "secret", Clock()
    path.write_text("before")
    file = SecretFile(path, clock)
    assert file() == (b"before",)
    path.write_text("after\nbefore")
    clock.now += 0.9
    assert file() == (b"before",), "not at each request"
    clock.now += 0.1
    assert file() == (b"after", b"before")


def test_mounted_secret_is_replaced_by_another_link(tmp_path: Path) -> None:
    """As Kubernetes does it: the file is a link into a folder, which is a link that is renamed over the old one."""
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "secret").write_text(name)
        os.utime(tmp_path / name / "secret", ns=(1, 1))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "secret").symlink_to("..data/secret")
    clock = Clock()
    file = SecretFile(tmp_path / "secret", clock)
    assert file() == (b"v1",)
    (tmp_path / "..new").symlink_to("v2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    clock.now += 1
    assert file() == (b"v2",)


def test_a_folder_of_mounted_secrets_is_read_as_one(tmp_path: Path) -> None:
    """As Kubernetes mounts several keys of Secrets in one place."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "2").write_text("old\n")
    (tmp_path / "1").write_text("new\n")
    (tmp_path / "2").symlink_to("..data/2")
    clock = Clock()
    file = SecretFile(tmp_path, clock)
    assert file() == (b"new", b"old")
    (tmp_path / "2").unlink()
    clock.now += 1
    assert file() == (b"new",)
    (tmp_path / "1").unlink()
    clock.now += 1
    assert file() == (b"new",), "as while a file is missing"


def test_secrets_of_before_stay_while_the_file_is_missing_or_empty(tmp_path: Path) -> None:
    path, clock = tmp_path / "secret", Clock()
    path.write_text("one")
    file = SecretFile(path, clock)
    file()
    path.unlink()
    clock.now += 1
    assert file() == (b"one",)
    path.write_text("")
    clock.now += 1
    assert file() == (b"one",)
    path.write_text("two")
    clock.now += 1
    assert file() == (b"two",)


def test_an_emptied_file_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, clock = tmp_path / "secret", Clock()
    path.write_text("")
    assert SecretFile(path, clock)() == ()
    assert caplog.messages == [], "there was none to revoke"
    path.write_text(HIDDEN)
    file = SecretFile(path, clock)
    file()
    path.write_text("\n")
    for _ in range(3):
        clock.now += 1
        assert file() == (HIDDEN.encode(),)
    assert caplog.messages == ["secrets.empty"]
    [record] = caplog.records
    assert record.fields == {"file": str(path)}  # type: ignore[attr-defined]
    assert HIDDEN not in JsonLines().format(record)


def test_file_is_read_once_a_second_and_only_if_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, clock = tmp_path / "secret", Clock()
    path.write_text("one")
    file = SecretFile(path, clock)
    file()
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read again"))
    for _ in range(10):
        clock.now += 0.5
        assert file() == (b"one",)


# -- nothing shows secrets


def test_no_secret_in_any_text_of_settings(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(HIDDEN)
    found = read(
        {
            GITHUB: HIDDEN,
            "DORA_BRIDGE_SECRETS__ARGOCD_FILE": str(tmp_path / "secret"),
            "DORA_BRIDGE_ADMIN_TOKEN": json.dumps([HIDDEN]),
            "DORA_BRIDGE_REDIS_URL": f"redis://:{HIDDEN}@redis",
            "DD_API_KEY": HIDDEN,
            "DD_APP_KEY": HIDDEN,
        }
    )
    assert isinstance(found, Settings)
    assert HIDDEN not in repr(found) + str(found) + repr(found.environment) + str(found.environment)


def test_each_variable_is_described() -> None:
    for field in Environment.model_fields.values():
        assert field.description
        assert str(field.alias).startswith(("DD_", "DORA_BRIDGE_"))
