// node login.mjs BASE ISSUER ELSEWHERE SECRET: people in Chromium log in at the issuer, work, and are out again. ELSEWHERE is an origin of
// another site, which is listed; SECRET is that of the issuer's client `robot`.
import assert from "node:assert/strict";
import { createHash, createHmac, createPublicKey, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const [base, issuer, elsewhere, secret] = process.argv.slice(2);
const begun = performance.now();
const ok = (words) => console.log(`ok ${words} (${((performance.now() - begun) / 1_000).toFixed(1)} s)`);
const sleep = (millis) => new Promise((wake) => setTimeout(wake, millis));
const STREAMS = 50;

createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<!doctype html><title>a page</title>"))
  .listen(Number(new URL(elsewhere).port), "127.0.0.1").unref();

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    // Nothing but this machine: the issuer's forms would like a typeface.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"],
});

// What pages do.

/** Asks as a page of the server's own does. */
const fetched = (page, path, init) => page.evaluate(async ([path, init]) => {
  const answer = await fetch(path, init);
  const text = await answer.text();
  return { status: answer.status, body: text && JSON.parse(text) };
}, [path, init]);

const start = (page, max_turns) => fetched(page, "/api/run", {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ topic: "Tea?", max_turns, bots: [{ provider: "openai", model: "a" }, { provider: "anthropic", model: "b" }] }),
});

/** By EventSource: what was heard of each turn, by deltas alone until its end, and how the run ends there; or that it was refused. */
const watch = (page, address, options = {}) => page.evaluate(([address, options]) => new Promise((resolve) => {
  const source = new EventSource(address, options);
  const [heard, texts] = [[], []];
  const hear = (name, take) => source.addEventListener(name, ({ data }) => take(JSON.parse(data)));
  const done = (end) => (source.close(), resolve({ end, heard, texts }));
  hear("turn.delta", ({ turn, text }) => (heard[turn] = (heard[turn] ?? "") + text));
  hear("turn.restarted", ({ turn }) => (heard[turn] = ""));
  hear("turn.completed", ({ turn, text }) => (texts[turn] = text));
  for (const name of ["run.completed", "run.stopped", "run.failed"]) hear(name, () => done(name));
  source.onerror = () => source.readyState === EventSource.CLOSED && done("refused");
}), [address, options]);

// What people do.

async function person() {
  const context = await browser.newContext();
  context.setDefaultTimeout(10_000);
  return context.newPage();
}

/** Into the issuer's form. */
async function fillIn(page, name) {
  await page.fill("[name=login]", name);
  await page.fill("[name=password]", "anything");
  await page.click("[type=submit]");
}
const consent = (page) => page.click("text=Continue");

async function logIn(page, name) {
  await page.goto(`${base}/auth/login?return_to=/docs`);
  assert.ok(page.url().startsWith(`${issuer}/`), page.url());
  await fillIn(page, name);
  await consent(page);
  await page.waitForURL(`${base}/docs/index.html`);
}

const history = (page) => fetched(page, "/api/run");
const isIn = async (page) => {
  const { status } = await history(page);
  assert.ok(status === 200 || status === 401, `${status}`);
  return status === 200;
};

/** At the issuer, which tells its clients. */
async function logOutThere(page) {
  await page.click("text=Yes, sign me out");
  await page.waitForURL(`${issuer}/session/end/success**`);
}

// What programs do.

const form = async (path, members, headers = {}) => {
  const answer = await fetch(`${issuer}${path}`, { method: "POST", headers, body: new URLSearchParams(members) });
  return answer.json();
};
const scope = "runs:read runs:write";

/** An access token of the program's own. */
async function robot(resource = "urn:parley") {
  const headers = { authorization: `Basic ${btoa(`robot:${secret}`)}` };
  const { access_token } = await form("/token", { grant_type: "client_credentials", resource, scope }, headers);
  assert.ok(access_token);
  return access_token;
}

/** An access token of whoever is in the browser. */
async function tokenOf(page) {
  const verifier = randomBytes(32).toString("base64url");
  const asked = new URLSearchParams({
    response_type: "code", client_id: "parley-app", redirect_uri: `${elsewhere}/back`, scope: `openid ${scope}`, resource: "urn:parley",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"), code_challenge_method: "S256",
  });
  await page.goto(`${issuer}/auth?${asked}`);
  await consent(page);
  await page.waitForURL(`${elsewhere}/back?**`);
  const code = new URL(page.url()).searchParams.get("code");
  const { access_token } = await form("/token", {
    grant_type: "authorization_code", client_id: "parley-app", redirect_uri: `${elsewhere}/back`, code, code_verifier: verifier,
    resource: "urn:parley",
  });
  await page.goto(`${base}/docs`);
  return access_token;
}

const bearer = (token) => ({ authorization: `Bearer ${token}` });
const ask = (path, headers, init = {}) => fetch(`${base}${path}`, { ...init, headers, signal: AbortSignal.timeout(10_000) });
const status = async (path, token) => (await ask(path, bearer(token))).status;
const seen = async () => (await fetch(`${issuer}/check/seen`)).json();
const change = (how) => fetch(`${issuer}/check/${how}`, { method: "POST" });

/** A stream that is read until it ends. */
async function open(path, headers) {
  const stream = { events: 0, over: false, last: "" };
  const answer = await fetch(`${base}${path}`, { headers });
  assert.equal(answer.status, 200, path);
  stream.end = (async () => {
    let rest = "";
    for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
      const blocks = (rest + piece).split("\n\n");
      rest = blocks.pop();
      for (const name of blocks.map((block) => /^event: (.*)$/m.exec(block)?.[1]).filter(Boolean)) {
        stream.events++;
        stream.last = name;
      }
    }
  })().catch((error) => (stream.last = `${error}`)).finally(() => (stream.over = true));
  return stream;
}

/** All of them still go on: each has something new. */
async function goOn(streams, words) {
  const before = streams.map((stream) => stream.events);
  const late = performance.now() + 10_000;
  while (!streams.every((stream, place) => stream.events > before[place])) {
    assert.ok(!streams.some((stream) => stream.over), `a stream has ended: ${words}`);
    assert.ok(performance.now() < late, `a stream is silent: ${words}`);
    await sleep(20);
  }
  assert.ok(!streams.some((stream) => stream.over), `a stream has ended: ${words}`);
}

// Nobody is in.
const ada = await person();
assert.equal((await ada.goto(`${base}/docs`)).status(), 401);
await logIn(ada, "ada");
const [kept] = (await ada.context().cookies(base)).filter((cookie) => cookie.name === "parley");
assert.ok(kept.httpOnly && kept.sameSite === "Lax", JSON.stringify(kept));
assert.deepEqual((await ada.context().cookies(base)).map((cookie) => cookie.name), ["parley"], "a cookie of the login is left");
assert.equal(await ada.evaluate(() => document.cookie), "");
ok("a person logs in at the issuer's form and is back where it wanted to go; no script can read its session");

// Who is to watch is there before there is something to see.
const away = await ada.context().newPage();
await away.goto(elsewhere);
const TURNS = 6;
const started = await start(ada, TURNS);
assert.equal(started.status, 201, JSON.stringify(started));
const { run_id, ticket } = started.body;
const [run, stream] = [`/api/run/${run_id}`, `/api/stream/${run_id}`];
const withTicket = `${base}${stream}?ticket=${ticket}`;
const [here, there] = await Promise.all([watch(ada, stream), watch(away, withTicket)]);
const { messages } = (await fetched(ada, `/api/export/${run_id}.json`)).body;
const said = messages.filter((message) => message.kind === "bot").map((message) => message.text);
assert.equal(said.length, TURNS);
for (const { end, heard, texts } of [here, there]) {
  assert.equal(end, "run.completed");
  assert.deepEqual(texts, said);
  // Who comes after a turn is told its end alone.
  assert.equal(heard[TURNS - 1], said[TURNS - 1]);
}
ok("a page starts a run, and EventSource watches it by the session, to the letter");
for (const [options, credentials] of [[{}, "omit"], [{ withCredentials: true }, "include"]]) {
  assert.equal((await watch(away, `${base}${stream}`, options)).end, "refused");
  assert.equal((await fetched(away, `${base}${stream}`, { credentials })).status, 401, "the session went along to another site's page");
}
ok("a page of another site, in the same browser, watches it by a ticket; without one it is refused, whatever it sends along");

const eve = await person();
await eve.goto(`${base}/auth/login`);
await fillIn(eve, "eve");
await eve.click("text=Cancel");
await eve.waitForURL(`${base}/auth/callback?**`);
const cancelled = JSON.parse(await eve.textContent("body"));
assert.deepEqual([cancelled.type, cancelled.detail], ["/problems/login-failed", "the issuer has refused the login: access_denied"]);
assert.ok(!(await isIn(eve)));
// Two tabs at once, and one of them comes back a second time.
const tab = await eve.context().newPage();
for (const page of [eve, tab]) await page.goto(`${base}/auth/login?return_to=/docs`);
const comesBack = tab.waitForRequest((request) => request.url().startsWith(`${base}/auth/callback`));
for (const page of [eve, tab]) {
  await consent(page);
  await page.waitForURL(`${base}/docs/index.html`);
}
const callback = (await comesBack).url();
assert.ok(await isIn(eve));
assert.equal((await tab.goto(callback)).status(), 400);
assert.ok(await isIn(eve));
await tab.close();
ok("who cancels is not in; two tabs log in at once; an answer of the issuer's that comes again lets nobody in and throws nobody out");

assert.deepEqual((await history(eve)).body.runs, []);
assert.equal((await fetched(eve, run)).status, 404);
assert.equal((await fetched(eve, stream)).status, 404);
assert.equal((await watch(eve, stream)).end, "refused");
assert.equal((await history(ada)).body.runs.length, 1);
ok("another person sees nothing of it: 404, an empty history");

// Programs.
const hers = await tokenOf(ada);
assert.equal(await status(run, hers), 200);
const first = await robot();
assert.equal(await status("/api/run", first), 200);
assert.deepEqual((await (await ask("/api/run", bearer(first))).json()).runs, []);
assert.deepEqual([await status(run, first), await status(stream, first)], [404, 404]);
ok("an access token of the same person sees the run, another program's token does not");

const coded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const [head, claims] = first.split(".").map((part, place) => (place < 2 ? JSON.parse(Buffer.from(part, "base64url")) : undefined));
assert.equal(head.typ, "at+jwt");
const { keys: [published] } = await (await fetch(`${issuer}/jwks`)).json();
const pem = createPublicKey({ key: published, format: "jwk" }).export({ type: "spki", format: "pem" });
const unsigned = (header) => `${coded({ ...head, ...header })}.${coded(claims)}`;
const symmetric = unsigned({ alg: "HS256" });
const forAnother = await robot("urn:elsewhere");
// For three seconds.
const brief = await robot("urn:parley:brief");
assert.equal(await status("/api/run", brief), 200);
await sleep(3_100);
for (const [what, token] of [
  ["for another audience", forAnother],
  ["that has expired", brief],
  ["of no algorithm", `${unsigned({ alg: "none" })}.`],
  ["signed with the public key", `${symmetric}.${createHmac("sha256", pem).update(symmetric).digest("base64url")}`],
  ["with another's claims", [first.split(".")[0], coded({ ...claims, sub: "ada" }), first.split(".")[2]].join(".")],
]) {
  const answer = await ask("/api/run", bearer(token));
  assert.equal(answer.status, 401, `a token ${what}`);
  assert.match(answer.headers.get("www-authenticate"), /error="invalid_token"/, `a token ${what}`);
}
ok("five tokens that are wrong are refused: another audience, over, no algorithm, HS256 with the public key, other claims");

// The keys change while many watch.
const phone = await person();
await logIn(phone, "ada");
const long = (await start(ada, 40)).body.run_id;
const cookie = (await ada.context().cookies(base)).map(({ name, value }) => `${name}=${value}`).join("; ");
const streams = await Promise.all(Array.from({ length: STREAMS }, (_, place) =>
  open(`/api/stream/${long}`, place % 2 ? { cookie } : bearer(hers))));
await goOn(streams, "before the keys change");
// Not shown yet: one that was goes on for a minute at most, whatever becomes of its key.
const old = [await robot(), await robot()];
const before = (await seen()).keys;
// Whoever makes up keys makes Parley look once a second at most; so many more looks a slow machine may see.
let since = performance.now();
const seconds = () => Math.floor((performance.now() - since) / 1_000);
const took = [];
for (const how of ["rotate", "replace"]) {
  await change(how);
  const token = await robot();
  const at = performance.now();
  // Many at once, and none of them was there before.
  const answers = await Promise.all(Array.from({ length: 20 }, () => status("/api/run", token)));
  took.push(performance.now() - at);
  assert.deepEqual([...new Set(answers)], [200], `a new key is not taken: ${how}`);
  assert.ok(took.at(-1) < 5_000, `a new key took ${took.at(-1)} ms`);
  assert.equal(await status("/api/run", old.pop()), how === "rotate" ? 200 : 401, `a token of the old key: ${how}`);
  await goOn(streams, how);
}
const after = (await seen()).keys;
assert.ok(after - before <= 4 + seconds(), `the keys were asked for ${after - before} times`);
const times = took.map(Math.round).join(" and ");
ok(`the keys change twice while ${STREAMS} watch: no stream ends, 20 requests by a new token are answered in ${times} ms`);
ok(`an old token goes on until its key is taken back; the issuer was asked for its keys ${after - before} times`);

since = performance.now();
const made = Array.from({ length: 40 }, () => `${unsigned({ kid: randomBytes(4).toString("hex") })}.${first.split(".")[2]}`);
const refused = await Promise.all(made.map((token) => status("/api/run", token)));
assert.deepEqual([...new Set(refused)], [401]);
const flooded = (await seen()).keys;
assert.ok(flooded - after <= 3 + seconds(), `the keys were asked for ${flooded - after} times`);
ok(`${made.length} tokens of keys that do not exist are refused; the issuer was asked for its keys ${flooded - after} times`);

// Out, here and there.
assert.ok(await isIn(ada));
await ada.goto(`${issuer}/session/end`);
await logOutThere(ada);
await ada.goto(`${base}/_ping`);
assert.deepEqual(await seen().then(({ told, untold }) => ({ told, untold })), { told: 1, untold: [] });
assert.ok(!(await isIn(ada)));
assert.ok(await isIn(phone), "another browser of the same person was logged out, too");
await goOn(streams, "the session is over");
ok("a logout at the issuer, told by a new key, ends that browser's session, and no other of the same person's; streams go on");

const stopped = await fetched(phone, `/api/run/${long}/stop`, { method: "POST" });
assert.equal(stopped.status, 200);
await Promise.race([Promise.all(streams.map((stream) => stream.end)), sleep(5_000)]);
assert.deepEqual([...new Set(streams.map((stream) => stream.last))], ["run.stopped"]);
ok(`all ${STREAMS} streams have heard the end of their run`);

assert.equal((await fetched(phone, "/auth/logout", { method: "POST" })).status, 204);
assert.deepEqual(await phone.context().cookies(base), []);
assert.ok(!(await isIn(phone)));
// The issuer still knows this browser, and asks for no password.
await phone.goto(`${base}/auth/login?return_to=/api/run`);
await phone.waitForURL(`${base}/api/run`);
assert.ok(await isIn(phone));
ok("a page logs out: the cookie is gone, the next request is 401; the issuer lets the same browser in again without its form");

// A page with a form, as a front end beside /api has it.
await eve.route(`${base}/front`, (route) => route.fulfill({
  contentType: "text/html", body: "<!doctype html><form method=post action=/auth/logout><button>Log out</button></form>",
}));
await eve.goto(`${base}/front`);
await eve.click("button");
await eve.waitForURL(`${issuer}/session/end?client_id=parley-web`);
await logOutThere(eve);
await eve.goto(`${base}/auth/login?return_to=/docs`);
assert.equal(await eve.locator("[name=password]").count(), 1);
ok("a form logs out here, and goes on to the issuer, which asks for the password the next time");

await browser.close();
const { keys, told, untold } = await seen();
assert.deepEqual(untold, []);
assert.ok(keys <= 8, `the keys were asked for ${keys} times`);
ok(`in all the issuer was asked for its keys ${keys} times, once by this check, and has told of ${told} logouts`);
process.exit(0);
