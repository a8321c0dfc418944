// node exports.mjs URL: an exported page in Chromium: on a phone, in the dark, on paper.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [url] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const page = await (await browser.newContext({ viewport: { width: 412, height: 900 }, hasTouch: true, isMobile: true })).newPage();
const said = [];
const asked = [];
page.on("console", (message) => said.push(message.text()));
page.on("pageerror", (error) => said.push(String(error)));
page.on("dialog", (dialog) => (said.push(`a dialog: ${dialog.message()}`), dialog.dismiss()));
page.on("request", (request) => asked.push(request.url()));
await page.goto(url, { waitUntil: "load" });

assert.ok(await page.getByText("Turn 200 · ").count(), "the last turn is not shown");
const look = () => page.evaluate(() => {
  const style = getComputedStyle(document.body);
  const { scrollWidth, clientWidth } = document.documentElement;
  return { background: style.backgroundColor, color: style.color, wide: scrollWidth - clientWidth, wraps: getComputedStyle(document.querySelector("pre")).whiteSpace };
});
const light = await look();
assert.equal(light.wide, 0, `the page is ${light.wide} pixels wider than a phone`);
assert.match(light.wraps, /pre-wrap|break-spaces/, "the style sheet is not in effect");
await page.emulateMedia({ colorScheme: "dark" });
const dark = await look();
assert.notEqual(dark.background, light.background, "no dark page");
assert.notEqual(dark.color, light.color, "dark on dark");
await page.emulateMedia({ media: "print", colorScheme: "light" });
const paper = await page.pdf({ format: "A4" });
assert.ok(paper.length > 50_000, `${paper.length} bytes on paper`);
assert.deepEqual(said, [], "the page says something, or its policy refuses what it needs");
assert.deepEqual(asked, [url], "the page fetches something");
await browser.close();
console.log("exports: a phone, the dark and paper show it");
