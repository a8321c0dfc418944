"""Talks to a server from many sides at once and scrapes it meanwhile: load.py BASE SECONDS FOLDER.

Each scrape goes into a file of the folder. Fails if a scrape under load is refused or slow, if a counter ever goes down, or if the sums
at the end are not what was done.
"""

import json
import pathlib
import sys
import threading
import time
import urllib.error
import urllib.request

base, seconds, folder = sys.argv[1], float(sys.argv[2]), pathlib.Path(sys.argv[3])
folder.mkdir()
urlopen = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
ORDER = {
    "topic": "Is tea better than coffee?",
    "max_turns": 3,
    "bots": [
        {"provider": "openai", "model": "gpt-6-luna"},
        {"provider": "anthropic", "model": "claude-haiku-5-5"},
    ],
}
TALKERS = 16
until = time.monotonic() + seconds
done = []
problems = []


def talk():
    while time.monotonic() < until and not problems:
        order = urllib.request.Request(base + "/api/run", json.dumps(ORDER).encode(), {"content-type": "application/json"})
        with urlopen(order, timeout=30) as answer:
            run = json.load(answer)
        with urlopen(base + run["stream_url"], timeout=60) as stream:
            text = stream.read()
        if b"event: run.completed" not in text:
            raise RuntimeError(f"a stream ended early: {text[-300:]!r}")
        done.append(len(text))
        try:
            urlopen(base + "/api/run/nobody", timeout=30)
        except urllib.error.HTTPError as error:
            error.close()


def watched(work):
    def run():
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the whole fails
            problems.append(repr(error))

    return run


def scrape(number):
    began = time.monotonic()
    with urlopen(base + "/metrics", timeout=10) as answer:
        kind, text = answer.headers["content-type"], answer.read()
    took = time.monotonic() - began
    assert kind == "text/plain; version=0.0.4; charset=utf-8", kind
    assert took < 2, f"a scrape took {took:.2f} s"
    (folder / f"{number:04}").write_bytes(text)
    kinds, samples = {}, {}
    for line in text.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            kinds[name] = kind
        elif not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            samples[name] = float(value)
    return kinds, samples, took, len(text)


def total(samples, name):
    return sum(value for key, value in samples.items() if key.split("{")[0] == name)


threads = [threading.Thread(target=watched(talk)) for _ in range(TALKERS)]
for thread in threads:
    thread.start()
before, number, slowest, longest, live = {}, 0, 0.0, 0, 0
while any(thread.is_alive() for thread in threads) and not problems:
    kinds, samples, took, size = scrape(number)
    number, slowest, longest = number + 1, max(slowest, took), max(longest, size)
    live = max(live, total(samples, "parley_subscribers"))
    for key, value in before.items():
        name = key.split("{")[0]
        if kinds.get(name) == "counter" or name.endswith(("_bucket", "_count")):
            assert samples.get(key, -1) >= value, f"{key} went from {value} to {samples.get(key)}"
    before = samples
    time.sleep(0.2)
for thread in threads:
    thread.join()
if problems:
    sys.exit(problems[0])
deadline = time.monotonic() + 10
while True:
    _, samples, *_ = scrape(number)
    if total(samples, "parley_subscribers") + total(samples, "parley_runs_live") == 0:
        break
    assert time.monotonic() < deadline, "something lives on"
    time.sleep(0.1)
runs = len(done)
for name, value in {
    "parley_runs_accepted_total": runs,
    "parley_runs_ended_total": runs,
    "parley_turn_duration_seconds_count": 3 * runs,
    "parley_attempts_total": 3 * runs,
    "parley_database_errors_total": 0,
}.items():
    assert total(samples, name) == value, f"{name}: {total(samples, name)}, not {value}"
streamed = samples['parley_http_response_bytes_total{route="/api/stream/{run_id}"}']
assert streamed == sum(done), f"{streamed} bytes, not {sum(done)}"
assert live > 0, "no scrape saw a stream"
print(
    f"load: {runs} runs in {seconds:.0f} s, {number} scrapes of up to {longest} bytes, "
    f"the slowest in {1000 * slowest:.0f} ms, up to {live:.0f} streams open"
)
