"""Parley behind nginx, Caddy and HAProxy, with the sample files of deploy/ themselves: only addresses, ports and the places of certificates
are put in. Everything it starts, it ends. proxies.py PROGRAM WORK: the built program, and a folder in which playwright-core is installed."""

import collections
import itertools
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

from proxy_house import *

def answers(proxy, node):
    """What Parley answers comes through as it is, errors too; names of requests pass; JSON may be compressed, streams never are."""
    names = itertools.count(1)
    cases = {
        "no login": (["-u", ":"], "/api/providers", None),
        "nothing there": ([], "/nowhere", None),
        "no such run": ([], "/api/run/00000000-0000-7000-8000-000000000000", None),
        "a method that is none": (["-X", "PUT"], "/api/providers", None),
        "a body that is too large": ([], "/api/run", b'{"topic":"' + b"x" * 300_000 + b'"}'),
        "no JSON": ([], "/api/run", b"{"),
    }
    for what, (arguments, path, body) in cases.items():
        named = ["-H", f"X-Request-Id: {next(names)}"]
        # Bad orders count, too, for how many a client may make.
        source = f"127.0.0.{next(SOURCES)}"
        direct, behind = (Ask(base + path, *arguments, *named, body=body, source=source) for base in (node.base, proxy.base))
        fields = ("content-type", "www-authenticate", "allow", "retry-after", "x-request-id", "cache-control")
        shown = [(a.status, a.body, {f: a.headers.get(f) for f in fields}) for a in (direct, behind)]
        check(shown[0] == shown[1] and direct.status >= 400, f"{proxy.name}: {what}: {shown}")
        check(behind.version == "HTTP/2", f"{proxy.name} speaks {behind.version}")
    unnamed = Ask(f"{proxy.base}/nowhere")
    check(unnamed.headers.get("x-request-id") == unnamed.json()["request_id"], f"{proxy.name}: {unnamed.headers}")
    far = Ask(f"{proxy.base}/api/run", body=b"x" * 2_000_000, source=f"127.0.0.{next(SOURCES)}")
    check(far.status == 413, f"{proxy.name}: {far.status} for two megabytes")
    check(far.json()["status"] == 413, f"{proxy.name}: {far.body}")
    packed = Ask(f"{proxy.base}/openapi.json", "-H", "accept-encoding: gzip")
    check(packed.headers.get("content-encoding") == "gzip", f"{proxy.name}: JSON is not compressed: {packed.headers}")
    plain = Ask(f"http://127.0.0.1:{proxy.plain}/api/providers")
    check(plain.status in (301, 302, 308) and plain.headers["location"].startswith("https://"), f"{proxy.name}: {plain.status} in the clear")




def latency(proxies, node):
    """A delta comes hardly later than by the direct way, to a client that takes compressed answers as browsers do."""
    ways = [(proxy.name, proxy.base) for proxy in proxies]
    ways += [(f"{proxy.name} in the clear", proxy.clear) for proxy in proxies if proxy.clear]
    for name, behind_base in ways:
        run_id = start(node.base, deltas=DELTAS, pause=PAUSE_MS)
        browser_like = ("-H", "accept-encoding: gzip, deflate, br, zstd", "-H", "accept: text/event-stream")
        direct, behind = (Watcher(base, run_id, *browser_like) for base in (node.base, behind_base))
        for who in (direct, behind):
            whole(node.base, run_id, name, who.finished(name).turns, who.ids)
        check(direct.cuts == behind.cuts == 0, f"{name}: it was cut")
        # What was there before the client came says nothing.
        stamps = {event: stamp for event, stamp in zip([i for i in direct.ids if not i.endswith("-0")], direct.turns[0].split())}
        both = [event for event in stamps if event in behind.arrived][20:]
        check(len(both) >= 200, f"{name}: only {len(both)} deltas")
        later = sorted((behind.arrived[event] - direct.arrived[event]) / 1e6 for event in both)
        since = sorted((behind.arrived[event] - int(stamps[event])) / 1e6 for event in both)
        p50, p99 = statistics.median(later), later[int(len(later) * 0.99)]
        say(
            f"{name}: {len(both)} deltas, {p50:.2f} ms (p50) and {p99:.2f} ms (p99) later than by the direct way; "
            f"{statistics.median(since):.2f} and {since[int(len(since) * 0.99)]:.2f} ms after the provider said them"
        )
        check(p50 <= BOUND_P50 and p99 <= BOUND_P99, f"{name}: deltas are late: more than {BOUND_P50} or {BOUND_P99} ms")


def patient(proxies, node):
    """Streams by HTTP/1.1 that last longer than a client may take to send its request: the proxy does not take one for the other."""
    run_id = start(node.base, deltas=60, pause=220)
    return run_id, [(proxy, Watcher(proxy.base, run_id, "--http1.1")) for proxy in proxies]


def uncut(node, run_id, watchers):
    for proxy, watcher in watchers:
        whole(node.base, run_id, proxy.name, watcher.finished(proxy.name).turns, watcher.ids)
        check(watcher.cuts == 0, f"{proxy.name}: a stream of 13 s by HTTP/1.1 was cut {watcher.cuts} time(s)")
    say("no stream by HTTP/1.1 was cut")


def connections(port):
    """How many clients are connected to a port of this machine."""
    with open("/proc/net/tcp") as table:
        rows = [row.split() for row in list(table)[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def leaving(proxy, node):
    """A client that leaves while nothing is said: Parley's side is closed soon, and not at the next word."""
    run_id = start(node.base, deltas=1, silence=30)
    url = f"{proxy.base}/api/stream/{run_id}"
    clients = [subprocess.Popen(curl(url), stdout=subprocess.PIPE, env=clean()) for _ in range(8)]
    for client in clients:
        while b"turn.delta" not in client.stdout.readline():
            check(client.poll() is None, f"{proxy.name}: no stream")
    # Those that wait for a next request among them.
    opened = connections(node.port)
    check(opened >= 8, f"{proxy.name}: {opened} connections for 8 streams")
    for client in clients:
        client.kill()
        client.wait()
    left = time.monotonic()
    until(3, f"{proxy.name}: Parley's streams stay open", lambda: connections(node.port) <= opened - 8)
    say(f"{proxy.name}: closed {(time.monotonic() - left) * 1000:.0f} ms after the clients had left")
    check(Ask(f"{node.base}/api/run/{run_id}/stop", "-X", "POST").status == 200, "no stop")


def limits(proxy):
    """Clients are told apart by their addresses, whatever they write into X-Forwarded-For."""
    greedy, other = f"127.0.0.{next(SOURCES)}", f"127.0.0.{next(SOURCES)}"
    statuses = [order(proxy.base, source=greedy).status for _ in range(11)]
    check(statuses == [201] * 10 + [429], f"{proxy.name}: {statuses}")
    # Refused before its body is read, by Parley and not by the proxy: nginx itself ends what is over a megabyte.
    size = 900_000 if proxy.name == "nginx" else 2_000_000
    # curl asks first whether to send so much by HTTP/1.1, others do not.
    for way in (["--http1.1"], ["--http1.1", "-H", "Expect:"], ["--http2"]):
        large = Ask(f"{proxy.base}/api/run", *way, body=b"x" * size, source=greedy)
        check(large.status == 429 and large.json()["status"] == 429, f"{proxy.name}: {way}: {large.status} for {size} bytes over the limit")
    bots = [{"provider": "openai", "model": "m"}] * 2
    body = json.dumps({"topic": "say 1 every 1 then 0", "max_turns": 1, "bots": bots}).encode()
    forged = Ask(f"{proxy.base}/api/run", "-H", "X-Forwarded-For: 203.0.113.7", body=body, source=greedy)
    check(forged.status == 429 and "retry-after" in forged.headers, f"{proxy.name}: made-up address: {forged.status}")
    check(order(proxy.base, source=other).status == 201, f"{proxy.name}: clients are not told apart")


class Browser:
    """Chromium, by browser.mjs; what it says is kept by address."""

    def __init__(self, what, runs, proxies):
        bases = [proxy.base for proxy in proxies]
        shutil.copy(f"{ROOT}/.ci/clients/browser.mjs", WORK)
        command = ["node", f"{WORK}/browser.mjs", what, USER, PASSWORD, runs, *bases]
        self.program = Program("browser", command, stdout=subprocess.PIPE, text=True)
        self.said = collections.defaultdict(list)
        self.results = {}
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.program.child.stdout:
            said = json.loads(line)
            if "result" in said:
                self.results[said["base"]] = said["result"]
            else:
                self.said[said["base"]].append(said)

    def count(self, proxy, event):
        return sum(said["event"] == event for said in list(self.said[proxy.base]))

    def finish(self):
        self.program.child.wait(60)
        check(self.program.child.returncode == 0, f"the browser: {open(self.program.log).read()[-2000:]}")
        self.reader.join(5)
        Program.running.remove(self.program)
        return self.results


def many_streams(proxies, node):
    """More streams at once than HTTP/1.1 lets a browser open."""
    runs = [start(node.base, deltas=1, silence=30) for _ in range(20)]
    for base, result in Browser("many", ",".join(runs), proxies).finish().items():
        good = result["open"] == 20 and result["status"] == 200 and result.get("protocol") == "h2"
        check(good, f"{base}: {result}")
    say("20 streams and a fetch at once in one browser, by HTTP/2, behind each")
    for run_id in runs:
        check(Ask(f"{node.base}/api/run/{run_id}/stop", "-X", "POST").status == 200, "no stop")


# What clients call their requests, and whether that is a name; of two, it may be the first.
PROBLEM = {"type", "title", "status", "detail", "request_id"}
NAMES = [
    (["mine_1@here"], True),
    (['a","status":200,"b":"'], False),
    (["two words"], False),
    (["x" * 256], False),
    (["one", 'two","three":"'], None),
    ([], False),
]


def away(proxy, is_browser, names, told):
    """No process answers: an EventSource is told to come back, everybody else what is wrong, under the name of the request, if it is one."""
    url = f"{proxy.base}/api/stream/00000000-0000-7000-8000-000000000000"
    mode = ["-H", "sec-fetch-mode: cors"] if is_browser else []
    called, is_name = names
    mode += [word for name in called for word in ("-H", f"X-Request-Id: {name}")]
    answer = Ask(url, "-H", "accept: text/event-stream", *mode)
    kind = answer.headers.get("content-type", "")
    if is_browser:
        good = answer.status == 200 and kind.startswith("text/event-stream") and re.fullmatch(rb"retry: \d+\n\n", answer.body)
    else:
        good = answer.status in (502, 503) and kind == "application/problem+json" and "retry-after" in answer.headers
        good = good and answer.json()["status"] == answer.status and set(answer.json()) <= PROBLEM
        named = answer.json()["request_id"] if good else ""
        good = good and re.fullmatch("[A-Za-z0-9_@-]{1,255}", named) and is_name in (None, named in called)
    told.append(None if good else f"{proxy.name}: {answer.status} {answer.headers} {answer.body}")


def restarts(proxies, node):
    """Parley ends behind them, is killed behind them, and clients end up with everything."""
    # So many that the end comes when it is asked for.
    run_id = start(node.base, deltas=40, pause=50, turns=50)
    watchers = [Watcher(proxy.base, run_id, patience=110) for proxy in proxies]
    browser = Browser("watch", run_id, proxies)
    counts = lambda event: [browser.count(proxy, event) for proxy in proxies]
    more = lambda event, before, number: all(now >= then + number for now, then in zip(counts(event), before))
    until(30, "the browser sees nothing", lambda: more("turn.delta", [0] * len(proxies), 10))
    for number in (signal.SIGTERM, signal.SIGKILL):
        errors = counts("error")
        node.stop(number)
        told = []
        asks = [(proxy, True, NAMES[0]) for proxy in proxies] + [(proxy, False, names) for proxy in proxies for names in NAMES]
        asking = [threading.Thread(target=away, args=(*ask, told)) for ask in asks]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        check(len(told) == len(asking) and not any(told), f"while no process answers: {[what for what in told if what]}")
        # The browser was cut off, came back while nobody was there, and was told to come back.
        until(20, "the browser does not come back", lambda: more("error", errors, 2))
        deltas = counts("turn.delta")
        node.start()
        until(30, f"no delta after {number.name}", lambda: more("turn.delta", deltas, 10))
        say(f"{number.name}: streams are resumed")
    check(Ask(f"{node.base}/api/run/{run_id}/stop", "-X", "POST").status == 200, "no stop")
    for proxy, watcher in zip(proxies, watchers):
        watcher.finished(proxy.name, "run.stopped")
        check(watcher.cuts >= 2, f"{proxy.name}: it was cut {watcher.cuts} time(s)")
        whole(node.base, run_id, f"curl behind {proxy.name}", watcher.turns, watcher.ids)
    for base, result in browser.finish().items():
        check(result["last"] == "run.stopped", f"{base}: {result['last']}")
        whole(node.base, run_id, f"Chromium behind {base}", result["turns"], result["ids"])
    say("curl and Chromium have the text of the export, behind each")


def reloads(proxies, node):
    """The proxy takes its configuration anew while a stream is open. Caddy cuts it after a time, and the client comes back."""
    for proxy in proxies:
        run_id = start(node.base, deltas=60, pause=50)
        watcher = Watcher(proxy.base, run_id)
        until(10, f"{proxy.name}: no stream", lambda: len(watcher.ids) > 10)
        proxy.reload()
        until(10, f"{proxy.name} does not answer", lambda: Ask(f"{proxy.base}/_ping").status == 200)
        whole(node.base, run_id, proxy.name, watcher.finished(proxy.name).turns, watcher.ids)
        check(watcher.cuts == 0, f"{proxy.name}: a reload cut a stream that was over within 3 s")
    say("reloads cut no stream")


def rolling(proxies, first, second):
    """One of two processes ends: who asks notices nothing."""
    run_id = start(first.base, deltas=40, pause=50, turns=2)
    second.start()
    done, wrong = threading.Event(), []
    asked = collections.Counter()

    def ask(proxy):
        while not done.is_set():
            answer = Ask(f"{proxy.base}/api/run/{run_id}")
            asked[proxy.name] += 1
            if answer.status != 200:
                wrong.append((proxy.name, answer.status, answer.body[:200]))

    askers = [threading.Thread(target=ask, args=(proxy,)) for proxy in proxies]
    watchers = [Watcher(proxy.base, run_id) for proxy in proxies]
    for asker in askers:
        asker.start()
    until(10, "no stream", lambda: all(watcher.ids for watcher in watchers))
    first.stop()
    for proxy, watcher in zip(proxies, watchers):
        whole(second.base, run_id, proxy.name, watcher.finished(proxy.name).turns, watcher.ids)
    done.set()
    for asker in askers:
        asker.join()
    check(not wrong and all(asked[proxy.name] > 20 for proxy in proxies), f"{wrong[:3]} {asked}")
    say(f"one of two processes ended, {sum(asked.values())} requests meanwhile were answered, the run went on in the other")
    second.stop()


def no_post_twice(proxies, nodes):
    """Two processes that take a request and vanish: the proxy must not send a POST to the other one, too."""
    with serving(Fleeting, nodes[0].port), serving(Fleeting, nodes[1].port):
        for proxy in proxies:
            # Until it knows that they are there again.
            until(10, f"{proxy.name} asks nobody", lambda: Ask(f"{proxy.base}/_ping").status == 200)
            Fleeting.orders = 0
            # HAProxy tells clients by HTTP/2 that they may send it again (deploy/haproxy/haproxy.cfg), and curl does so.
            version = ["--http1.1"] if proxy.name == "haproxy" else []
            answer = order(proxy.base, arguments=version)
            check(answer.status in (502, 503), f"{proxy.name}: {answer.status} after {Fleeting.orders} order(s)")
            check(Fleeting.orders == 1, f"{proxy.name}: a POST was sent {Fleeting.orders} times")
    say("a POST without an answer is not sent again")


def configuration():
    """Production's, with the proxies trusted, and less patience than production has."""
    shutil.copytree(f"{ROOT}/config", f"{WORK}/config")
    path = f"{WORK}/config/production.yaml"
    with open(path) as file:
        text = file.read()
    check("\nsettings: {}\n" in text, "the settings were not found")
    ours = 'settings:\n  http: { trusted_proxies: ["127.0.0.1/32"] }\n  orchestrator: { drain_seconds: 1, node_lifetime_ms: 3000 }\n'
    with open(path, "w") as file:
        file.write(text.replace("\nsettings: {}\n", f"\n{ours}"))


def main():
    configuration()
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{WORK}/privkey.pem"]
    run("openssl", "req", "-x509", "-days", "2", *subject, *key, "-out", CERTIFICATE)
    with open(f"{WORK}/parley.pem", "w") as both:
        both.write(open(CERTIFICATE).read() + open(f"{WORK}/privkey.pem").read())
    with serving(Provider) as provider:
        nodes = [Node("parley-1", provider), Node("parley-2", provider)]
        node = nodes[0]
        run(PROGRAM, "db", "migrate", env=node.env, cwd=WORK)
        node.start()
        proxies = [Proxy(name, nodes) for name in ("nginx", "caddy", "haproxy")]
        for proxy in proxies:
            proxy.start()
        say("Parley, nginx, Caddy and HAProxy are there")
        for proxy in proxies:
            answers(proxy, node)
            leaving(proxy, node)
            limits(proxy)
        say("answers, errors, names of requests, addresses of clients: as by the direct way")
        long = patient(proxies, node)
        latency(proxies, node)
        uncut(node, *long)
        many_streams(proxies, node)
        reloads(proxies, node)
        restarts(proxies, node)
        rolling(proxies, *nodes)
        no_post_twice(proxies, nodes)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
try:
    main()
except (Failed, subprocess.TimeoutExpired, OSError) as error:
    print(f"proxies: FAILED: {error}", file=sys.stderr)
    for program in Program.running:
        with open(program.log, errors="replace") as log:
            print(f"--- {program.name}\n{log.read()[-1500:]}", file=sys.stderr)
    sys.exit(1)
finally:
    Program.kill_all()
say("all passed")
