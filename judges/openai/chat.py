"""Chat by the unmodified OpenAI SDK against a local stack, behind which a scripted server plays the model.

Usage: chat.py READY_FILE CATALOGUE (written by `switchyard up --ready-file` and by upstream.py).
"""

import json
import sys
import urllib.request

import openai

import realtime

MODEL, AZURE = "script", "script-azure"
WHOLE = "one two three"


class Script:
    """The scripted server's own words."""

    def __init__(self, catalogue):
        self.url = json.load(open(catalogue))["backends"][0]["url"]

    def get(self, path):
        with urllib.request.urlopen(self.url + path) as answer:
            return json.load(answer)

    def seen(self, told):
        return [seen for seen in self.get("/seen") if seen["told"] == told]


SCRIPT = Script(sys.argv.pop(2)) if len(sys.argv) > 2 else None


def say(text):
    return [{"role": "user", "content": text}]


def text(events):
    return "".join(event.choices[0].delta.content or "" for event in events if event.choices)


def a_completion_is_answered(stack):
    found = stack.client().chat.completions.create(model=MODEL, messages=say("hello"))
    assert found.choices[0].message.content == WHOLE and found.usage.total_tokens == 6, found
    assert found.service_tier is None, "nobody asked for a tier"
    older = stack.client().completions.create(model=MODEL, prompt="hello")
    assert older.choices[0].text == WHOLE, older


def events_come_while_the_model_still_writes(stack):
    """The server holds back everything behind the first word until this has read it."""
    streamed = stack.client().chat.completions.create(model=MODEL, messages=say("wait"), stream=True)
    first = next(streamed)
    assert first.choices[0].delta.content == "one", first
    SCRIPT.get("/go")
    assert "one" + text(streamed) == WHOLE


def usage_comes_last_where_it_is_asked_for(stack):
    options = dict(stream=True, stream_options={"include_usage": True})
    *_, last = stack.client().chat.completions.create(model=MODEL, messages=say("count"), **options)
    assert last.choices == [] and last.usage.total_tokens == 6, last


def the_tier_that_was_used_is_told(stack):
    for tier in ("flex", "default", "auto", "priority"):
        raw = stack.client().chat.completions.with_raw_response.create(
            model=MODEL, messages=say(f"tier {tier}"), service_tier=tier
        )
        told = raw.parse().service_tier
        assert told == raw.headers["switchyard-service-tier"], told
        assert told in {"flex": ["flex"], "priority": ["priority", "default"]}.get(tier, ["default"]), told


def azure_openai_is_spoken_to_in_its_own_way(stack):
    found = stack.client().chat.completions.create(model=AZURE, messages=say("azure"))
    assert found.choices[0].message.content == WHOLE
    [seen] = SCRIPT.seen("azure")
    assert seen["path"] == f"/openai/deployments/{AZURE}/chat/completions?api-version=2024-10-21", seen["path"]
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    assert headers["api-key"] == "key-of-the-script" and "authorization" not in headers, headers
    stack.client().chat.completions.create(model=MODEL, messages=say("plain"))
    [seen] = SCRIPT.seen("plain")
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    assert seen["path"] == "/v1/chat/completions" and headers["authorization"] == "Bearer key-of-the-script"
    assert stack.ready["api_key"] not in json.dumps(SCRIPT.get("/seen")), "a client's key reached a backend"


def a_refusal_is_the_backends_own(stack):
    try:
        stack.client().chat.completions.create(model=MODEL, messages=say("refuse"))
    except openai.BadRequestError as error:
        assert error.code == "scripted", error.body
    else:
        raise AssertionError("it was accepted")
    assert len(SCRIPT.seen("refuse")) == 1, "a refusal is not asked again"


def a_busy_backend_is_retried_into_success(stack):
    streamed = stack.client().chat.completions.create(model=MODEL, messages=say("busy"), stream=True)
    assert text(streamed) == WHOLE
    assert len(SCRIPT.seen("busy")) == 2


def an_error_in_a_stream_is_the_sdks(stack):
    streamed = stack.client().chat.completions.create(model=MODEL, messages=say("fail"), stream=True)
    assert next(streamed).choices[0].delta.content == "one"
    try:
        list(streamed)
    except openai.APIError as error:
        assert error.code == "scripted", error.body
    else:
        raise AssertionError("the error was lost")
    assert len(SCRIPT.seen("fail")) == 1


def a_stream_that_breaks_is_neither_mended_nor_asked_again(stack):
    """Nothing that was begun is run twice: what the client has read of it would be doubled."""
    streamed, words = stack.client().chat.completions.create(model=MODEL, messages=say("break"), stream=True), []
    try:
        words.extend(event.choices[0].delta.content for event in streamed)
    except Exception as error:  # what the SDK raises here is its HTTP client's own
        print(f"        the SDK says {type(error).__name__}")
    assert words == ["one"], words
    assert len(SCRIPT.seen("break")) == 1


CHECKS = [
    a_completion_is_answered,
    events_come_while_the_model_still_writes,
    usage_comes_last_where_it_is_asked_for,
    the_tier_that_was_used_is_told,
    azure_openai_is_spoken_to_in_its_own_way,
    a_refusal_is_the_backends_own,
    a_busy_backend_is_retried_into_success,
    an_error_in_a_stream_is_the_sdks,
    a_stream_that_breaks_is_neither_mended_nor_asked_again,
]

if __name__ == "__main__":
    realtime.judge(globals(), CHECKS)
