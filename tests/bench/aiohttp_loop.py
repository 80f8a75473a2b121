"""The limit of delivery: prepared bodies posted by aiohttp, so many at a time, with nothing around it.

`python -m bench.aiohttp_loop FILE URL CONNECTIONS`; the file has a JSON body on each line. No ledger, order or retry.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp

HEADERS = {"DD-API-KEY": "key", "Accept": "application/json", "Content-Type": "application/json"}


async def post(bodies: list[bytes], url: str, connections: int) -> None:
    """All of them, in no order. Raises: aiohttp.ClientError for an answer that is none of success."""
    left = iter(bodies)
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session, asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_post_each(session, url, left))


async def _post_each(session: aiohttp.ClientSession, url: str, left: Iterator[bytes]) -> None:
    for body in left:
        async with session.post(url, data=body) as answer:
            answer.raise_for_status()
            await answer.read()


if __name__ == "__main__":
    asyncio.run(post(Path(sys.argv[1]).read_bytes().splitlines(), sys.argv[2], int(sys.argv[3])))
