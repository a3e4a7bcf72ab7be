// A canary by the AWS SDK for JavaScript v3, from deployment to promotion: by steps of its own, and by serin's plan.
//
// Usage: node canary.mjs ENDPOINT ONE.zip TWO.zip. Prints, as JSON, how many invocations each version answered by alias.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import {
  CreateAliasCommand,
  CreateFunctionCommand,
  GetAliasCommand,
  InvokeCommand,
  InvokeWithResponseStreamCommand,
  LambdaClient,
  PreconditionFailedException,
  PublishVersionCommand,
  UpdateAliasCommand,
  UpdateFunctionCodeCommand,
  waitUntilFunctionActiveV2,
  waitUntilFunctionUpdatedV2,
} from "@aws-sdk/client-lambda";

const [endpoint, one, two] = process.argv.slice(2);
const FunctionName = "canary";
const Payload = JSON.stringify({ do: "context" });
// More than the plan asks for by far.
const INVOCATIONS_MAX = 50_000;

// The region and the credentials are in the environment.
const client = new LambdaClient({ endpoint });
const patient = { client, maxWaitTime: 120 };

/** How many invocations each version answered, by alias. */
const answered = { beta: {}, live: {} };

const alias = (Name) => client.send(new GetAliasCommand({ FunctionName, Name }));
const update = (more) => client.send(new UpdateAliasCommand({ FunctionName, Name: "beta", ...more }));
const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);

/** Counts an answer. The function says itself which version it is. */
function count(name, version, body) {
  assert.equal(JSON.parse(new TextDecoder().decode(body)).version, version);
  answered[name][version] = (answered[name][version] ?? 0) + 1;
}

/** Invokes an alias so many times, and gives the versions that answered. */
async function invoke(name, times) {
  const versions = new Set();
  for (let call = 0; call < times; call += 1) {
    const answer = await client.send(new InvokeCommand({ FunctionName: `${FunctionName}:${name}`, Payload }));
    assert.deepEqual([answer.StatusCode, answer.FunctionError], [200, undefined]);
    count(name, answer.ExecutedVersion, answer.Payload);
    versions.add(answer.ExecutedVersion);
  }
  return [...versions].sort();
}

/** Invokes an alias once, with its answer as a stream. */
async function stream(name) {
  const command = new InvokeWithResponseStreamCommand({ FunctionName, Qualifier: name, Payload });
  const answer = await client.send(command);
  const pieces = [];
  let end;
  for await (const event of answer.EventStream) {
    if (event.PayloadChunk) pieces.push(event.PayloadChunk.Payload);
    else end = event.InvokeComplete;
  }
  assert.ok(end, "a response stream without its end");
  assert.deepEqual([end.ErrorCode, end.ErrorDetails], [undefined, undefined]);
  count(name, answer.ExecutedVersion, Buffer.concat(pieces));
  return answer.ExecutedVersion;
}

/** Asserts that an alias is on version 2 alone. */
async function promoted(name) {
  const { FunctionVersion, RoutingConfig } = await alias(name);
  assert.deepEqual([FunctionVersion, RoutingConfig], ["2", undefined]);
  assert.deepEqual(await invoke(name, 20), ["2"]);
  assert.equal(await stream(name), "2");
}

// Version 1, and both aliases on it.
const made = await client.send(
  new CreateFunctionCommand({
    FunctionName,
    Runtime: "provided.al2023",
    Handler: "bootstrap",
    Role: "arn:aws:iam::000000000000:role/canary",
    Timeout: 20,
    Code: { ZipFile: await readFile(one) },
  }),
);
assert.equal(made.State, "Pending");
await waitUntilFunctionActiveV2(patient, { FunctionName });
assert.equal((await client.send(new PublishVersionCommand({ FunctionName }))).Version, "1");
for (const Name of ["beta", "live"]) {
  await client.send(new CreateAliasCommand({ FunctionName, Name, FunctionVersion: "1" }));
  assert.deepEqual(await invoke(Name, 20), ["1"]);
  assert.equal(await stream(Name), "1");
}

// Other code, and version 2: serin's plan begins by itself.
await client.send(new UpdateFunctionCodeCommand({ FunctionName, ZipFile: await readFile(two) }));
await waitUntilFunctionUpdatedV2(patient, { FunctionName });
assert.equal((await client.send(new PublishVersionCommand({ FunctionName }))).Version, "2");

// The weights of `beta` as AWS's own deployers shift them, guarded by revisions.
const first = await alias("beta");
for (const weight of [0.1, 0.5]) {
  const { RevisionId } = await alias("beta");
  const RoutingConfig = { AdditionalVersionWeights: { 2: weight } };
  const changed = await update({ RoutingConfig, RevisionId });
  assert.deepEqual(changed.RoutingConfig, RoutingConfig);
  assert.notEqual(changed.RevisionId, RevisionId);
}
await assert.rejects(update({ FunctionVersion: "2", RevisionId: first.RevisionId }), PreconditionFailedException);
assert.deepEqual(await invoke("beta", 100), ["1", "2"]);
await update({ FunctionVersion: "2", RoutingConfig: { AdditionalVersionWeights: {} } });
await promoted("beta");

// Invocations through `live`, by which serin's plan is convinced.
const seen = new Set();
while ((await alias("live")).FunctionVersion !== "2") {
  assert.ok(total(answered.live) < INVOCATIONS_MAX, `not promoted after ${JSON.stringify(answered.live)}`);
  for (const version of await invoke("live", 10)) seen.add(version);
}
assert.deepEqual([...seen].sort(), ["1", "2"]);
await promoted("live");

console.log(JSON.stringify(answered));
