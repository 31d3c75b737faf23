"""OpenAI batches, run by real workers on the local pool, as the unmodified OpenAI SDK sees them.

Usage: batches.py READY_FILE [CHECK …] (the file is written by `switchyard up --ready-file`). Give the
stack a clock that runs faster (SWITCHYARD_EPOCH_UNIX_MS, SWITCHYARD_SPEED): jobs are looked at every 30 s.
"""

import array
import base64
import collections
import contextlib
import json
import os
import pathlib
import signal
import threading
import time
import urllib.request
import uuid

import httpx2  # what this SDK speaks HTTP with
import openai

from realtime import MODEL, Stack, assert_close, judge, reference

# By the stack's clock: small jobs wait for company until their deadline is near.
DEADLINE = "20m"
FAR = "20h"
# Far enough to be promised, near enough to be waited for: a minute and a half of real time.
FAR_ENOUGH = "30m"
# Enough for the larger one while the machine does other work: two minutes of real time.
LONGER = "40m"
# Real seconds that a batch may take to end before it counts as stuck.
ENDED_WITHIN_S = 180
ENDS = {"completed", "failed", "expired", "cancelled"}
# Every text many times: several chunks, so that a batch can be stopped half-way.
FEW, MANY = 2_000, 6_000


def requests(count):
    """Custom id, reference case and line of so many embeddings, every third as a list of numbers."""
    cases = reference()
    made = []
    for n in range(count):
        case, encoding = cases[n % len(cases)], ("float" if n % 3 == 0 else "base64")
        body = {"model": MODEL, "input": case["text"], "encoding_format": encoding}
        line = {"custom_id": f"c-{n}", "method": "POST", "url": "/v1/embeddings", "body": body}
        made.append((line["custom_id"], case, json.dumps(line)))
    return made


def upload(sdk, wanted):
    content = "\n".join(line for _, _, line in wanted).encode()
    file = sdk.files.create(file=("in.jsonl", content), purpose="batch")
    assert file.status == "processed", file
    return file


def wish(file, deadline, **metadata):
    metadata = {"deadline": deadline, **metadata}
    return dict(
        input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h", metadata=metadata
    )


def until(sdk, batch, what, condition):
    """The batch once `condition` holds; fails where it ends before, or never gets there."""
    limit = time.monotonic() + ENDED_WITHIN_S
    while True:
        seen = sdk.batches.retrieve(batch.id)
        if condition(seen):
            return seen
        assert seen.status not in ENDS, f"ended before {what}: {seen}"
        assert time.monotonic() < limit, f"not {what} within {ENDED_WITHIN_S} s: {seen}"
        time.sleep(0.1)


def lines(sdk, file_id):
    return [json.loads(line) for line in sdk.files.content(file_id).text.splitlines()]


def check_results(found, wanted):
    """Each result is the reference's, under its own name."""
    cases = {custom_id: case for custom_id, case, _ in wanted}
    for line in found:
        case, response = cases[line["custom_id"]], line["response"]
        assert line["error"] is None and response["status_code"] == 200, str(line)[:200]
        [item] = response["body"]["data"]
        if isinstance(item["embedding"], str):
            item["embedding"] = list(array.array("f", base64.b64decode(item["embedding"])))
        body = openai.types.CreateEmbeddingResponse.model_validate(response["body"])
        assert_close(body.data[0].embedding, case["embedding_max256"], f"{line['custom_id']} ({case['name']})")
        assert body.usage.prompt_tokens == case["n_tokens_untruncated"], line["custom_id"]


def worked(stack, batch):
    """What the workers of a batch say that they did, which only our own API tells."""
    url = f"{stack.ready['host_url']}/api/jobs/{batch.id.removeprefix('batch_')}/logs"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {stack.ready['api_key']}"})
    with urllib.request.urlopen(request) as answer:
        said = [json.loads(line) for line in answer if line.startswith(b"{")]
    return sum(line["done"] for line in said if line["message"] == "member summary")


def refused(error, code, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except error as raised:
        assert raised.code == code, f"{raised.code} instead of {code}"
        return raised
    raise AssertionError(f"{error.__name__} {code} was expected")


def a_batch_runs_in_the_pool(stack):
    sdk, wanted = stack.client(), requests(FEW)
    file = upload(sdk, wanted)
    batch = sdk.batches.create(**wish(file, LONGER, team="judges"))
    assert (batch.object, batch.status, batch.input_file_id) == ("batch", "validating", file.id), batch
    assert batch.metadata == {"deadline": LONGER, "team": "judges"} and batch.model == MODEL, batch
    # The deadline counts from the request's arrival, a moment before the batch is made.
    assert 0 <= 40 * 60 - (batch.expires_at - batch.created_at) < 60, batch
    refused(openai.ConflictError, "file_in_use", stack.client(max_retries=0).files.delete, file.id)

    done = until(sdk, batch, "completed", lambda seen: seen.status == "completed")
    counts = done.request_counts
    assert (counts.total, counts.completed, counts.failed) == (FEW, FEW, 0), done
    assert done.error_file_id is None and done.errors is None, done
    times = [done.created_at, done.in_progress_at, done.finalizing_at, done.completed_at]
    assert times == sorted(times) and done.completed_at <= done.expires_at, done
    assert worked(stack, batch) == FEW, "not by the workers of the pool"

    output = sdk.files.retrieve(done.output_file_id)
    content = sdk.files.content(output.id).read()
    assert (output.purpose, output.bytes) == ("batch_output", len(content)), output
    found = lines(sdk, output.id)
    assert [line["custom_id"] for line in found] == [custom_id for custom_id, _, _ in wanted]
    check_results(found, wanted)
    assert len({line["id"] for line in found}) == FEW, "ids of lines repeat"
    assert output.id in [listed.id for listed in sdk.files.list(purpose="batch_output")], "its output is not listed"
    with_output = wish(output, LONGER)
    refused(openai.BadRequestError, "invalid_purpose", stack.client(max_retries=0).batches.create, **with_output)

    refused(openai.ConflictError, "batch_ended", stack.client(max_retries=0).batches.cancel, batch.id)
    assert sdk.files.delete(file.id).deleted
    spare = done.expires_at - done.completed_at
    return f"{FEW} results, each once, in order; {spare} s of {LONGER} to spare by the stack's clock"


def a_cancelled_batch_keeps_what_was_done(stack):
    sdk, wanted = stack.client(), requests(MANY)
    batch = sdk.batches.create(**wish(upload(sdk, wanted), FAR))
    until(sdk, batch, "half-way", lambda seen: seen.request_counts.completed > 0)
    asked = sdk.batches.cancel(batch.id)
    assert asked.status in ("cancelling", "cancelled") and asked.cancelling_at, asked
    done = until(sdk, batch, "cancelled", lambda seen: seen.status == "cancelled")
    assert sdk.batches.cancel(batch.id).status == "cancelled", "asked again, it answers as before"

    real, missing = lines(sdk, done.output_file_id), lines(sdk, done.error_file_id)
    counts = done.request_counts
    # What was never run has not failed.
    assert (counts.total, counts.completed, counts.failed) == (MANY, len(real), 0), done
    seen = collections.Counter(line["custom_id"] for line in real + missing)
    assert seen == collections.Counter(custom_id for custom_id, _, _ in wanted), "lost or doubled"
    check_results(real, wanted)
    codes = {line["error"]["code"] for line in missing}
    assert codes == {"batch_cancelled"} and all(line["response"] is None for line in missing), codes
    for part in (real, missing):
        places = [int(line["custom_id"].removeprefix("c-")) for line in part]
        assert places == sorted(places), "not in the order of the input"
    return f"{len(real)} results and {len(missing)} errors of {MANY}"


def a_batch_that_expires_keeps_what_was_done(stack):
    """Only sound against a stack whose realtime lane has no replicas: its workers are held up half-way."""
    sdk, wanted = stack.client(), requests(MANY)
    batch = sdk.batches.create(**wish(upload(sdk, wanted), FAR_ENOUGH))
    until(sdk, batch, "half-way", lambda seen: seen.request_counts.completed > 0)
    with held_up(stack):
        done = until(sdk, batch, "expired", lambda seen: seen.status == "expired")
    assert done.expired_at >= done.expires_at and done.errors is None, done
    real, missing = lines(sdk, done.output_file_id), lines(sdk, done.error_file_id)
    assert done.request_counts.completed == len(real), done
    everything = collections.Counter(line["custom_id"] for line in real + missing)
    assert everything == collections.Counter(custom_id for custom_id, _, _ in wanted), "lost or doubled"
    check_results(real, wanted)
    assert {line["error"]["code"] for line in missing} == {"batch_expired"}
    for part in (real, missing):
        places = [int(line["custom_id"].removeprefix("c-")) for line in part]
        assert places == sorted(places), "not in the order of the input"
    return f"{len(real)} results and {len(missing)} errors of {MANY}"


@contextlib.contextmanager
def held_up(stack):
    """Stops every worker of this stack's pool, also those that are started meanwhile."""
    folder, stopped, over = str(pathlib.Path(stack.ready_file).parent), set(), threading.Event()

    def hold():
        while not over.wait(0.05):
            for command in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    told = command.read_bytes().decode(errors="replace").split("\0")
                    pid = int(command.parent.name)
                    if pathlib.Path(told[0]).name == "worker" and any(folder in word for word in told):
                        os.kill(pid, signal.SIGSTOP)
                        stopped.add(pid)
                except OSError:
                    pass  # it has ended

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def a_batch_that_waits_is_cancelled_whole(stack):
    sdk, wanted = stack.client(), requests(3)
    batch = sdk.batches.create(**wish(upload(sdk, wanted), FAR))
    sdk.batches.cancel(batch.id)
    done = until(sdk, batch, "cancelled", lambda seen: seen.status == "cancelled")
    assert done.output_file_id is None and done.cancelled_at >= done.cancelling_at, done
    assert [line["custom_id"] for line in lines(sdk, done.error_file_id)] == ["c-0", "c-1", "c-2"]


def a_key_makes_one_batch(stack):
    sdk = stack.client(max_retries=0)
    file, headers = upload(sdk, requests(1)), {"Idempotency-Key": str(uuid.uuid4())}
    batch = sdk.batches.create(**wish(file, FAR), extra_headers=headers)
    again = sdk.batches.create(**wish(file, FAR), extra_headers=headers)
    assert again.id == batch.id
    other = wish(file, FAR, other="body")
    refused(openai.ConflictError, "idempotency_conflict", sdk.batches.create, **other, extra_headers=headers)
    assert sdk.batches.create(**wish(file, FAR)).id != batch.id, "without a key it is another one"
    assert made_of(sdk, file).pop() == batch.id and len(made_of(sdk, file)) == 2


def made_of(sdk, file):
    return [batch.id for batch in sdk.batches.list(limit=100) if batch.input_file_id == file.id]


def a_lost_answer_is_asked_for_again_and_doubles_nothing(stack):
    """The batch is made, its answer lost: the SDK repeats by itself and gets the same one."""
    lost = []

    def lose_the_first(response):
        if response.request.url.path.endswith("/batches") and not lost:
            lost.append(json.loads(response.read())["id"])
            raise httpx2.ReadError("lost by the judge")

    http = openai.DefaultHttpxClient(event_hooks={"response": [lose_the_first]})
    sdk = openai.OpenAI(base_url=stack.ready["base_url"], api_key=stack.ready["api_key"], http_client=http)
    file = upload(sdk, requests(2))
    batch = sdk.batches.create(**wish(file, FAR))
    assert lost == [batch.id], f"{lost} was made first, then {batch.id}"
    assert made_of(sdk, file) == [batch.id]


def lists_are_paged_by_the_sdk(stack):
    sdk = stack.client()
    file = upload(sdk, requests(1))
    made = [sdk.batches.create(**wish(file, FAR, number=str(n))).id for n in range(5)]
    listed = [batch.id for batch in sdk.batches.list(limit=2)]
    assert listed[:5] == made[::-1] and len(set(listed)) == len(listed), listed
    refused(openai.BadRequestError, "invalid_cursor", sdk.batches.list, after="batch_" + "a" * 26)
    first = sdk.batches.list(limit=2)
    assert first.has_more and [batch.id for batch in first.data] == made[:2:-1]
    assert [batch.id for batch in sdk.batches.list(limit=2, after=made[1])][0] == made[0]


CHECKS = [
    a_batch_runs_in_the_pool,
    a_cancelled_batch_keeps_what_was_done,
    a_batch_that_waits_is_cancelled_whole,
    a_key_makes_one_batch,
    a_lost_answer_is_asked_for_again_and_doubles_nothing,
    lists_are_paged_by_the_sdk,
]

if __name__ == "__main__":
    judge(globals(), CHECKS)
