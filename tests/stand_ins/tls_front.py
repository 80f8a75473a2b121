"""TLS in front of a server that speaks none, as managed services and stunnel do it; and certificates made for it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """Files: an authority, and a certificate for localhost and 127.0.0.1 with its key, for servers and clients."""

    ca: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path) -> Certificates:
    """Made by the program openssl."""
    made = Certificates(folder / "ca.pem", folder / "one.pem", folder / "one.key")
    ca_key, request, names = folder / "ca.key", folder / "one.csr", folder / "names"
    # key identifiers and usage are what Python 3.13 asks of certificates (VERIFY_X509_STRICT)
    names.write_text(
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\n"
    )
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for command in (
        (
            "req",
            "-x509",
            *new_key,
            "-keyout",
            ca_key,
            "-out",
            made.ca,
            "-days",
            "2",
            "-subj",
            "/CN=tests",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ),
        ("req", *new_key, "-keyout", made.key, "-out", request, "-subj", "/CN=localhost"),
        (
            *("x509", "-req", "-in", request, "-CA", made.ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2"),
            *("-extfile", names, "-out", made.certificate),
        ),
    ):
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
    return made


@contextlib.contextmanager
def behind_tls(port: int, certificates: Certificates) -> Iterator[int]:
    """The port on which 127.0.0.1:`port` is reached with TLS, by clients with a certificate of the same authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates.certificate, certificates.key)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
            ways = [
                asyncio.create_task(_copy(reader, behind_writer)),
                asyncio.create_task(_copy(behind_reader, writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            behind_writer.close()
        writer.close()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(front, "127.0.0.1", 0, ssl=context)

    async def stop(server: asyncio.Server) -> None:
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
