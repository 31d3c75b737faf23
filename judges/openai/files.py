"""Files and batches by the unmodified OpenAI SDK against a local stack: public calls only.

Usage: files.py READY_FILE [CHECK …] (the file is written by `switchyard up --ready-file`).
"""

import io
import json
import time

import openai

import realtime

MODEL = "minilm"


def client(ready, **options):
    options = {"api_key": ready["api_key"], **options}
    return openai.OpenAI(base_url=ready["base_url"], **options)


def line(custom_id, text="hello", **more):
    body = {"model": MODEL, "input": text}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body, **more})


def upload(sdk, *lines, name="in.jsonl", **options):
    return sdk.files.create(file=(name, "\n".join(lines).encode()), purpose="batch", **options)


def expect(error, code, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except error as raised:
        assert raised.code == code, f"{raised.code} instead of {code}"
        assert raised.body["message"], "no message"
        return raised
    raise AssertionError(f"{error.__name__} {code} was expected")


def a_file_lives_from_upload_to_deletion(ready):
    sdk = client(ready)
    content = "\n".join(line(f"c-{n}") for n in range(100)).encode()
    file = sdk.files.create(file=("in.jsonl", content), purpose="batch")
    assert (file.object, file.purpose, file.filename, file.status) == ("file", "batch", "in.jsonl", "processed")
    assert file.bytes == len(content) and abs(file.created_at - time.time()) < 3600 * 24 * 365
    assert sdk.files.retrieve(file.id) == file
    assert sdk.files.content(file.id).read() == content
    part = sdk.files.content(file.id, extra_headers={"Range": "bytes=10-19"})
    assert part.read() == content[10:20] and part.response.status_code == 206
    with sdk.files.with_streaming_response.content(file.id) as streamed:
        assert b"".join(streamed.iter_bytes()) == content
    for _ in range(2):
        assert sdk.files.delete(file.id).deleted
    expect(openai.NotFoundError, "file_not_found", sdk.files.retrieve, file.id)
    expect(openai.NotFoundError, "file_not_found", sdk.files.content, file.id)


def lists_are_paged_by_the_sdk(ready):
    sdk = client(ready)
    made = [upload(sdk, line("a"), name=f"{n}.jsonl").id for n in range(7)]
    newest = made[::-1]
    listed = [file.id for file in sdk.files.list(limit=3, purpose="batch")]
    assert [id for id in listed if id in made] == newest, listed
    assert [file.id for file in sdk.files.list(limit=3, order="asc") if file.id in made] == made
    # Deleting while the SDK pages must skip nothing.
    gone = [sdk.files.delete(file.id).id for file in sdk.files.list(limit=2) if file.id in made]
    assert gone == newest, gone
    assert not [file.id for file in sdk.files.list() if file.id in made]


def expiry_is_told(ready):
    file = upload(client(ready), line("a"), expires_after={"anchor": "created_at", "seconds": 7200})
    assert file.expires_at - file.created_at == 7200


def a_large_file_is_taken(ready):
    sdk = client(ready)
    text = "the quick brown fox jumps over the lazy dog " * 20
    content = "\n".join(line(f"c-{n}", text) for n in range(20_000)).encode()
    began = time.monotonic()
    file = sdk.files.create(file=("large.jsonl", io.BytesIO(content)), purpose="batch")
    took = time.monotonic() - began
    assert file.bytes == len(content) and file.status == "processed"
    assert sdk.files.content(file.id).read() == content
    sdk.files.delete(file.id)
    return f"{len(content) / 1e6:.0f} MB up in {took:.1f} s"


def bad_uploads_are_the_sdks_errors(ready):
    sdk = client(ready, max_retries=0)
    create, good = sdk.files.create, ("in.jsonl", line("a").encode())
    expect(openai.BadRequestError, "unsupported_purpose", create, file=good, purpose="assistants")
    expect(openai.BadRequestError, "empty_file", create, file=("in.jsonl", b""), purpose="batch")
    soon = {"anchor": "created_at", "seconds": 1}
    expect(openai.BadRequestError, "invalid_value", create, file=good, purpose="batch", expires_after=soon)
    expect(openai.BadRequestError, "invalid_cursor", sdk.files.list, after="file-none")
    expect(openai.NotFoundError, "file_not_found", sdk.files.retrieve, "file-none")


def wrong_lines_fail_the_batch_by_number(ready):
    sdk = client(ready, max_retries=0)
    chat = line("c").replace("/v1/embeddings", "/v1/chat/completions")
    file = upload(sdk, line("a"), "nonsense", line("a"), line("b", stream=True), chat)
    assert file.status == "error" and file.status_details.startswith("line 2:"), file
    wish = dict(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    batch = sdk.batches.create(**wish)
    assert batch.status == "failed" and batch.failed_at, batch
    lines = [error.line for error in batch.errors.data]
    assert lines == [2, 3, 4, 5], batch.errors
    assert sdk.batches.retrieve(batch.id).errors == batch.errors


def bad_batches_are_the_sdks_errors(ready):
    sdk = client(ready, max_retries=0)
    file = upload(sdk, line("a"))
    wish = dict(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    create = sdk.batches.create
    expect(openai.BadRequestError, "mismatched_endpoint", create, **{**wish, "endpoint": "/v1/completions"})
    expect(openai.NotFoundError, "file_not_found", create, **{**wish, "input_file_id": "file-none"})
    expect(openai.NotFoundError, "batch_not_found", sdk.batches.retrieve, "batch_none")
    expect(openai.NotFoundError, "batch_not_found", sdk.batches.cancel, "batch_none")
    expect(openai.BadRequestError, "invalid_cursor", sdk.batches.list, after="batch_none")


CHECKS = [
    a_file_lives_from_upload_to_deletion,
    lists_are_paged_by_the_sdk,
    expiry_is_told,
    a_large_file_is_taken,
    bad_uploads_are_the_sdks_errors,
    wrong_lines_fail_the_batch_by_number,
    bad_batches_are_the_sdks_errors,
]


if __name__ == "__main__":
    realtime.judge(globals(), CHECKS, of=lambda name: json.load(open(name)))
