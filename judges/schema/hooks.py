"""What schemathesis cannot know of us: names of things that are there, and what time it is.

Loaded by schemathesis. Half of the valid cases keep the names that it thought of (they get 404), the other
half ask for things that this makes first.
"""

import copy
import datetime
import json
import os
import re
import urllib.request
import zlib

import schemathesis

URL = os.environ["JUDGED_URL"]
SOON = re.compile(r"^(20\d\d-\d\d-\d\dT.*Z|\d+ms)$")


def call(path, body, kind="application/json", **headers):
    headers = {"authorization": f"Bearer {os.environ['JUDGED_KEY']}", "content-type": kind, **headers}
    with urllib.request.urlopen(urllib.request.Request(URL + path, body, headers)) as answer:
        return json.load(answer)


def line(n):
    body = {"model": "minilm", "input": f"text {n}"}
    return json.dumps({"custom_id": f"line-{n}", "method": "POST", "url": "/v1/embeddings", "body": body})


def file():
    """The id of a file of three lines."""
    lines = "\n".join(map(line, range(3)))
    parts = [
        '--part\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n',
        f'--part\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n{lines}\r\n--part--\r\n',
    ]
    return call("/api/v1/files", "".join(parts).encode(), "multipart/form-data; boundary=part")["id"]


def things():
    """One of each, by the path that it is asked for under."""
    input_file = file()
    wish = {"input_file_id": input_file, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    batch = call("/api/v1/batches", json.dumps(wish).encode())["id"]
    later = {"model": "minilm", "input": "later"}
    job = call("/api/v1/embeddings", json.dumps(later).encode(), **{"switchyard-lane": "deferred"})["id"]
    return {"/api/v1/files": input_file, "/api/v1/batches": batch, "/api/jobs": job, "/api/v1/models": "minilm"}


THERE = things() if os.environ.get("JUDGED_THINGS") else {}


@schemathesis.hook
def before_call(context, case, kwargs):
    if not (case.meta and case.meta.generation.mode.is_positive):
        return
    # Cases share what they are made of.
    case.body = in_time(copy.deepcopy(case.body))
    case.headers = in_time(copy.deepcopy(case.headers))
    if isinstance(case.body, dict) and THERE:
        in_its_place(case.body)
    if not THERE or zlib.crc32(repr((case.path_parameters, case.body)).encode()) % 2:
        return
    kept = case.method in ("GET", "HEAD", "POST") and not case.path.endswith("/cancel")
    place = next((place for place in THERE if case.path.startswith(place + "/{id}")), None)
    if kept and place:
        case.path_parameters["id"] = THERE[place]
    if isinstance(case.body, dict):
        if "model" in case.body:
            case.body["model"] = "minilm"
        if "input_file_id" in case.body:
            case.body["input_file_id"] = THERE["/api/v1/files"]
        in_its_place(case.body)


def in_its_place(body):
    """What is there takes only its own: a model its operations, ids of tokens and length of vectors, a file the
    endpoint of its lines."""
    if body.get("model") in ("minilm", "script"):
        body["model"] = "script" if "messages" in body or "prompt" in body else "minilm"
        body.pop("dimensions", None)
        if any(not isinstance(one, str) for one in body.get("input", "")):
            body["input"] = [101, 102]
    if "input_file_id" in body:
        body["endpoint"] = "/v1/embeddings"


def in_time(value):
    """The same with every instant in the future and no span of milliseconds, which would be over; and with whole
    numbers written as such: to JSON Schema `1.0` is one, to OpenAI's API and to us it is none."""
    if isinstance(value, dict) or type(value).__name__ == "CaseInsensitiveDict":
        for name in list(value):
            value[name] = in_time(value[name])
        return value
    if isinstance(value, list):
        return [in_time(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and SOON.match(value):
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        return soon.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value
