"""The house of proxies.py: a provider that stamps what it says, Parley as in production, the proxies with their samples, clients."""

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM, WORK = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
USER, PASSWORD = "ada", "proxies"
CERTIFICATE = f"{WORK}/fullchain.pem"
DELTAS, PAUSE_MS = 500, 8
# How much later than by the direct way a delta may come, in milliseconds. What it is about is 205 (HAProxy without its option) or the
# whole stream (nginx with buffers); a busy machine costs a few.
BOUND_P50, BOUND_P99 = 20, 150
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
