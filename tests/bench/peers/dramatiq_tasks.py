"""Dramatiq: one message for each event. It acknowledges a message after the work, and retries by itself."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers.post import MOST_TRIES, REDIS, enqueue_each, post

dramatiq.set_broker(RedisBroker(url=REDIS))
send = dramatiq.actor(post, actor_name="send", max_retries=MOST_TRIES, min_backoff=1000, max_backoff=60_000)

if __name__ == "__main__":
    enqueue_each(send.send)
