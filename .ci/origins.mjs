// node origins.mjs BASE LISTED_PORT OTHER_PORT login|DEV_MODE: one page at each port, in Chromium, does what pages of other origins do.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const [base, listed, other, mode] = process.argv.slice(2);
const login = mode === "login" ? { authorization: `Basic ${btoa("ada:a password of the check")}` } : {};
const order = {
  topic: "Tea?",
  max_turns: 2,
  bots: [{ provider: "openai", model: "a" }, { provider: "anthropic", model: "b" }],
};

// The listed page is of the server's own site, the other one of another.
for (const [port, host] of [[listed, "localhost"], [other, "127.0.0.1"]]) {
  createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<!doctype html><title>a page</title>"))
    .listen(Number(port), host).unref();
}

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const page = await (await browser.newContext()).newPage();

/** Starts a run from the page, watches it through a cut, changes a bot and reads the export: all that a front end does. */
async function talk({ base, login, order }) {
  const json = { ...login, "content-type": "application/json" };
  const started = await fetch(`${base}/api/run`, {
    method: "POST", headers: { ...json, "idempotency-key": crypto.randomUUID() }, body: JSON.stringify(order), credentials: "include",
  });
  if (started.status !== 201) throw new Error(`no run: ${started.status}`);
  const { run_id } = await started.json();
  const change = await fetch(`${base}/api/run/${run_id}/bot/1`, {
    method: "PATCH", headers: { ...json, "if-match": '"1"' }, body: JSON.stringify({ name: "Bob" }), credentials: "include",
  });
  const fields = {
    location: started.headers.get("location"), request: started.headers.get("x-request-id"), etag: change.headers.get("etag"),
  };
  // The text of each turn, by the client's rule.
  const texts = [];
  let cursor = "";
  const take = (name, data) => {
    if (name === "turn.delta") texts[data.turn] = (texts[data.turn] ?? "") + data.text;
    if (name === "turn.completed") texts[data.turn] = data.text;
    if (name === "turn.restarted") texts[data.turn] = "";
  };
  let over = false;
  while (!over) {
    const headers = { ...login, ...(cursor ? { "last-event-id": cursor } : {}) };
    const answer = await fetch(`${base}/api/stream/${run_id}`, { headers, cache: "no-store", credentials: "include" });
    if (answer.status === 204) break;
    if (answer.status !== 200) throw new Error(`no stream: ${answer.status}`);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (let blocks = 0; blocks < 12; ) {
      const { done, value } = await reader.read();
      if (done) break;
      rest += value;
      for (let end; (end = rest.indexOf("\n\n")) >= 0; blocks++) {
        const lines = rest.slice(0, end).split("\n");
        rest = rest.slice(end + 2);
        const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
        cursor = field("id") ?? cursor;
        take(field("event"), JSON.parse(field("data")));
        over ||= /^run\.(completed|stopped|failed)$/.test(field("event"));
      }
    }
    // Cut off in the middle, on purpose.
    await reader.cancel();
  }
  const file = await (await fetch(`${base}/api/export/${run_id}.json`, { headers: login, credentials: "include" })).json();
  const said = file.messages.filter((message) => message.kind === "bot").map((message) => message.text);
  return { run_id, fields, same: JSON.stringify(said) === JSON.stringify(texts), turns: said.length };
}

/** By EventSource, which can send no login of its own. */
const watch = ({ base, run_id }) => new Promise((resolve) => {
  const source = new EventSource(`${base}/api/stream/${run_id}`, { withCredentials: true });
  const ends = ["run.completed", "run.stopped", "run.failed"];
  ends.forEach((name) => source.addEventListener(name, () => (source.close(), resolve(name))));
  source.onerror = () => source.readyState === EventSource.CLOSED && resolve("refused");
});

/** What a hostile page tries: to read, to be allowed more, and to change something without being asked first. */
async function attack({ base, login, order, run_id }) {
  const tried = async (request) => request().then((answer) => `${answer.type} ${answer.status}`, () => "refused");
  return [
    await tried(() => fetch(`${base}/api/run/${run_id}`, { headers: login, credentials: "include" })),
    await tried(() => fetch(`${base}/api/run`, {
      method: "POST", headers: { ...login, "content-type": "application/json" }, body: JSON.stringify(order), credentials: "include",
    })),
    await tried(() => fetch(`${base}/api/run/${run_id}/stop`, { method: "POST", mode: "no-cors", credentials: "include" })),
    await tried(() => fetch(`${base}/api/run/${run_id}`, { method: "DELETE", headers: login, credentials: "include" })),
  ];
}

const ours = async (path) => (await fetch(`${base}${path}`, { headers: login })).json();

await page.goto(`http://localhost:${listed}/`);
const done = await page.evaluate(talk, { base, login, order });
assert.equal(done.turns, 2);
assert.ok(done.same, "what the page has read is not the export");
assert.equal(done.fields.location, `/api/run/${done.run_id}`);
assert.ok(done.fields.request && done.fields.etag, "the page may not read the headers that it needs");
if (mode === "DEV_MODE") {
  const started = await fetch(`${base}/api/run`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(order),
  });
  assert.equal(await page.evaluate(watch, { base, run_id: (await started.json()).run_id }), "run.completed");
}

// A run that goes on while the page of the other origin tries to stop it.
const long = await fetch(`${base}/api/run`, {
  method: "POST", headers: { ...login, "content-type": "application/json" }, body: JSON.stringify({ ...order, max_turns: 40 }),
});
const { run_id } = await long.json();
await page.goto(`http://127.0.0.1:${other}/`);
const tried = await page.evaluate(attack, { base, login, order, run_id });
assert.deepEqual(tried, ["refused", "refused", "refused", "refused"]);
assert.equal(await page.evaluate(watch, { base, run_id }), "refused");

// A form needs no preflight, and goes with the login that the browser remembers.
const password = "a password of the check";
const remembers = await browser.newContext(mode === "login" ? { httpCredentials: { username: "ada", password, origin: base } } : {});
const victim = await remembers.newPage();
assert.equal((await victim.goto(`${base}/api/run/${run_id}`)).status(), 200);
await victim.goto(`http://127.0.0.1:${other}/`);
const [answer] = await Promise.all([victim.waitForNavigation(), victim.evaluate(({ base, run_id }) => {
  const form = document.createElement("form");
  Object.assign(form, { action: `${base}/api/run/${run_id}/stop`, method: "post", enctype: "text/plain" });
  document.body.append(form);
  form.submit();
}, { base, run_id })]);
assert.equal(answer.status(), 403);
assert.equal((await answer.json()).type, "/problems/cross-site");

assert.match((await ours(`/api/run/${run_id}`)).status, /queued|running/, "a page of another origin has stopped a run");
const count = mode === "DEV_MODE" ? 3 : 2;
assert.equal((await ours("/api/run")).runs.length, count, "a page of another origin has started a run");
await fetch(`${base}/api/run/${run_id}/stop`, { method: "POST", headers: login });

await browser.close();
console.log("origins: the listed page talked, the other one read and changed nothing");
process.exit(0);
