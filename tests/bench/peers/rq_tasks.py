"""RQ: one job for each event, with retries."""

from __future__ import annotations

import redis
import rq

from bench.peers.post import MOST_TRIES, REDIS, enqueue_each, post

if __name__ == "__main__":
    queue = rq.Queue(connection=redis.Redis.from_url(REDIS))
    retry = rq.Retry(max=MOST_TRIES, interval=[1, 2, 4, 8, 16, 32, 60])
    enqueue_each(lambda line: queue.enqueue(post, line, retry=retry, result_ttl=0, failure_ttl=3600))
