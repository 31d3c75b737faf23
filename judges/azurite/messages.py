"""Messages that others put into the queues, by the vendor's own SDK and in either encoding, against the real
handler: a job ends by them; what is no ticket is a dead letter that says why.

`az storage message put` writes as this SDK does without a policy: the text as it is.

Usage: messages.py READY_FILE, with STORAGE in the environment: a connection string with the account's key.
"""

import base64
import json
import os
import sys
import time
import urllib.request

from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueServiceClient, TextBase64EncodePolicy

from account import API_VERSION, QUEUES

DOORBELL, POISON, DEAD = QUEUES
WITHIN_S = 90
READY = json.load(open(sys.argv[1]))
STORAGE = os.environ["STORAGE"]
SERVICE = QueueServiceClient.from_connection_string(STORAGE, api_version=API_VERSION)
FACTS = ContainerClient.from_connection_string(STORAGE, "switchyard", api_version=API_VERSION)
PLAIN = SERVICE.get_queue_client(DOORBELL)
BASE64 = SERVICE.get_queue_client(DOORBELL, message_encode_policy=TextBase64EncodePolicy())


def call(path, body=None, **headers):
    headers = {"Authorization": f"Bearer {READY['api_key']}", "Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"{READY['host_url']}{path}", body and json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return answer.status, answer.headers, json.load(answer)


def until(what, seen):
    limit = time.monotonic() + WITHIN_S
    while not (found := seen()):
        assert time.monotonic() < limit, f"{what}: not within {WITHIN_S} s"
        time.sleep(0.2)
    return found


def letters():
    """Dead letters by what was in them."""
    found = [json.loads(FACTS.download_blob(blob.name).readall()) for blob in FACTS.list_blobs("dead/")]
    return {letter["body"]: letter["reason"] for letter in found}


def waiting(name):
    return SERVICE.get_queue_client(name).get_queue_properties().approximate_message_count


def the_queues_are_there():
    names = {queue.name for queue in SERVICE.list_queues()}
    assert names >= set(QUEUES), names


def a_job_ends_by_messages_in_either_encoding():
    body = {"model": "minilm", "input": [f"sentence {n}" for n in range(20)]}
    wishes = {"Switchyard-Lane": "deferred", "Switchyard-Deadline": "10m"}
    status, headers, job = call("/api/v1/embeddings", body, **wishes)
    assert status == 202, (status, job)
    place, id = headers["Location"], headers["Location"].split("/")[-1]
    ticket = json.dumps({"v": 1, "tenant": READY.get("tenant", "dev"), "job_id": id})
    rings = 0

    def rung():
        nonlocal rings
        (PLAIN, BASE64)[rings % 2].send_message(ticket)
        rings += 1
        return call(place)[2]["status"] == "completed"

    until(f"job {id} is completed", rung)
    until("all rings are heard", lambda: waiting(DOORBELL) == 0)
    assert letters() == {}, letters()
    return f"{rings} rings, half of them in base64"


def what_is_no_ticket_is_a_dead_letter():
    ticket = json.dumps({"v": 1, "tenant": "nobody", "job_id": "none"})
    encoded = lambda content: base64.b64encode(content).decode()
    largest = "<" * 65536
    wanted = {
        "look at job one": "no_ticket",
        '{"job_id": "one"}': "no_ticket",
        "": "empty_message",
        encoded(b"look at job one"): "base64_no_ticket",
        encoded(b"\xff\xfe\x00\xff"): "base64_no_text",
        ticket: "unknown_owner",
        encoded(ticket.encode()): "unknown_owner",
        ticket.replace('"v": 1', '"v": 9'): "ticket_version",
        largest: "no_ticket",
    }
    for text in wanted:
        PLAIN.send_message(text)
    SERVICE.get_queue_client(POISON).send_message("tried five times")
    wanted["tried five times"] = "tries_used_up"
    # The SDK's own encoding of a text that is no ticket.
    BASE64.send_message("of a policy")
    wanted[encoded(b"of a policy")] = "base64_no_ticket"
    wanted = {text[:4096]: reason for text, reason in wanted.items()}
    until("every message is a dead letter", lambda: len(letters()) >= len(wanted))
    wrong = {text[:80]: (found, wanted.get(text)) for text, found in letters().items() if found != wanted.get(text)}
    assert not wrong, f"found and wanted: {wrong}"
    until("the queues are empty", lambda: waiting(DOORBELL) == waiting(POISON) == 0)
    told = SERVICE.get_queue_client(DEAD).peek_messages(32)
    assert sorted(json.loads(message.content)["body"] for message in told) == sorted(wanted), told
    return f"{len(wanted)} messages, each kept with its reason and told in {DEAD}"


def main():
    for check in (
        the_queues_are_there,
        a_job_ends_by_messages_in_either_encoding,
        what_is_no_ticket_is_a_dead_letter,
    ):
        began = time.monotonic()
        told = check()
        print(f"ok      {check.__name__.replace('_', ' ')}  ({time.monotonic() - began:.1f} s)  {told or ''}")


if __name__ == "__main__":
    main()
