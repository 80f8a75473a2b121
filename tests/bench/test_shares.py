from __future__ import annotations

from bench.shares import shares


def test_idle_time_is_left_out_and_the_rest_is_shared_out_by_what_it_was_for() -> None:
    loop = "main (bench/web.py:1);uv_run (core.c:1)"
    endpoint = f"{loop};__call__ (uvicorn/x.py:1);app (starlette/routing.py:1);Webhooks.__call__ (bridge/app.py:1)"
    assert shares(
        [
            f"{loop};epoll_pwait (libc.so.6) 90",
            f"{loop};read (libc.so.6) 1",
            f"{endpoint};log (bridge/logs.py:1);write (libc.so.6) 2",
            f"{endpoint};receive (bridge/intake.py:1);model_validate_json (pydantic/main.py:1) 3",
            f"{endpoint};receive (bridge/intake.py:1);receive (bridge/intake.py:2) 4",
        ]
    ) == [
        ("envelopes, and the rest of intake", 0.4),
        ("parsing", 0.3),
        ("the log line", 0.2),
        ("* the event loop: reading, parsing HTTP, waking tasks", 0.1),
    ]
