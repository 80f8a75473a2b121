"""The way to Datadog: a relay in front of the sandbox that can be taken away, so that connections are refused.

The sandbox itself must not be ended: what it got is in its memory, and belongs to the account.
"""

from __future__ import annotations

import asyncio
import contextlib

_PIECE = 1 << 16


class Wire:
    """Relays connections on `address` to `target` (both HOST:PORT)."""

    def __init__(self, address: str, target: str) -> None:
        self.address = address
        self._host, _, self._port = address.rpartition(":")
        self._target_host, _, self._target_port = target.rpartition(":")
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        self._server = await asyncio.start_server(self._accept, self._host, int(self._port), backlog=1024)

    async def cut(self) -> None:
        """Refuses what comes, and cuts what is there."""
        if self._server is not None:
            self._server.close()
            self._server = None
        relays = list(self._relays)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._relay(reader, writer))
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(self._target_host, int(self._target_port))
        except OSError:
            writer.transport.abort()
            return
        ways = [asyncio.create_task(_copy(*ends)) for ends in ((reader, back), (there, writer))]
        try:
            # whichever side hangs up, the other one hears of it, after all that was said
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            back.close()
            writer.close()
        except asyncio.CancelledError:
            back.transport.abort()
            writer.transport.abort()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
