"""The unmodified OpenAI SDK never sees a 202 that it did not ask for: it cannot read one.

The deferred lane is open, cheaper and preferred (knob batch-cost-threshold 0); every status that the
SDK gets, retries included, is recorded below it.

Usage: never_202.py READY_FILE [CHECK …] (the file is written by `switchyard up --ready-file`).
"""

import collections
import concurrent.futures
import io
import itertools
import uuid

import openai

from realtime import MODEL, judge

LATER = {"Prefer": "respond-async", "Switchyard-Deadline": "2h"}
TEXT = "who is asked to wait"
# What may be said with every request, by itself and with everything else.
TIERS = [None, "auto", "default", "flex", "scale", "priority"]
DEADLINES = [None, "1ms", "30s", "2h", "2020-01-01T00:00:00Z"]
WAITS = [None, "wait=1, handling=lenient"]
LANES = [None, "auto", "realtime"]
# Requests that a crowd has under way at once: more than a stack of two replicas runs and holds.
CROWD = 64


class Heard:
    """A client of a stack and what it heard: statuses, and reasons of decisions."""

    def __init__(self, stack, **options):
        self.statuses, self.reasons, self.asked = collections.Counter(), collections.Counter(), []
        http = openai.DefaultHttpxClient(event_hooks={"response": [self.note]})
        options = {"api_key": stack.ready["api_key"], "max_retries": 0, **options}
        self.sdk = openai.OpenAI(base_url=stack.ready["base_url"], http_client=http, **options)

    def note(self, response):
        self.statuses[response.status_code] += 1
        self.reasons.update(response.headers.get("switchyard-reason", "").split(", "))
        if response.status_code == 202:
            headers = {name: value for name, value in response.request.headers.items() if name != "authorization"}
            self.asked.append(f"{response.request.method} {response.request.url.path} {headers}")

    def call(self, create, *arguments, **options):
        """Makes a call, whatever comes of it."""
        try:
            return create(*arguments, **options)
        except openai.APIStatusError:
            return None

    def embed(self, text=TEXT, **options):
        return self.call(self.sdk.embeddings.create, model=MODEL, input=text, **options)

    def saw_none(self, *wanted):
        assert not self.asked, f"{len(self.asked)} times 202, first for {self.asked[0]}"
        for status in wanted:
            assert self.statuses[status], f"{status} was never seen: {self.statuses}"
        return f"{self.statuses.total()} answers: {dict(sorted(self.statuses.items()))}"


def cost(headers):
    return float(headers["switchyard-cost"].split(";")[0].removeprefix("estimate="))


def deferred(stack, **headers):
    """A 202, as a client that asked for it reads it: raw."""
    embeddings = Heard(stack).sdk.embeddings.with_raw_response
    raw = embeddings.create(model=MODEL, input=TEXT, extra_headers={**LATER, **headers})
    assert raw.status_code == 202, f"{raw.status_code} {raw.text}"
    assert raw.headers["location"].startswith("/api/jobs/"), raw.headers
    assert raw.headers["switchyard-lane"] == "deferred" and int(raw.headers["retry-after"]) > 0, raw.headers
    return raw


def who_asks_gets_a_202(stack):
    raw = deferred(stack)
    assert raw.headers["preference-applied"] == "respond-async", raw.headers
    embeddings = Heard(stack).sdk.embeddings.with_raw_response
    lane = embeddings.create(model=MODEL, input=TEXT, extra_headers={"Switchyard-Lane": "deferred"})
    assert lane.status_code == 202 and "preference-applied" not in lane.headers, lane.headers
    return f"{raw.headers['switchyard-reason']}, {cost(raw.headers)} USD"


def nobody_else_gets_one_whatever_they_say(stack):
    """Every mix of controls, repeats of a request that was deferred among them."""
    later = deferred(stack)
    heard = Heard(stack)
    now = heard.sdk.embeddings.with_raw_response.create(model=MODEL, input=TEXT)
    dear, cheap = cost(now.headers), cost(later.headers)
    assert cheap < dear, f"deferred {cheap} USD, realtime {dear} USD"
    between = f"{(cheap + dear) / 2:.9f}"

    def one(mix):
        tier, deadline, wait, lane, max_cost, repeat = mix
        headers = {
            "Switchyard-Deadline": deadline,
            "Prefer": wait,
            "Switchyard-Lane": lane,
            "Switchyard-Max-Cost": max_cost,
            "x-stainless-retry-count": repeat,
        }
        headers = {name: value for name, value in headers.items() if value is not None}
        heard.embed(extra_headers=headers, extra_body={"service_tier": tier} if tier else None)

    mixes = list(itertools.product(TIERS, DEADLINES, WAITS, LANES, [None, between, "0"], [None, "1"]))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(one, mixes))
    assert heard.reasons["cannot_answer_later"], f"deferring was never preferred: {heard.reasons}"
    return heard.saw_none(200, 400, 422)


def a_key_that_was_deferred_answers_no_202_to_others(stack):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = deferred(stack, **key)
    assert deferred(stack, **key).headers["location"] == first.headers["location"]
    heard = Heard(stack, max_retries=2)
    heard.embed(extra_headers=key)
    heard.embed(extra_headers={**key, "x-stainless-retry-count": "1"})
    heard.embed("another text", extra_headers=key)
    heard.embed(extra_headers={"Idempotency-Key": str(uuid.uuid4())})
    return heard.saw_none(200, 409)


def no_other_call_gets_one(stack):
    """Everything that the SDK can ask for, served here or not."""
    heard = Heard(stack)
    sdk, call = heard.sdk, heard.call
    messages, text = [{"role": "user", "content": "hi"}], io.BytesIO(b"text")
    for model, tier in itertools.product(["gpt-4o", MODEL], ["auto", "flex", "priority"]):
        for headers in (None, {"Switchyard-Deadline": "2h"}, {"Idempotency-Key": str(uuid.uuid4())}):
            options = dict(model=model, extra_headers=headers)
            for stream in (False, True):
                call(sdk.chat.completions.create, messages=messages, service_tier=tier, stream=stream, **options)
            call(sdk.completions.create, prompt="hi", **options)
            call(sdk.responses.create, input="hi", service_tier=tier, background=True, **options)
    call(sdk.embeddings.create, model="no-such-model", input="hi")
    call(sdk.models.list)
    call(sdk.models.retrieve, MODEL)
    call(sdk.moderations.create, input="hi")
    call(sdk.images.generate, prompt="hi", model="dall-e-3")
    call(sdk.audio.speech.create, input="hi", model="tts-1", voice="alloy")
    call(sdk.audio.transcriptions.create, file=("a.wav", text), model="whisper-1")
    call(sdk.vector_stores.create, name="x")
    call(sdk.fine_tuning.jobs.create, model=MODEL, training_file="file-x")
    line = f'{{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{{"model":"{MODEL}","input":"x"}}}}'
    file = sdk.files.create(file=("in.jsonl", line.encode()), purpose="batch")
    wish = dict(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    for headers in (None, {"Switchyard-Lane": "deferred"}, {"Prefer": "respond-async"}):
        batch = sdk.batches.create(**wish, extra_headers=headers)
        sdk.batches.retrieve(batch.id)
        sdk.batches.cancel(batch.id)
    list(sdk.batches.list())
    list(sdk.files.list())
    call(sdk.files.retrieve, file.id)
    call(sdk.files.content, file.id)
    call(sdk.files.delete, file.id)
    return heard.saw_none(200, 404)


def a_crowd_is_refused_and_not_deferred(stack):
    heard = Heard(stack)
    texts = ["the quick brown fox jumps over the lazy dog " * 8] * 24
    heads = [None, {"Switchyard-Deadline": "2h"}, {"Prefer": "wait=5"}, {"Switchyard-Max-Cost": "1"}]
    tiers = [{"service_tier": tier} if tier else None for tier in TIERS]
    said = itertools.cycle(itertools.product(heads, tiers))
    with concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
        calls = [
            pool.submit(heard.embed, texts, extra_headers=headers, extra_body=body)
            for headers, body in itertools.islice(said, 2 * CROWD)
        ]
        deferred(stack)  # who asks is not refused meanwhile
        for call in calls:
            call.result()
    return heard.saw_none(200, 429)


def nor_is_who_comes_while_all_is_cold(stack):
    """Only sound against a stack that starts replicas for longer than it holds requests."""
    deferred(stack)
    heard = Heard(stack)
    heads = [None, {"Switchyard-Deadline": "2h"}, {"Switchyard-Deadline": "30s"}, {"Prefer": "wait=2"}]
    with concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
        for headers, tier in itertools.product(heads, TIERS):
            body = {"service_tier": tier} if tier else None
            pool.submit(heard.embed, extra_headers=headers, extra_body=body)
    assert not heard.statuses[200], f"it was warm: {heard.statuses}"
    return heard.saw_none(503)


CHECKS = [
    who_asks_gets_a_202,
    nobody_else_gets_one_whatever_they_say,
    a_key_that_was_deferred_answers_no_202_to_others,
    no_other_call_gets_one,
    a_crowd_is_refused_and_not_deferred,
]

if __name__ == "__main__":
    judge(globals(), CHECKS)
