"""Webhooks of batches, as the unmodified OpenAI SDK verifies them at their endpoint.

Usage: webhooks.py READY_FILE [CHECK …] (the file is written by `switchyard up --webhook URL --ready-file`).
This program is the endpoint: nobody else may listen at that URL. Give the stack a clock that runs faster,
as for batches.py.
"""

import http.server
import json
import threading
import time
import urllib.parse

import openai

from batches import DEADLINE, FAR, requests, until, upload, wish
from realtime import judge

# Real seconds until an event that is due has come: two looks of the sweep, and a retry.
TOLD_WITHIN_S = 60


class Endpoint:
    """Answers what it was told to answer of a batch, then 200; keeps what came."""

    def __init__(self, url):
        self.script, self.came, self.changed = {}, [], threading.Condition()
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                with endpoint.changed:
                    answers = endpoint.script.get(json.loads(body)["data"]["id"])
                    status = answers.pop(0) if answers else 200
                    endpoint.came.append((self.path, dict(self.headers), body, status))
                    endpoint.changed.notify_all()
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        place = urllib.parse.urlsplit(url)
        self.path = place.path
        self.server = http.server.ThreadingHTTPServer((place.hostname, place.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, batch, count=1):
        """What came about this batch, once there is that much of it."""
        def found():
            return [came for came in self.came if batch.id.encode() in came[2]]

        with self.changed:
            assert self.changed.wait_for(lambda: len(found()) >= count, TOLD_WITHIN_S), (
                f"{len(found())} of {count} events of {batch.id} came within {TOLD_WITHIN_S} s; of all: {len(self.came)}"
            )
            return found()


ENDPOINT = None


def endpoint(stack):
    global ENDPOINT
    ENDPOINT = ENDPOINT or Endpoint(stack.ready["webhook_url"])
    return ENDPOINT


def unwrap(stack, came):
    path, headers, body, _ = came
    assert path == ENDPOINT.path, path
    return stack.client().webhooks.unwrap(body, headers, secret=stack.ready["webhook_secret"])


def a_completed_batch_is_told_and_verified(stack):
    heard, sdk = endpoint(stack), stack.client()
    batch = sdk.batches.create(**wish(upload(sdk, requests(3)), DEADLINE))
    done = until(sdk, batch, "completed", lambda seen: seen.status == "completed")
    [came] = heard.of(batch)
    event = unwrap(stack, came)
    assert isinstance(event, openai.types.webhooks.BatchCompletedWebhookEvent), type(event)
    assert (event.object, event.type, event.data.id) == ("event", "batch.completed", batch.id), event
    assert event.id == came[1]["webhook-id"] and event.id.startswith("evt_"), came[1]
    assert 0 <= event.created_at - done.completed_at <= 1, (event, done)


def a_cancelled_batch_is_told_and_verified(stack):
    heard, sdk = endpoint(stack), stack.client()
    batch = sdk.batches.create(**wish(upload(sdk, requests(3)), FAR))
    sdk.batches.cancel(batch.id)
    until(sdk, batch, "cancelled", lambda seen: seen.status == "cancelled")
    event = unwrap(stack, heard.of(batch)[0])
    assert isinstance(event, openai.types.webhooks.BatchCancelledWebhookEvent), type(event)
    assert event.data.id == batch.id, event


def what_is_not_ours_is_refused(stack):
    heard, sdk = endpoint(stack), stack.client()
    batch = sdk.batches.create(**wish(upload(sdk, requests(1)), FAR))
    sdk.batches.cancel(batch.id)
    path, headers, body, status = heard.of(batch)[0]
    other = "whsec_" + "A" * 44
    forged = [
        (body.replace(b"cancelled", b"completed"), headers, stack.ready["webhook_secret"]),
        (body, {**headers, "webhook-id": "evt_other"}, stack.ready["webhook_secret"]),
        (body, headers, other),
    ]
    for body, headers, secret in forged:
        try:
            sdk.webhooks.unwrap(body, headers, secret=secret)
        except openai.InvalidWebhookSignatureError:
            continue
        raise AssertionError(f"taken: {body} {headers}")


def an_endpoint_that_fails_hears_of_it_again(stack):
    heard, sdk = endpoint(stack), stack.client()
    batch = sdk.batches.create(**wish(upload(sdk, requests(1)), FAR))
    heard.script[batch.id] = [500, 302, 429]
    sdk.batches.cancel(batch.id)
    came = heard.of(batch, 4)
    assert [status for *_, status in came] == [500, 302, 429, 200], came
    events = [unwrap(stack, one) for one in came]
    assert len({event.id for event in events}) == 1, events
    time.sleep(1)  # a delivered event does not come again
    assert len(heard.of(batch)) == 4


CHECKS = [
    a_completed_batch_is_told_and_verified,
    a_cancelled_batch_is_told_and_verified,
    what_is_not_ours_is_refused,
    an_endpoint_that_fails_hears_of_it_again,
]

if __name__ == "__main__":
    judge(globals(), CHECKS)
