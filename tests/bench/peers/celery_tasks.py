"""Celery: one task for each event, acknowledged after the work, with retries and back-off."""

from __future__ import annotations

import celery
import httpx

from bench.peers.post import MOST_TRIES, REDIS, enqueue_each, post

app = celery.Celery("bench", broker=REDIS)
app.conf.update(task_ignore_result=True, task_acks_late=True, broker_connection_retry_on_startup=True)
send = app.task(
    post,
    name="send",
    autoretry_for=(httpx.HTTPError,),
    retry_backoff=True,
    retry_backoff_max=60,
    max_retries=MOST_TRIES,
)

if __name__ == "__main__":
    enqueue_each(send.delay)
