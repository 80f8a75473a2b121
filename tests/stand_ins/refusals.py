"""What every stand-in does before it answers: look at the token, remember the call, and refuse it if told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class Call(NamedTuple):
    method: str
    path: str
    params: list[tuple[str, str]]


class Gate:
    """`authorization` is the header that is accepted; `refusals` are answered first, one for each call."""

    def __init__(self, authorization: str) -> None:
        self.authorization = authorization
        self.calls: list[Call] = []
        self.refusals: deque[tuple[int, Mapping[str, str], Any]] = deque()

    def refuse(self, status: int, headers: Mapping[str, str] | None = None, body: Any = None) -> None:
        self.refusals.append((status, headers or {}, body or {"message": "no"}))

    def paths(self) -> list[str]:
        return [call.path for call in self.calls]

    def passed(self, request: Request) -> Response | None:
        """None if the call may pass, else what is answered."""
        self.calls.append(Call(request.method, request.url.path, request.query_params.multi_items()))
        if request.headers.get("authorization") != self.authorization:
            return JSONResponse({"message": "Bad credentials"}, 401)
        if self.refusals:
            status, headers, body = self.refusals.popleft()
            return JSONResponse(body, status, dict(headers))
        return None
