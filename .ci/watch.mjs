// docs/clients/watch.html in Chromium: once with EventSource and the browser's own login, once with fetch and a header, once with an
// order that is refused. watch.mjs NODE_MODULES USER PASSWORD BASE TOPIC BASE TOPIC; prints what stands on each page at the end.
import { createRequire } from "node:module";

const [nodeModules, user, password, withEventSource, firstTopic, withFetch, secondTopic] = process.argv.slice(2);
const { chromium } = createRequire(`${nodeModules}/`)("playwright-core");
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
});

async function talk(base, topic, login) {
  const page = await (await browser.newContext()).newPage();
  if (!login) {
    // As somebody who has logged in at any page of the server.
    const address = new URL("/api/providers", base);
    Object.assign(address, { username: user, password });
    await page.goto(address.href);
  }
  await page.goto(`${base}/watch.html`);
  await page.evaluate(() => {
    // What stood on the page, and where, each time that something changed.
    window.seen = [];
    const look = (changes) => window.seen.push(...changes.map(({ target }) => ({ target, text: target.data })));
    new MutationObserver(look).observe(document.querySelector("article"), { subtree: true, characterData: true });
  });
  await page.fill("[name=topic]", topic);
  if (login) {
    await page.fill("[name=user]", user);
    await page.fill("[name=password]", password);
  }
  await page.click("button");
  const ended = () => !/^(With|They)/.test(document.querySelector("[role=status]").textContent);
  await page.waitForFunction(ended, undefined, { timeout: 110_000 });
  return page.evaluate(() => ({
    status: document.querySelector("[role=status]").textContent,
    texts: [...document.querySelectorAll("article p")].map((turn) => turn.textContent),
    steps: window.seen.length,
    // A bot of the simulator begins again with the same words: whatever stood there was a beginning of what stands at the end.
    wrong: window.seen.filter(({ target, text }) => !target.data.startsWith(text)).map(({ text }) => text),
  }));
}

try {
  const first = talk(withEventSource, firstTopic, false);
  const second = talk(withFetch, secondTopic, true);
  const refused = talk(withFetch, "", true);
  console.log(JSON.stringify(await Promise.all([first, second, refused])));
} finally {
  await browser.close();
}
