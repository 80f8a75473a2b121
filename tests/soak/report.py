"""What a soak came to, for people and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from soak.account import ENDS, Account
from soak.run import DRAINED_WITHIN_S, Result

MOST_NAMED = 10


def as_text(result: Result) -> str:
    """The account, and below it what is wrong."""
    one = result.account
    drained = (
        f"drained {result.drained_s:.1f} s after the last sender"
        if result.drained_s is not None
        else f"NOT drained within {DRAINED_WITHIN_S:.0f} s"
    )
    skipped = f", {result.skipped} left out" if result.skipped else ""
    lines = [
        f"seed {result.seed}, {result.seconds:.0f} s, {len(result.done)} times harm{skipped}: {drained}",
        f"  harm          {'; '.join(map(str, result.planned))}",
        f"  webhooks      {sum(one.webhooks.values())}: {_counts(one.webhooks)}",
        f"  posts         {sum(result.tries.values())}: {_counts(result.tries)}",
        f"  accepted      {sum(one.accepted.values())} statements = {_sum(one.accepted)}",
        f"  may be        {sum(one.may_be.values())}, whose sender heard no 202: {_counts(one.may_be) or 'none'}",
        f"  concluded     {sum(one.concluded.values())}, which no webhook says: {_counts(one.concluded) or 'none'}",
        f"  requests      {sum(one.requests.values())}: {_counts(one.requests)}; {one.repeated} repeated in doubt",
        f"  told          {sum(one.told.values())} statements: {_counts(one.told)}",
        "  wrong         "
        + ", ".join(f"{name.replace('_', ' ')} {len(getattr(one, name))}" for name in Account.WRONGS),
    ]
    for name in Account.WRONGS:
        named = getattr(one, name)
        lines += [f"    {name}: {line}" for line in named[:MOST_NAMED]]
        if len(named) > MOST_NAMED:
            lines.append(f"    {name}: and {len(named) - MOST_NAMED} more")
    lines += [f"    ended by itself: {name}, {times} times" for name, times in result.ended.items()]
    lines += [f"    {line}" for line in result.late]
    lines.append("  the account comes out even" if result.is_sound else "  THE ACCOUNT DOES NOT COME OUT EVEN")
    return "\n".join(lines)


def as_json(result: Result) -> dict[str, Any]:
    """All of it, with every name."""
    one = result.account
    return {
        "seed": result.seed,
        "seconds": result.seconds,
        "sound": result.is_sound,
        "harm": [str(planned) for planned in result.planned],
        "harm_as_it_happened": list(result.done),
        "harm_left_out": result.skipped,
        "drained_s": result.drained_s,
        "webhooks": dict(one.webhooks),
        "posts": dict(result.tries),
        "accepted": dict(one.accepted),
        "may_be": dict(one.may_be),
        "concluded": dict(one.concluded),
        "requests": dict(one.requests),
        "told": dict(one.told),
        "repeated_in_doubt": one.repeated,
        "wrong": {name: list(getattr(one, name)) for name in Account.WRONGS},
        "ended_by_themselves": dict(result.ended),
        "ended_late": list(result.late),
    }


def _sum(accepted: Mapping[str, int]) -> str:
    """Every end with its number, and what is at none."""
    parts = [f"{accepted.get(end, 0)} {end.replace('_', ' ')}" for end in ENDS]
    return " + ".join(parts + [f"{number} {state.upper()}" for state, number in accepted.items() if state not in ENDS])


def _counts(counted: Mapping[str, int]) -> str:
    most_first = sorted(counted.items(), key=lambda item: -item[1])
    return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in most_first)
