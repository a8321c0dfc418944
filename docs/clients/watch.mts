// Starts a talk, or comes back to one, and shows it as it is spoken.
//
// node watch.mjs http://localhost:5150 "Is tea better than coffee?"
// node watch.mjs "http://localhost:5150/api/stream/RUN_ID?last_event_id=2-7"
//
// The talk goes by on stderr; in the end the turns' texts come as JSON on stdout. PARLEY_LOGIN=user:password logs in.
// Needs Node 20 or newer and nothing else. To compile it:
// npm install typescript@5 @types/node@20 && npx tsc --strict --target es2022 --module nodenext watch.mts

import { setTimeout as sleep } from "node:timers/promises";

type Event =
  | { type: "turn.started"; turn: number; bot_name: string }
  | { type: "turn.delta"; turn: number; text: string; kind?: "reasoning" }
  | { type: "turn.completed" | "turn.interrupted" | "turn.failed"; turn: number; text: string }
  | { type: "turn.restarted"; turn: number }
  | { type: "run.completed" | "run.stopped" | "run.failed" };

type Problem = { status: number; title: string; detail: string; errors?: { pointer: string; reason: string }[] };

const SILENCE = 10_000; // milliseconds; the server says something every 4 s, so after this the connection is dead
const PASSING = [429, 502, 503, 504]; // these statuses pass by themselves: asked again later

const login = process.env["PARLEY_LOGIN"];
const authorization: Record<string, string> = login ? { authorization: `Basic ${Buffer.from(login).toString("base64")}` } : {};
let wait = 2_000; // milliseconds before a client comes back; the stream's `retry:` says how long
const turns = new Map<number, string>(); // the text of each turn

/** The turn's text is this now. Prints what is new of it, or all of it where the old was taken back. */
function show(turn: number, text: string): void {
  const shown = turns.get(turn) ?? "";
  process.stderr.write(text.startsWith(shown) ? text.slice(shown.length) : `\n↺ ${text}`);
  turns.set(turn, text);
}

/** The client's rule. True after the event that ends the run. */
function apply(event: Event): boolean {
  switch (event.type) {
    case "turn.started":
      process.stderr.write(`\n\n${event.bot_name}: `);
      return false;
    case "turn.delta":
      if (event.kind !== "reasoning") show(event.turn, (turns.get(event.turn) ?? "") + event.text);
      return false;
    case "turn.completed":
    case "turn.interrupted":
    case "turn.failed":
      show(event.turn, event.text);
      return false;
    case "turn.restarted":
      show(event.turn, "");
      return false;
    case "run.completed":
    case "run.stopped":
    case "run.failed":
      return true;
    default:
      return false; // there are others, and there may be more
  }
}

/** An answer, what to call at each sign of life, and what to call when it is read. */
type Asked = { answer: Response; heard: () => void; leave: () => void };

/** Asks. Every wait for the answer, and within it, ends after so much silence. */
async function ask(url: string, init: RequestInit): Promise<Asked> {
  const controller = new AbortController();
  const silence = setTimeout(() => controller.abort(), SILENCE);
  const leave = () => clearTimeout(silence);
  try {
    const headers = { ...authorization, ...(init.headers as Record<string, string>) };
    return { answer: await fetch(url, { ...init, headers, signal: controller.signal }), heard: () => silence.refresh(), leave };
  } catch (error) {
    leave();
    throw error;
  }
}

/** The whole events of a stream, as id and data. */
async function* events(body: AsyncIterable<Uint8Array>, heard: () => void): AsyncGenerator<[string, Event]> {
  const decoder = new TextDecoder(); // a character may come in two pieces
  let rest = "";
  let fields: Record<string, string> = {};
  for await (const piece of body) {
    heard();
    const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const colon = line.indexOf(":");
      const [name, value] = [line.slice(0, Math.max(colon, 0)), line.slice(colon + 1).replace(/^ /, "")];
      if (name === "retry") wait = Number(value);
      else if (name) fields[name] = value; // a heartbeat has no name, as has the empty line that ends an event
      else if (!line && fields["data"]) {
        yield [fields["id"] ?? "", JSON.parse(fields["data"]) as Event];
        fields = {};
      }
    }
  }
}

/** Waits as long as the server asks for. A problem that does not pass by itself ends the program, in the server's own words. */
async function goOn(answer?: Response): Promise<void> {
  if (!answer || answer.ok || PASSING.includes(answer.status)) {
    const asked = answer?.headers.get("retry-after") ?? "";
    return sleep(/^\d+$/.test(asked) ? Number(asked) * 1_000 : wait);
  }
  if (answer.headers.get("content-type")?.includes("json")) {
    const problem = (await answer.json()) as Problem;
    const rules = (problem.errors ?? []).map((rule) => `\n  ${rule.pointer}: ${rule.reason}`);
    console.error(`${problem.status} ${problem.title}: ${problem.detail}${rules.join("")}`);
  } else console.error(`${answer.status} ${answer.statusText}`); // not from Parley: a proxy in between
  process.exit(1);
}

/** Starts a run, once: the key makes every further try the same one. The address of its stream. */
async function start(base: string, topic: string): Promise<string> {
  const headers = { "content-type": "application/json", "idempotency-key": crypto.randomUUID() };
  const bots = [{ provider: "openai", model: "gpt-6-luna" }, { provider: "anthropic", model: "claude-haiku-5-5", name: "Bob" }];
  const body = JSON.stringify({ topic, max_turns: 4, bots });
  for (;;) {
    let asked: Asked | undefined;
    try {
      asked = await ask(`${base}/api/run`, { method: "POST", headers, body });
      if (asked.answer.status === 201) return base + ((await asked.answer.json()) as { stream_url: string }).stream_url;
    } catch {
      // cut off: did it arrive? The key makes that no question.
    } finally {
      asked?.leave();
    }
    await goOn(asked?.answer);
  }
}

/** Shows the run to its end, through whatever happens to the connection. */
async function watch(url: string): Promise<void> {
  let cursor = "";
  for (;;) {
    let asked: Asked | undefined;
    try {
      asked = await ask(url, { headers: cursor ? { "last-event-id": cursor } : {} });
      if (asked.answer.status === 204) return; // over, and nothing is missing
      if (asked.answer.status === 200 && asked.answer.body) {
        for await (const [id, event] of events(asked.answer.body, asked.heard)) {
          cursor = id;
          if (apply(event)) return;
        }
      }
    } catch {
      // cut off, or silent for too long
    } finally {
      asked?.leave();
    }
    await goOn(asked?.answer); // also after a clean end: only a final event is the end
  }
}

const [base = "", topic] = process.argv.slice(2);
await watch(topic === undefined ? base : await start(base, topic));
process.stderr.write("\n");
process.stdout.write(JSON.stringify([...turns.values()]));
