"""The unmodified OpenAI SDK against a local stack: public calls only.

Usage: realtime.py READY_FILE [CHECK …] (the file is written by `switchyard up --ready-file`).
"""

import array
import base64
import concurrent.futures
import json
import math
import os
import pathlib
import signal
import sys
import time

import openai

REFERENCE = pathlib.Path(__file__).parents[2] / "crates/engine/testdata/minilm-reference.json"
TOLERANCE = 1e-5
MODEL = "minilm"


class Stack:
    """The running stack, its keys and the answers that the SDK got."""

    def __init__(self, ready_file):
        self.ready_file = ready_file
        self.ready = json.load(open(ready_file))
        self.statuses = []

    def client(self, **options):
        def note(response):
            self.statuses.append(response.status_code)

        http = openai.DefaultHttpxClient(event_hooks={"response": [note]})
        options = {"api_key": self.ready["api_key"], "max_retries": 8, **options}
        return openai.OpenAI(base_url=self.ready["base_url"], http_client=http, **options)

    def pid(self, name):
        return json.load(open(self.ready_file))["pids"].get(name)


def reference():
    cases = json.load(open(REFERENCE))
    cases = cases["cases"] if isinstance(cases, dict) else cases
    return [case for case in cases if case["text"].strip() and case["n_tokens_untruncated"] <= 256]


def assert_close(found, wanted, what):
    assert len(found) == len(wanted), f"{what}: {len(found)} numbers instead of {len(wanted)}"
    worst = max(abs(a - b) for a, b in zip(found, wanted))
    assert worst <= TOLERANCE, f"{what}: off by {worst}"


def a_short_cold_start_is_waited_out(stack):
    answer = stack.client().embeddings.create(model=MODEL, input="hello")
    assert len(answer.data[0].embedding) == 384
    assert stack.statuses == [200], f"statuses seen: {stack.statuses}"


def a_long_cold_start_succeeds_by_retries(stack):
    """Only sound against a stack that starts replicas for longer than it holds requests."""
    answer = stack.client().embeddings.create(model=MODEL, input="hello")
    assert len(answer.data[0].embedding) == 384
    assert 503 in stack.statuses and stack.statuses[-1] == 200, f"statuses seen: {stack.statuses}"
    return f"statuses seen: {stack.statuses}"


def vectors_are_the_references(stack):
    client, cases = stack.client(), reference()
    for case in cases:
        found = client.embeddings.create(model=MODEL, input=case["text"])
        assert_close(found.data[0].embedding, case["embedding_max256"], case["name"])
        assert found.usage.prompt_tokens == case["n_tokens_untruncated"], case["name"]
    return f"{len(cases)} texts, default encoding (base64)"


def lists_floats_and_base64_agree(stack):
    client, cases = stack.client(), reference()
    texts = [case["text"] for case in cases]
    floats = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    raw = client.embeddings.create(model=MODEL, input=texts, encoding_format="base64")
    assert [item.index for item in floats.data] == list(range(len(texts)))
    for case, item, encoded in zip(cases, floats.data, raw.data):
        assert_close(item.embedding, case["embedding_max256"], case["name"])
        decoded = array.array("f", base64.b64decode(encoded.embedding))
        assert_close(decoded, case["embedding_max256"], case["name"])
    return f"{len(texts)} texts in one request"


def dimensions_shorten_and_renormalise(stack):
    case = reference()[0]
    found = stack.client().embeddings.create(model=MODEL, input=case["text"], dimensions=64)
    head = case["embedding_max256"][:64]
    norm = math.sqrt(sum(x * x for x in head))
    assert_close(found.data[0].embedding, [x / norm for x in head], "dimensions=64")


def token_ids_are_taken(stack):
    case = next(case for case in reference() if case["n_tokens_untruncated"] <= 16)
    ids = case["input_ids_first_16"][: case["n_tokens_untruncated"]]
    inner = ids[1:-1]  # without [CLS] and [SEP], as a client that tokenises has them
    for given in (inner, [inner, inner]):
        found = stack.client().embeddings.create(model=MODEL, input=given)
        assert_close(found.data[-1].embedding, case["embedding_max256"], f"token ids of {case['name']}")


def models_are_listed(stack):
    client = stack.client()
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL
    assert client.models.retrieve("sentence-transformers/all-MiniLM-L6-v2").object == "model"


def errors_are_the_sdks_own(stack):
    client = stack.client(max_retries=0)
    embed = client.embeddings.create
    late = {"Switchyard-Deadline": "2020-01-01T00:00:00Z"}
    cases = [
        (openai.NotFoundError, dict(model="no-such-model", input="x"), "model_not_found"),
        (openai.BadRequestError, dict(model=MODEL, input=""), None),
        (openai.BadRequestError, dict(model=MODEL, input=[]), None),
        (openai.BadRequestError, dict(model=MODEL, input=["x"] * 2049), None),
        (openai.BadRequestError, dict(model=MODEL, input="x", dimensions=385), None),
        (openai.BadRequestError, dict(model=MODEL, input="x", extra_headers=late), None),
    ]
    for error, arguments, code in cases:
        try:
            embed(**arguments)
        except error as raised:
            assert raised.body and raised.body["message"], f"{arguments}: no message"
            assert code is None or raised.code == code, f"{arguments}: {raised.code}"
            assert raised.request_id, f"{arguments}: no request id"
        else:
            raise AssertionError(f"{str(arguments)[:80]} was accepted")
    try:
        stack.client(api_key="sk-wrong", max_retries=0).models.list()
    except openai.AuthenticationError:
        pass
    else:
        raise AssertionError("a wrong key was accepted")


def infeasible_deadline_names_alternatives(stack):
    try:
        stack.client(max_retries=0).embeddings.create(
            model=MODEL, input=["long text " * 100] * 512, extra_headers={"Switchyard-Deadline": "1ms"}
        )
    except (openai.UnprocessableEntityError, openai.BadRequestError) as raised:
        assert raised.code in ("deadline_infeasible", "deadline_passed"), raised.code
    else:
        raise AssertionError("a deadline of 1 ms was accepted")


def overload_is_retried_into_success(stack):
    stack.statuses.clear()
    client = stack.client(max_retries=20)
    texts = ["the quick brown fox jumps over the lazy dog " * 8] * 24
    with concurrent.futures.ThreadPoolExecutor(48) as pool:
        answers = [pool.submit(client.embeddings.create, model=MODEL, input=texts) for _ in range(96)]
        first = answers[0].result().data[0].embedding
        for answer in answers:
            assert_close(answer.result().data[-1].embedding, first, "under overload")
    refused = sum(status == 429 for status in stack.statuses)
    assert refused, "96 requests at once were never refused"
    return f"96 requests, {refused} refusals on the way"


def a_killed_replica_is_retried_into_success(stack):
    return killed_under_load(stack, "replica")


def a_killed_handler_is_retried_into_success(stack):
    return killed_under_load(stack, "handler")


def killed_under_load(stack, what):
    stack.statuses.clear()
    case = next(case for case in reference() if case["n_tokens_untruncated"] > 8)
    client = stack.client(max_retries=20)
    name = next(name for name in json.load(open(stack.ready_file))["pids"] if name.startswith(what))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(client.embeddings.create, model=MODEL, input=case["text"]) for _ in range(40)]
        answers[3].result()
        os.kill(stack.pid(name), signal.SIGKILL)
        answers += [pool.submit(client.embeddings.create, model=MODEL, input=case["text"]) for _ in range(40)]
        for answer in answers:
            assert_close(answer.result().data[0].embedding, case["embedding_max256"], f"{name} killed")
    return f"{len(answers)} right answers, statuses seen: {sorted(set(stack.statuses))}"


CHECKS = [
    a_short_cold_start_is_waited_out,
    vectors_are_the_references,
    lists_floats_and_base64_agree,
    dimensions_shorten_and_renormalise,
    token_ids_are_taken,
    models_are_listed,
    errors_are_the_sdks_own,
    infeasible_deadline_names_alternatives,
    overload_is_retried_into_success,
    a_killed_replica_is_retried_into_success,
    a_killed_handler_is_retried_into_success,
]


def judge(known, checks, of=Stack):
    """Runs the checks that the command line names, or `checks`, and ends the process. `of` makes what they
    take of the ready file's name."""
    stack = of(sys.argv[1])
    checks = [known[name] for name in sys.argv[2:]] or checks
    failed = 0
    for check in checks:
        name, began = check.__name__.replace("_", " "), time.monotonic()
        try:
            said = check(stack) or ""
            print(f"ok      {name}  ({time.monotonic() - began:.1f} s)  {said}", flush=True)
        except Exception as error:  # every check runs, whatever the others found
            failed += 1
            print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
    print(f"openai {openai.__version__}: {len(checks) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    judge(globals(), CHECKS)
