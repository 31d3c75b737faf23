"""The vendor's own queue client against a queue service: public calls only.

Usage: service.py, with QUEUE_CONNECTION_STRING in the environment.
"""

import datetime
import os
import time
import uuid

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.storage.queue import (
    AccountSasPermissions,
    QueueClient,
    QueueServiceClient,
    ResourceTypes,
    TextBase64DecodePolicy,
    TextBase64EncodePolicy,
    generate_account_sas,
)

CONNECTION = os.environ["QUEUE_CONNECTION_STRING"]
SERVICE = QueueServiceClient.from_connection_string(CONNECTION)
PREFIX = f"judge-{uuid.uuid4().hex[:8]}"


def queue(name, **options):
    client = QueueClient.from_connection_string(CONNECTION, f"{PREFIX}-{name}", **options)
    client.create_queue()
    return client


def refused(kind, call, code=None):
    try:
        call()
    except kind as error:
        assert code is None or error.error_code == code, (error.error_code, code)
        return
    raise AssertionError(f"expected {kind.__name__}")


def queues_are_listed_and_described():
    made = [queue(name) for name in ("list-a", "list-b", "list-c")]
    made[0].set_queue_metadata({"purpose": "judging"})
    pages = SERVICE.list_queues(f"{PREFIX}-list", include_metadata=True, results_per_page=2).by_page()
    pages = [list(page) for page in pages]
    assert [len(page) for page in pages] == [2, 1], pages
    assert [item.name for page in pages for item in page] == [client.queue_name for client in made]
    assert pages[0][0].metadata == {"purpose": "judging"}
    properties = made[0].get_queue_properties()
    assert (properties.metadata, properties.approximate_message_count) == ({"purpose": "judging"}, 0)
    refused(ResourceExistsError, made[0].create_queue, "QueueAlreadyExists")
    # With the same metadata the service says 204, which the client takes for the same.
    refused(ResourceExistsError, made[1].create_queue, "QueueAlreadyExists")
    for client in made:
        client.delete_queue()
    refused(ResourceNotFoundError, made[0].get_queue_properties, "QueueNotFound")


def messages_go_in_and_come_out():
    client = queue("messages")
    texts = ["", "hello", '{"job_id":"j1"}', "a < b & c > \"d\" 'e'", "line\nline\n", "é 世 😀"]
    for text in texts:
        sent = client.send_message(text)
        assert uuid.UUID(sent.id) and sent.pop_receipt
        assert sent.expires_on - sent.inserted_on == datetime.timedelta(days=7)
        [message] = client.receive_messages()
        assert (message.id, message.content, message.dequeue_count) == (sent.id, text, 1), message
        client.delete_message(message)
    assert list(client.receive_messages()) == []
    client.delete_queue()


def base64_policies_agree():
    client = queue(
        "base64", message_encode_policy=TextBase64EncodePolicy(), message_decode_policy=TextBase64DecodePolicy()
    )
    client.send_message("hello")
    assert [message.content for message in client.receive_messages()] == ["hello"]
    client.delete_queue()


def visibility_and_receipts():
    client = queue("receipts")
    client.send_message("one")
    [taken] = client.receive_messages(visibility_timeout=600)
    assert list(client.receive_messages()) == [] and client.peek_messages(32) == []
    updated = client.update_message(taken, visibility_timeout=0, content="two")
    refused(HttpResponseError, lambda: client.delete_message(taken), "PopReceiptMismatch")
    [again] = client.receive_messages(visibility_timeout=600)
    assert (again.content, again.dequeue_count, again.id) == ("two", 2, taken.id)
    refused(HttpResponseError, lambda: client.delete_message(taken.id, updated.pop_receipt), "PopReceiptMismatch")
    client.delete_message(again)
    refused(ResourceNotFoundError, lambda: client.delete_message(again), "MessageNotFound")
    client.delete_queue()


def time_passes():
    client = queue("time")
    client.send_message("later", visibility_timeout=1)
    assert client.receive_message() is None
    client.send_message("short", time_to_live=1)
    forever = client.send_message("forever", time_to_live=-1)
    assert forever.expires_on.year == 9999
    limit = time.monotonic() + 20
    while client.get_queue_properties().approximate_message_count > 2:
        assert time.monotonic() < limit, "the message outlived its time"
    seen = set()
    while seen != {"later", "forever"}:
        assert time.monotonic() < limit, f"only {seen} became visible"
        seen |= {message.content for message in client.receive_messages()}
    client.delete_queue()


def many_at_once():
    client = queue("many")
    for number in range(40):
        client.send_message(str(number))
    assert client.get_queue_properties().approximate_message_count == 40
    assert len(client.peek_messages(32)) == 32
    taken = [message.content for page in client.receive_messages(messages_per_page=32).by_page() for message in page]
    assert sorted(taken, key=int) == [str(number) for number in range(40)]
    too_many = client.receive_messages(messages_per_page=33)
    refused(HttpResponseError, lambda: list(too_many), "OutOfRangeQueryParameterValue")
    client.clear_messages()
    assert client.get_queue_properties().approximate_message_count == 0
    client.delete_queue()


def limits_are_kept():
    client = queue("limits")
    client.send_message("&" * 65536)
    refused(HttpResponseError, lambda: client.send_message("x" * 65537), "RequestBodyTooLarge")
    refused(HttpResponseError, lambda: client.send_message("a", visibility_timeout=5, time_to_live=5))
    client.delete_queue()
    bad = QueueClient.from_connection_string(CONNECTION, f"{PREFIX}--two")
    refused(HttpResponseError, bad.create_queue, "InvalidResourceName")


def only_those_with_a_signature_come_in():
    account, name = SERVICE.url.rstrip("/"), f"{PREFIX}-sas"
    client = queue("sas")
    nobody = QueueClient(account, name, credential="sv=2021-06-08&ss=q&srt=o&sp=a&se=2099-01-01&sig=aGk%3D")
    refused(ClientAuthenticationError, lambda: nobody.send_message("a"), "AuthenticationFailed")
    forged = QueueClient(account, name, credential={"account_name": SERVICE.account_name, "account_key": "aGk="})
    refused(ClientAuthenticationError, lambda: forged.send_message("a"), "AuthenticationFailed")
    sas = generate_account_sas(
        SERVICE.account_name,
        SERVICE.credential.account_key,
        ResourceTypes(object=True),
        AccountSasPermissions(add=True),
        datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1),
    )
    limited = QueueClient(account, name, credential=sas)
    limited.send_message("by SAS")
    refused(HttpResponseError, lambda: limited.peek_messages())
    assert [message.content for message in client.peek_messages()] == ["by SAS"]
    client.delete_queue()


SERVICE.get_service_properties()
for judge in (
    queues_are_listed_and_described,
    messages_go_in_and_come_out,
    base64_policies_agree,
    visibility_and_receipts,
    time_passes,
    many_at_once,
    limits_are_kept,
    only_those_with_a_signature_come_in,
):
    judge()
    print(f"ok  {judge.__name__}")
