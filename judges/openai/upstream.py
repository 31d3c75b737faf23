"""A scripted OpenAI-compatible server, and the same in the style of Azure OpenAI.

Usage: upstream.py CATALOGUE: listens on a free port of loopback, writes a catalogue with its models and
backends for `switchyard up --catalogue`, serves until it is killed. What it does with a request is in the
request's last message; what it saw is told by GET /seen, and GET /go lets streams that wait go on.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["one", " two", " three"]
USAGE = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
SEEN, GO = [], threading.Event()


def catalogue(url):
    speed = {"base_ms": 5, "p95_percent": 200}

    def model(name):
        return {"id": name, "operations": ["chat_completions", "completions"], "version": "v1.0", "owned_by": "script"}

    def backend(name, **more):
        return {
            "name": name, "url": url, "region": "local", "models": [name], "api_key_setting": "SCRIPTED_API_KEY",
            "usd_per_replica_hour": 1.0, "price_date": "2026-11-01", "slots_per_replica": 64, "max_replicas": 1,
            "speed": speed, "cold_start_ms": {"p50": 10, "p95": 20}, **more,
        }  # fmt: skip

    azure = backend("script-azure", style="azure_openai", api_version="2024-10-21")
    models = [model("script"), model("script-azure")]
    return {"v": 1, "models": models, "backends": [backend("script", style="openai"), azure]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, **headers):
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": len(text), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        if self.path == "/go":
            GO.set()
        self.answer(200, SEEN)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        told = str(body["messages"][-1].get("content", "") if "messages" in body else body["prompt"])
        tries = sum(seen["told"] == told for seen in SEEN)
        SEEN.append({"path": self.path, "headers": dict(self.headers), "told": told, "body": body})
        error = {"error": {"message": "by the script", "type": "script", "param": None, "code": "scripted"}}
        if told.startswith("refuse"):
            self.answer(400, error)
        elif told.startswith("busy") and tries == 0:
            self.answer(429, error, retry_after_ms=20)
        elif body.get("stream"):
            self.stream(body, told, error)
        elif "messages" in body:
            message = {"role": "assistant", "content": "".join(WORDS)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.answer(200, {**self.head(body, "chat.completion"), "choices": [choice], "usage": USAGE})
        else:
            choice = {"index": 0, "text": "".join(WORDS), "finish_reason": "stop", "logprobs": None}
            self.answer(200, {**self.head(body, "text_completion"), "choices": [choice], "usage": USAGE})

    @staticmethod
    def head(body, kind):
        model = body.get("model", "script")
        return {"id": "script-1", "object": kind, "created": int(time.time()), "model": model}

    def stream(self, body, told, error):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        head = self.head(body, "chat.completion.chunk")
        for place, word in enumerate(WORDS):
            if told.startswith("wait") and place == 1:
                GO.wait(30)
            if told.startswith("break") and place == 1:
                # Closed in the middle of an event.
                self.wfile.write(b'data: {"id": "scr')
                return
            if told.startswith("fail") and place == 1:
                self.event(error)
                return
            self.event({**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
        self.event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            self.event({**head, "choices": [], "usage": USAGE})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, data):
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")
        self.wfile.flush()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    part = sys.argv[1] + ".part"
    with open(part, "w") as file:
        json.dump(catalogue(f"http://127.0.0.1:{server.server_port}"), file)
    os.rename(part, sys.argv[1])
    server.serve_forever()
