"""Large files in parts by the unmodified OpenAI SDK, against a local stack: public calls only.

Usage: uploads.py READY_FILE [CHECK …] (the file is written by `switchyard up --ready-file`).
"""

import hashlib
import json
import pathlib
import tempfile
import time

import openai

import realtime

MODEL = "minilm"
TYPE = "application/jsonl"


def client(ready, **options):
    options = {"api_key": ready["api_key"], **options}
    return openai.OpenAI(base_url=ready["base_url"], **options)


def line(n, text="hello"):
    body = {"model": MODEL, "input": text}
    return json.dumps({"custom_id": f"c-{n}", "method": "POST", "url": "/v1/embeddings", "body": body})


def lines(count, text="hello"):
    return "\n".join(line(n, text) for n in range(count)).encode()


def begin(sdk, content, **more):
    wish = dict(bytes=len(content), filename="in.jsonl", mime_type=TYPE, purpose="batch")
    return sdk.uploads.create(**{**wish, **more})


def expect(error, code, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except error as raised:
        assert raised.code == code, f"{raised.code} instead of {code}"
        assert raised.body["message"], "no message"
        return
    raise AssertionError(f"{error.__name__} {code} was expected")


def the_sdk_cuts_a_file(ready):
    sdk = client(ready)
    content = lines(20_000, "the quick brown fox jumps over the lazy dog " * 20)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "large.jsonl"
        path.write_bytes(content)
        checksum = hashlib.md5(content).hexdigest()
        done = sdk.uploads.upload_file_chunked(
            file=path, mime_type=TYPE, purpose="batch", part_size=4_000_000, md5=checksum
        )
    took = time.monotonic() - began
    assert done.status == "completed" and done.object == "upload" and done.bytes == len(content), done
    assert (done.file.filename, done.file.status, done.file.bytes) == ("large.jsonl", "processed", len(content))
    assert sdk.files.retrieve(done.file.id) == done.file
    assert sdk.files.content(done.file.id).read() == content
    return f"{len(content) / 1e6:.0f} MB in {-(-len(content) // 4_000_000)} parts in {took:.1f} s"


def the_sdk_cuts_bytes_and_a_batch_reads_them(ready):
    sdk = client(ready)
    content = lines(300)
    done = sdk.uploads.upload_file_chunked(
        file=content, filename="in.jsonl", bytes=len(content), mime_type=TYPE, purpose="batch", part_size=7_001
    )
    wish = dict(input_file_id=done.file.id, endpoint="/v1/embeddings", completion_window="24h")
    batch = sdk.batches.create(**wish)
    assert batch.request_counts.total == 300 and batch.status in ("validating", "in_progress"), batch
    expect(openai.ConflictError, "file_in_use", sdk.with_options(max_retries=0).files.delete, done.file.id)
    sdk.batches.cancel(batch.id)


def parts_may_come_in_any_order_and_twice(ready):
    sdk = client(ready)
    content = lines(3)
    upload = begin(sdk, content, expires_after={"anchor": "created_at", "seconds": 7200})
    assert upload.status == "pending" and upload.expires_at - upload.created_at == 3600, upload
    last = sdk.uploads.parts.create(upload.id, data=content[100:])
    sdk.uploads.parts.create(upload.id, data=content[:100])
    first = sdk.uploads.parts.create(upload.id, data=content[:100])
    assert (first.object, first.upload_id) == ("upload.part", upload.id)
    done = sdk.uploads.complete(upload.id, part_ids=[first.id, last.id])
    assert done.file.expires_at - done.file.created_at == 7200, done.file
    assert sdk.uploads.complete(upload.id, part_ids=[first.id, last.id]) == done, "asked twice"
    assert sdk.files.content(done.file.id).read() == content
    assert [file.id for file in sdk.files.list() if file.id == done.file.id] == [done.file.id]


def wrong_lines_are_told_as_of_any_file(ready):
    sdk = client(ready)
    content = b"\n".join([lines(1), b"nonsense"])
    done = sdk.uploads.upload_file_chunked(
        file=content, filename="in.jsonl", bytes=len(content), mime_type=TYPE, purpose="batch", part_size=50
    )
    assert done.file.status == "error" and done.file.status_details.startswith("line 2:"), done.file


def bad_uploads_are_the_sdks_errors(ready):
    sdk = client(ready, max_retries=0)
    content = lines(2)
    expect(openai.BadRequestError, "unsupported_purpose", begin, sdk, content, purpose="assistants")
    expect(openai.APIStatusError, "file_too_large", begin, sdk, content, bytes=8_000_000_000)
    upload = begin(sdk, content)
    expect(openai.BadRequestError, "empty_part", sdk.uploads.parts.create, upload.id, data=b"")
    expect(openai.APIStatusError, "part_too_large", sdk.uploads.parts.create, upload.id, data=content + b"x")
    part = sdk.uploads.parts.create(upload.id, data=content[:-1])
    complete = sdk.uploads.complete
    expect(openai.BadRequestError, "mismatched_bytes", complete, upload.id, part_ids=[part.id])
    whole = sdk.uploads.parts.create(upload.id, data=content)
    expect(openai.BadRequestError, "checksum_mismatch", complete, upload.id, part_ids=[whole.id], md5="0" * 32)
    for _ in range(2):
        assert sdk.uploads.cancel(upload.id).status == "cancelled"
    expect(openai.ConflictError, "upload_cancelled", complete, upload.id, part_ids=[whole.id])
    expect(openai.ConflictError, "upload_cancelled", sdk.uploads.parts.create, upload.id, data=b"x")
    expect(openai.NotFoundError, "upload_not_found", sdk.uploads.cancel, "upload_none")


CHECKS = [
    the_sdk_cuts_a_file,
    the_sdk_cuts_bytes_and_a_batch_reads_them,
    parts_may_come_in_any_order_and_twice,
    wrong_lines_are_told_as_of_any_file,
    bad_uploads_are_the_sdks_errors,
]


if __name__ == "__main__":
    realtime.judge(globals(), CHECKS, of=lambda name: json.load(open(name)))
