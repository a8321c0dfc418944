"""Parley behind nginx, Caddy and HAProxy, with the sample files of deploy/ themselves: only addresses, ports and the places of certificates
are put in. Everything it starts, it ends. proxies.py PROGRAM WORK: the built program, and a folder in which playwright-core is installed."""

import collections
import contextlib
import http.server
import itertools
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM, WORK = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
USER, PASSWORD = "ada", "proxies"
CERTIFICATE = f"{WORK}/fullchain.pem"
DELTAS, PAUSE_MS = 300, 8
# How much later than by the direct way a delta may come, in milliseconds. What it is about is 205 (HAProxy without its option) or the
# whole stream (nginx with buffers); a busy machine costs a few.
BOUND_P50, BOUND_P99 = 5, 50
FINAL = ("run.completed", "run.stopped", "run.failed")
BEGUN = time.monotonic()


def say(words):
    print(f"proxies: {words} ({time.monotonic() - BEGUN:.0f} s)", flush=True)


class Failed(Exception):
    pass


def check(condition, words):
    if not condition:
        raise Failed(words)


def until(seconds, what, ready):
    """Asks again and again, for so long at most; what was found."""
    end = time.monotonic() + seconds
    while not (found := ready()):
        check(time.monotonic() < end, f"{seconds} s are over: {what}")
        time.sleep(0.02)
    return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- a provider: Chat Completions, whose deltas are the time at which they were said


class Provider(http.server.BaseHTTPRequestHandler):
    """The topic says how many deltas there are, how many milliseconds apart, and for how long it is silent after them."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        deltas, pause, silence = map(int, re.findall(r"say (\d+) every (\d+) then (\d+)", body)[0])
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(deltas):
                self.chunk({"choices": [{"index": 0, "delta": {"content": f"{time.monotonic_ns()} "}}]})
                time.sleep(pause / 1000)
            time.sleep(silence)
            self.chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def chunk(self, more):
        body = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", **more}
        self.wfile.write(b"data: " + json.dumps(body).encode() + b"\n\n")

    def log_message(self, *_):
        pass


class Fleeting(http.server.BaseHTTPRequestHandler):
    """Stands in Parley's place: takes orders, and closes the connection without an answer."""

    orders = 0

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        Fleeting.orders += 1
        self.close_connection = True

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(handler, port=0):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


# ---- programs


class Program:
    """A program in the background."""

    running = []

    def __init__(self, name, command, env=None, **more):
        self.name, self.log = name, f"{WORK}/{name}.log"
        with open(self.log, "ab") as log:
            more = {"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL, **more}
            self.child = subprocess.Popen(command, env=env or clean(), start_new_session=True, **more)
        Program.running.append(self)

    def tell(self, number):
        self.child.send_signal(number)

    def end(self, number=signal.SIGTERM, code=0, seconds=15):
        """Tells it to end, and waits until it has."""
        self.tell(number)
        found = self.child.wait(seconds)
        check(found == code, f"{self.name} ended with {found}")
        Program.running.remove(self)

    @classmethod
    def kill_all(cls):
        for program in cls.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.child.pid, signal.SIGKILL)
            program.child.wait()


def clean(**more):
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "NO_PROXY": "*", **more}


def run(*command, env=None, **more):
    done = subprocess.run(command, env=env or clean(), capture_output=True, text=True, timeout=60, **more)
    check(done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


class Node:
    """A process of Parley as in production: a login, a SQLite file, the proxies on this machine trusted."""

    def __init__(self, name, provider):
        self.name, self.port = name, free_port()
        self.env = clean(
            LOCO_ENV="production",
            LOCO_CONFIG_FOLDER=f"{WORK}/config",
            PORT=str(self.port),
            BINDING="127.0.0.1",
            DATABASE_URL=f"sqlite://{WORK}/parley.sqlite?mode=rwc",
            BASIC_AUTH_USER=USER,
            BASIC_AUTH_PW_HASH=password_hash(),
            OPENAI_BASE_URL=f"http://127.0.0.1:{provider}/v1",
        )
        self.base = f"http://127.0.0.1:{self.port}"
        self.program = None

    def start(self):
        self.program = Program(self.name, [PROGRAM, "start"], self.env, cwd=WORK)
        until(20, f"{self.name} is not ready", lambda: Ask(f"{self.base}/_readiness").status == 200)

    def stop(self, number=signal.SIGTERM):
        self.program.end(number, 0 if number == signal.SIGTERM else -number)


def password_hash(found=[]):
    if not found:
        said = run(PROGRAM, "task", "hash_password", input=f"{PASSWORD}\n")
        found.append(re.search(r"\$2b\$\S+", said)[0].strip("'"))
    return found[0]


# ---- proxies


def substituted(sample, target, changes):
    """The sample with the changes; each of them must have a place."""
    with open(f"{ROOT}/deploy/{sample}") as file:
        text = file.read()
    for old, new in changes.items():
        check(old in text, f"deploy/{sample} has no {old!r}")
        text = text.replace(old, new)
    with open(target, "w") as file:
        file.write(text)
    return target


class Proxy:
    def __init__(self, name, nodes):
        self.name, self.port, self.plain, self.admin = name, free_port(), free_port(), free_port()
        self.base = f"https://127.0.0.1:{self.port}"
        folder = f"{WORK}/{name}"
        os.makedirs(folder)
        upstreams = {"127.0.0.1:5150": f"127.0.0.1:{nodes[0].port}", "127.0.0.1:5151": f"127.0.0.1:{nodes[1].port}"}
        places = {**upstreams, "/etc/parley/tls": WORK}
        self.env, self.clear = clean(HOME=folder), None
        getattr(self, name)(folder, places)

    def nginx(self, folder, places):
        listen = {"listen 80;": f"listen 127.0.0.1:{self.plain};", "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl"}
        substituted("nginx/parley.conf", f"{folder}/parley.conf", {**places, **listen})
        # As many files as this machine allows, two for each of them.
        files = {"worker_rlimit_nofile 65536;": "", "16384": "4096"}
        paths = {"/etc/nginx/parley.conf": f"{folder}/parley.conf", "/var/log/nginx": folder, "/run/nginx.pid": f"{folder}/pid"}
        path = substituted("nginx/nginx.conf", f"{folder}/nginx.conf", {**files, **paths})
        # It changes to another user, who must reach its temporary files.
        self.command = ["nginx", "-c", path, "-g", "daemon off;"]
        run("nginx", "-t", "-c", path)
        self.reload = lambda: self.program.tell(signal.SIGHUP)

    def caddy(self, folder, places):
        path = substituted("caddy/Caddyfile", f"{folder}/Caddyfile", {**places, "https://parley.example": self.base})
        # Its redirect from port 80 and its door for administrators, which have no place in the file.
        with open(path) as file:
            text = file.read()
        check("\tgrace_period" in text, "deploy/caddy/Caddyfile has no grace_period")
        with open(path, "w") as file:
            file.write(text.replace("\tgrace_period", f"\thttp_port {self.plain}\n\thttps_port {self.port}\n\tadmin 127.0.0.1:{self.admin}\n\tgrace_period", 1))
        self.env["XDG_DATA_HOME"] = self.env["XDG_CONFIG_HOME"] = folder
        self.command = ["caddy", "run", "--config", path]
        run("caddy", "validate", "--config", path, env=self.env)
        check(not run("sh", "-c", f"caddy fmt {ROOT}/deploy/caddy/Caddyfile | diff {ROOT}/deploy/caddy/Caddyfile -", env=self.env), "caddy fmt")
        self.reload = lambda: run("caddy", "reload", "--force", "--config", path, env=self.env)

    def haproxy(self, folder, places):
        # One address more, in the clear, as behind a balancer that ends TLS: only there http-no-delay is missed.
        clear = free_port()
        self.clear = f"http://127.0.0.1:{clear}"
        tls = f"bind 127.0.0.1:{clear}\n    bind 127.0.0.1:{self.port}"
        listen = {"bind :80": f"bind 127.0.0.1:{self.plain}", "bind :443": tls}
        path = substituted("haproxy/haproxy.cfg", f"{folder}/haproxy.cfg", {**places, **listen})
        self.command = ["haproxy", "-W", "-f", path]
        said = run("haproxy", "-c", "-f", path)
        check("WARNING" not in said, f"haproxy -c: {said}")
        self.reload = lambda: self.program.tell(signal.SIGUSR2)

    def start(self):
        self.program = Program(self.name, self.command, self.env)
        until(10, f"{self.name} does not answer", lambda: Ask(f"{self.base}/_ping").status == 200)


# ---- clients


def curl(url, *arguments, source="127.0.0.1"):
    """curl, from an address of its own where clients are to be told apart."""
    login = ["-u", f"{USER}:{PASSWORD}", "--cacert", CERTIFICATE, "--interface", source]
    return ["curl", "-sN", "--noproxy", "*", "--max-time", "60", *login, *arguments, url]


class Ask:
    """One request and its answer."""

    def __init__(self, url, *arguments, body=None, source="127.0.0.1"):
        if body is not None:
            arguments += ("-H", "content-type: application/json", "--data-binary", "@-")
        command = curl(url, "-D", "/dev/stderr", *arguments, source=source)
        done = subprocess.run(command, input=body, capture_output=True, env=clean())
        head, self.body = done.stderr.decode(errors="replace"), done.stdout
        lines = [line for line in head.split("\r\n") if line]
        # With `Expect: 100-continue` there are two.
        last = max((i for i, line in enumerate(lines) if line.startswith("HTTP/")), default=None)
        self.status = 0 if last is None else int(lines[last].split()[1])
        self.version = "" if last is None else lines[last].split()[0]
        pairs = [line.split(": ", 1) for line in lines[(last or 0) + 1 :] if ": " in line]
        self.headers = {name.lower(): value for name, value in pairs}

    def json(self):
        return json.loads(self.body)


def order(base, deltas=3, pause=1, silence=0, turns=1, source="127.0.0.1", arguments=()):
    bots = [{"provider": "openai", "model": "m"}] * 2
    topic = f"say {deltas} every {pause} then {silence}"
    body = json.dumps({"topic": topic, "max_turns": turns, "bots": bots}).encode()
    return Ask(f"{base}/api/run", *arguments, body=body, source=source)


SOURCES = iter(range(10, 250))


def start(base, **more):
    """A run, by a client that has not made one yet."""
    answer = order(base, source=f"127.0.0.{next(SOURCES)}", **more)
    check(answer.status == 201, f"no run: {answer.status} {answer.body}")
    return answer.json()["run_id"]


class Watcher(threading.Thread):
    """Watches a stream by curl to the end of the run, and comes back with its cursor however often it is cut off."""

    def __init__(self, base, run_id, *arguments, patience=60):
        super().__init__(daemon=True)
        self.url, self.arguments, self.end = f"{base}/api/stream/{run_id}", arguments, time.monotonic() + patience
        self.ids, self.arrived, self.turns, self.last, self.cuts = [], {}, {}, None, 0
        self.start()

    def run(self):
        while self.last not in FINAL and time.monotonic() < self.end:
            cursor = ("-H", f"Last-Event-ID: {self.ids[-1]}") if self.ids else ()
            # An error's body is no part of a stream.
            command = curl(self.url, "-f", *cursor, *self.arguments)
            with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, env=clean()) as child:
                self.read(child.stdout)
            if self.last not in FINAL:
                self.cuts += 1
                time.sleep(0.1)

    def read(self, stream):
        rest = b""
        while piece := stream.read(65536):
            at = time.monotonic_ns()
            *blocks, rest = (rest + piece).split(b"\n\n")
            for block in blocks:
                self.take(block.decode(), at)

    def take(self, block, at):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" not in fields:
            return
        data, self.last = json.loads(fields["data"]), fields["event"]
        self.ids.append(fields["id"])
        self.arrived[fields["id"]] = at
        if self.last == "turn.delta":
            self.turns[data["turn"]] = self.turns.get(data["turn"], "") + data["text"]
        elif self.last in ("turn.completed", "turn.interrupted", "turn.failed"):
            self.turns[data["turn"]] = data["text"]
        elif self.last == "turn.restarted":
            self.turns[data["turn"]] = ""

    def finished(self, who, last="run.completed"):
        self.join(max(0, self.end - time.monotonic()) + 5)
        check(self.last == last, f"{who}: the stream ends with {self.last} after {self.cuts} cut(s)")
        return self


def whole(base, run_id, who, turns, ids):
    """Nothing is lost, nothing is doubled: the text is the export's, and no event came twice or out of order."""
    export = Ask(f"{base}/api/export/{run_id}.json").json()
    said = {str(m["turn"]): m["text"] for m in export["messages"] if m.get("turn") is not None}
    check(said and {str(turn): text for turn, text in turns.items()} == said, f"{who}: {turns} is not {said}")
    numbers = [tuple(map(int, event.split("-"))) for event in ids]
    check(numbers == sorted(set(numbers)), f"{who}: events came twice or out of order")


# ---- what is tried


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


def away(proxy, is_browser, told):
    """No process answers: an EventSource is told to come back, everybody else what is wrong."""
    url = f"{proxy.base}/api/stream/00000000-0000-7000-8000-000000000000"
    mode = ["-H", "sec-fetch-mode: cors"] if is_browser else []
    answer = Ask(url, "-H", "accept: text/event-stream", *mode)
    kind = answer.headers.get("content-type", "")
    if is_browser:
        good = answer.status == 200 and kind.startswith("text/event-stream") and re.fullmatch(rb"retry: \d+\n\n", answer.body)
    else:
        good = answer.status in (502, 503) and kind == "application/problem+json" and "retry-after" in answer.headers
        good = good and answer.json()["status"] == answer.status
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
        asking = [threading.Thread(target=away, args=(proxy, who, told)) for proxy in proxies for who in (True, False)]
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
        latency(proxies, node)
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
