// Chat by the unmodified OpenAI SDK for Node, behind which a scripted server plays the model.
//
// Usage: NODE_PATH=…/node_modules node chat.cjs READY_FILE (of a stack with the catalogue of upstream.py).
"use strict";

const assert = require("node:assert/strict");
const { client, refused, run } = require("./judge.cjs");

const MODEL = "script";
const WHOLE = "one two three";
const say = (content) => [{ role: "user", content }];

run({
  async "a completion is answered"() {
    const found = await client().chat.completions.create({ model: MODEL, messages: say("hello") });
    assert.equal(found.choices[0].message.content, WHOLE);
    assert.equal(found.usage.total_tokens, 6);
  },

  async "a stream is read to its end"() {
    const stream = await client().chat.completions.create({ model: MODEL, messages: say("hello"), stream: true });
    let text = "";
    for await (const event of stream) text += event.choices[0]?.delta.content ?? "";
    assert.equal(text, WHOLE);
  },

  async "the tier that was used is told"() {
    const asked = { model: MODEL, messages: say("tier"), service_tier: "flex" };
    const { data, response } = await client().chat.completions.create(asked).withResponse();
    assert.equal(data.service_tier, "flex");
    assert.equal(response.headers.get("switchyard-service-tier"), "flex");
  },

  async "bad requests are the sdks errors"() {
    const sdk = client({ maxRetries: 0 });
    await refused(404, "model_not_found", () => sdk.chat.completions.create({ model: "none", messages: say("x") }));
  },
});
