// A browser in front of a proxy, as its users have it: Debian's Chromium, driven by playwright-core. Says on standard output what happens,
// one JSON object a line.
//
//   browser.mjs watch USER PASSWORD RUN BASE…      watches the run at each address until its end, through whatever befalls it
//   browser.mjs many USER PASSWORD RUNS BASE…      opens a stream of each run (with commas between) at once, and asks for something else

import { chromium } from "playwright-core";

const [what, user, password, runs, ...bases] = process.argv.slice(2);
const say = (object) => console.log(JSON.stringify(object));

// Runs in the page: the client of the README, with the browser's own EventSource.
const watch = (run) => {
  const state = { run, opens: 0, turns: {}, ids: [], over: false };
  const source = new EventSource(`/api/stream/${run}`);
  const turn = (data, text) => (state.turns[data.turn] = text(state.turns[data.turn] ?? ""));
  const on = (name, act) =>
    source.addEventListener(name, (event) => {
      state.ids.push(event.lastEventId);
      const data = JSON.parse(event.data);
      act(data);
      say({ run, event: name, turn: data.turn });
    });
  on("run.started", () => {});
  on("turn.started", () => {});
  on("turn.delta", (data) => turn(data, (text) => text + data.text));
  for (const name of ["turn.completed", "turn.interrupted", "turn.failed"]) on(name, (data) => turn(data, () => data.text));
  on("turn.restarted", (data) => turn(data, () => ""));
  const over = new Promise((resolve) => {
    for (const name of ["run.completed", "run.stopped", "run.failed"])
      on(name, () => {
        source.close();
        resolve({ ...state, last: name });
      });
    source.onopen = () => say({ run, event: "open", opens: ++state.opens });
    source.onerror = () => {
      say({ run, event: "error", closed: source.readyState === EventSource.CLOSED });
      if (source.readyState === EventSource.CLOSED) resolve({ ...state, last: "closed for good" });
    };
  });
  return over;
};

// Opens all streams and, while they are open, asks for something else.
const many = async (runs) => {
  const sources = runs.map((run) => new EventSource(`/api/stream/${run}`));
  await Promise.all(
    sources.map((source) => new Promise((resolve) => source.addEventListener("run.started", resolve, { once: true }))),
  );
  const begun = performance.now();
  // The browser writes down how it was fetched a moment after it was.
  const entry = new Promise((resolve) =>
    new PerformanceObserver((list) => {
      const found = list.getEntries().find((entry) => entry.name.endsWith("/api/providers"));
      if (found) resolve(found);
    }).observe({ type: "resource" }),
  );
  const other = await fetch("/api/providers");
  await other.text();
  const ms = performance.now() - begun;
  const protocol = (await entry).nextHopProtocol;
  const answer = { open: sources.filter((source) => source.readyState === EventSource.OPEN).length, status: other.status, ms, protocol };
  sources.forEach((source) => source.close());
  return answer;
};

const flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags.split(" ") });
try {
  const visit = async (base) => {
    // Beside an EventSource no page can send a login by itself; here the browser adds it, as it does once its user has logged in.
    const authorization = `Basic ${btoa(`${user}:${password}`)}`;
    const context = await browser.newContext({ ignoreHTTPSErrors: true, extraHTTPHeaders: { authorization } });
    const page = await context.newPage();
    await page.exposeFunction("say", (object) => say({ base, ...object }));
    const answer = await page.goto(`${base}/api/providers`);
    if (answer.status() !== 200) throw new Error(`${base}: ${answer.status()}`);
    const result = what === "many" ? await page.evaluate(many, runs.split(",")) : await page.evaluate(watch, runs);
    say({ base, result });
  };
  await Promise.all(bases.map(visit));
} finally {
  await browser.close();
}
