"""The connection to Datadog does what httpx's own transport does, whatever the server does."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import httpx
import pytest
from stand_ins.tls_front import Certificates, make_certificates

from workers.connection import Connection

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TIMEOUT = {"connect": 0.5, "read": 0.5, "write": 0.5, "pool": 0.5}
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LARGE = bytes(range(256)) * 12_000


async def request_of(reader: asyncio.StreamReader) -> None:
    """Reads one request, with its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(httpx.Headers(_lines(head)).get("content-length", "0")))


def _lines(head: bytes) -> list[tuple[bytes, bytes]]:
    pairs = (line.partition(b": ") for line in head.split(b"\r\n")[1:] if line)
    return [(name, value) for name, _, value in pairs]


def answers(*parts: bytes, then: str = "go on") -> Serve:
    """Answers each request with these bytes, and then goes on, closes, resets or keeps silent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request_of(reader)
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.01)
            if then == "close":
                return
            if then == "reset":
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return
            if then == "silence":
                await asyncio.sleep(30)

    return serve


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_of(reader)


async def does_not_wait_for_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")


@contextlib.asynccontextmanager
async def served(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[int]]]:
    """The port of a server that treats each connection so, and a list with a number for each connection."""
    connections: list[int] = []
    tasks: set[asyncio.Task[None] | None] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(len(connections))
        tasks.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], connections
    finally:
        server.close()
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.sleep(0)


async def told(transport: httpx.AsyncBaseTransport, url: str, body: bytes = b"{}") -> object:
    """Status and body of the answer, or the type of the error, and whether the status came before it."""
    request = httpx.Request("POST", url, content=body, extensions={"timeout": TIMEOUT})
    status = 0
    try:
        answer = await transport.handle_async_request(request)
        status = answer.status_code
        try:
            return status, await answer.aread()
        finally:
            await answer.aclose()
    except httpx.TransportError as error:
        return status, type(error)


def both(context: ssl.SSLContext | None = None) -> Sequence[httpx.AsyncBaseTransport]:
    """httpx's own transport and ours."""
    context = context or ssl.create_default_context()
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=30)
    return httpx.AsyncHTTPTransport(verify=context, limits=limits), Connection(context)


@pytest.mark.parametrize(
    ("serve", "expected", "connections"),
    [
        (answers(OK), [(200, b"ok")] * 3, 1),
        (answers(OK[:20], OK[20:40], OK[40:]), [(200, b"ok")] * 3, 1),
        (answers(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", OK), [(200, b"ok")] * 3, 1),
        (answers(b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", b"0\r\n\r\n"),
         [(202, b"ok")] * 3, 1),
        (answers(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(LARGE) + LARGE), [(200, LARGE)] * 3, 1),
        (answers(b"HTTP/1.1 204 No Content\r\n\r\n"), [(204, b"")] * 3, 1),
        (answers(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"), [(200, b"ok")] * 3, 3),
        (answers(b"HTTP/1.1 200 OK\r\n\r\nto the end", then="close"), [(200, b"to the end")] * 3, 3),
        (answers(OK, then="close"), [(200, b"ok")] * 3, 3),
        (answers(OK, then="reset"), [(200, b"ok")] * 3, 3),
        (answers(OK + b"and more"), [(200, b"ok"), (0, httpx.RemoteProtocolError), (200, b"ok")], 2),
        (does_not_wait_for_the_body, [(413, b"")] * 3, 3),
        (hangs_up, [(0, httpx.RemoteProtocolError)] * 3, 3),
        (answers(then="reset"), [(0, httpx.ReadError)] * 3, 3),
        (answers(OK[:12], then="close"), [(0, httpx.RemoteProtocolError)] * 3, 3),
        (answers(OK[:12], then="reset"), [(0, httpx.ReadError)] * 3, 3),
        (answers(OK[:-1], then="close"), [(200, httpx.RemoteProtocolError)] * 3, 3),
        (answers(OK[:-1], then="reset"), [(200, httpx.ReadError)] * 3, 3),
        (answers(b"what is that\r\n\r\n"), [(0, httpx.RemoteProtocolError)] * 3, 3),
        (answers(then="silence"), [(0, httpx.ReadTimeout)] * 2, 2),
        (answers(OK[:-1], then="silence"), [(200, httpx.ReadTimeout)] * 2, 2),
    ],
    ids=lambda value: None if isinstance(value, list | int) else "",
)  # fmt: skip
async def test_as_httpx_has_it(serve: Serve, expected: list[object], connections: int) -> None:
    for transport in both():
        async with served(serve) as (port, came):
            found = []
            for _ in expected:
                found.append(await told(transport, f"http://127.0.0.1:{port}/", b"x" * 3000))
                await asyncio.sleep(0.05)  # so that what the server does after its answer has come
            await transport.aclose()
        assert (found, len(came)) == (expected, connections), type(transport).__name__


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for transport in both():
        found = [await told(transport, f"http://127.0.0.1:{port}/") for _ in range(2)]
        assert found == [(0, httpx.ConnectError)] * 2


async def test_another_host_is_another_connection() -> None:
    for transport in both():
        async with served(answers(OK)) as (one, _), served(answers(OK)) as (other, came):
            found = [await told(transport, f"http://127.0.0.1:{port}/") for port in (one, other, one)]
            await transport.aclose()
        assert (found, len(came)) == ([(200, b"ok")] * 3, 1), type(transport).__name__


async def test_a_call_that_was_given_up_leaves_no_answer_behind() -> None:
    """What comes late must not be taken for the answer to the next call."""
    slow = True

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request_of(reader)
            await asyncio.sleep(0.2 if slow else 0)
            writer.write(OK.replace(b"ok", b"no") if slow else OK)

    for transport in both():
        slow = True
        async with served(serve) as (port, came):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await told(transport, f"http://127.0.0.1:{port}/")
            slow = False
            assert await told(transport, f"http://127.0.0.1:{port}/") == (200, b"ok")
            assert len(came) == 2
            await transport.aclose()


async def test_a_server_that_takes_nothing() -> None:
    """A body that no buffer holds: nothing is waited for longer than the timeout, and no socket stays open for it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    transport = Connection(ssl.create_default_context())
    async with served(serve) as (port, _):
        before = _sockets()
        assert await told(transport, f"http://127.0.0.1:{port}/", bytes(20_000_000)) == (0, httpx.ReadTimeout)
        await asyncio.sleep(0.1)
        # the server has its end of the connection
        assert _sockets() == before + 1


def _sockets() -> int:
    """How many file descriptors this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl: nothing makes the certificates (apt install openssl)")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def _of_server(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.certificate, certificates.key)
    return context


async def test_tls(certificates: Certificates) -> None:
    for transport in both(ssl.create_default_context(cafile=str(certificates.ca))):
        async with served(answers(OK), _of_server(certificates)) as (port, came):
            found = [await told(transport, f"https://localhost:{port}/") for _ in range(3)]
            await transport.aclose()
        assert (found, len(came)) == ([(200, b"ok")] * 3, 1), type(transport).__name__


async def test_tls_that_is_cut(certificates: Certificates) -> None:
    for transport in both(ssl.create_default_context(cafile=str(certificates.ca))):
        async with served(answers(OK, then="close"), _of_server(certificates)) as (port, came):
            found = []
            for _ in range(3):
                found.append(await told(transport, f"https://localhost:{port}/"))
                await asyncio.sleep(0.1)
            await transport.aclose()
        assert (found, len(came)) == ([(200, b"ok")] * 3, 3), type(transport).__name__


async def test_tls_with_a_certificate_that_nobody_signed(certificates: Certificates) -> None:
    for transport in both():
        async with served(answers(OK), _of_server(certificates)) as (port, _):
            assert await told(transport, f"https://localhost:{port}/") == (0, httpx.ConnectError)


async def test_tls_of_another_host(certificates: Certificates) -> None:
    for transport in both(ssl.create_default_context(cafile=str(certificates.ca))):
        async with served(answers(OK), _of_server(certificates)) as (port, _):
            assert await told(transport, f"https://127.0.0.2:{port}/") == (0, httpx.ConnectError)


async def test_tls_where_none_is_spoken() -> None:
    for transport in both():
        async with served(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n", then="close")) as (port, _):
            # neither does the server understand the greeting, nor does it answer it
            assert await told(transport, f"https://localhost:{port}/") == (0, httpx.ConnectTimeout)
