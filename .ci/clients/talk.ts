// A conversation by the client that openapi-typescript and openapi-fetch make of the document: `tsc` checks it against the types,
// and it runs against the server.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type StreamEvent = components["schemas"]["StreamEvent"];

const baseUrl = process.argv[2]!;
// A run is exported in several forms; of those, this client reads JSON.
const client = createClient<paths, "application/json" | "application/problem+json">({ baseUrl });

async function* events(run_id: string): AsyncGenerator<StreamEvent> {
  const { data, response } = await client.GET("/api/stream/{run_id}", {
    params: { path: { run_id } },
    parseAs: "stream",
  });
  assert.equal(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  let rest = "";
  const decoder = new TextDecoder();
  for await (const bytes of data as unknown as AsyncIterable<Uint8Array>) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      if (line.startsWith("data: ")) yield JSON.parse(line.slice(6)) as StreamEvent;
    }
  }
}

const started = await client.POST("/api/run", {
  body: {
    topic: "Is tea better than coffee?",
    max_turns: 2,
    bots: [
      { provider: "openai", model: "gpt-6-luna", params: { seed: 7 } },
      { provider: "anthropic", model: "claude-haiku-5-5", name: "Bob" },
    ],
  },
});
assert(started.data, JSON.stringify(started.error));
const { run_id } = started.data;

const texts: string[] = [];
let end: StreamEvent["type"] | undefined;
for await (const event of events(run_id)) {
  switch (event.type) {
    case "turn.started":
      texts[event.turn] = "";
      break;
    case "turn.delta":
      if (!event.kind) texts[event.turn] += event.text;
      break;
    case "turn.completed":
      assert.equal(event.text, texts[event.turn]);
      break;
    case "run.completed":
      assert.equal(event.reason, "max_turns");
      end = event.type;
      break;
  }
}
assert.equal(end, "run.completed");

const exported = await client.GET("/api/export/{run_id}.{format}", {
  params: { path: { run_id, format: "json" } },
});
const said = exported.data!.messages.filter((message) => message.kind === "bot").map((message) => message.text);
assert.deepEqual(said, texts);

const stopped = await client.POST("/api/run/{run_id}/stop", { params: { path: { run_id } } });
assert.equal(stopped.data?.status, "completed");
const changed = await client.PATCH("/api/run/{run_id}/bot/{bot_index}", {
  params: { path: { run_id, bot_index: 0 } },
  body: { name: "Ada" },
});
assert.equal(changed.error?.type, "/problems/run-already-ended");
const listed = await client.GET("/api/run", { params: { query: { limit: 1, status: "completed" } } });
assert.equal(listed.data?.runs[0]?.run_id, run_id);
console.log(`TypeScript: ${texts.length} turns, ${texts.join("").length} characters`);
