// What the judges by the SDK for Node share: the stack that is judged, refusals, and the run of the checks.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const { OpenAI } = require("openai");
const { VERSION } = require("openai/version");

/** Addresses and keys, as `switchyard up --ready-file` wrote them. */
const ready = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));

/** An unmodified client of the stack. */
const client = (options = {}) => new OpenAI({ apiKey: ready.api_key, baseURL: ready.base_url, ...options });

/** That a call fails with this status and code, as the SDK's own error. */
async function refused(status, code, call) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof OpenAI.APIError, String(error));
    assert.deepEqual([error.status, error.code], [status, code]);
    return true;
  });
}

/** Runs every check, whatever the others found; the exit code tells. */
async function run(checks) {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    const began = performance.now();
    try {
      await check();
      console.log(`ok      ${name}  (${((performance.now() - began) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}: ${error.stack}`);
    }
  }
  console.log(`openai ${VERSION} for node: ${Object.keys(checks).length - failed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}

module.exports = { client, ready, refused, run };
