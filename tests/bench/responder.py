"""Answers every so many bytes without looking at them: what a load generator can reach. `python -m bench.responder`."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

_HEAD = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n"
_ANSWER = _HEAD + b'{"status":"accepted"}'


class _Counter(asyncio.BufferedProtocol):
    def __init__(self, length: int) -> None:
        self._length = length
        self._got = 0
        self._buffer = memoryview(bytearray(256 * 1024))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def get_buffer(self, _: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        self._got += size
        if self._got >= self._length:
            self._got -= self._length
            self._transport.write(_ANSWER)


async def _serve(port: int, length: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Counter(length), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
