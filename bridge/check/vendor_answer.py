"""One question to a vendor's API, without patience: a check is to end soon."""

from __future__ import annotations

from typing import Any

import httpx

from bridge.backfill.vendor_api import Params, Vendor
from bridge.errors import SenderUnreadable
from bridge.settings import Secrets


async def vendor_answer(
    client: httpx.AsyncClient, vendor: Vendor, address: str, token: Secrets, params: Params | None = None
) -> Any:
    """The JSON that the vendor has there. Raises: SenderUnreadable, whose detail begins with the vendor's name."""
    headers = {b"Authorization": vendor.token_prefix + token()[0], b"Accept": vendor.accept.encode()}
    try:
        answer = await client.get(address, params=dict(params or {}), headers=headers)
    except httpx.TransportError as error:
        raise SenderUnreadable(f"{vendor.name} is not reachable: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise SenderUnreadable(f"{vendor.name} answers {answer.status_code}", answer.status_code)
    try:
        return answer.json()
    except (ValueError, RecursionError) as error:
        raise SenderUnreadable(f"{vendor.name} answers with something that is not JSON") from error
