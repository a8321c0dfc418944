#!/usr/bin/env python3
"""The clients of docs/clients, against a server and everything that may come between: answers that get lost, streams that are cut in
the middle of a character, a 503, silence, a stream that just ends, and a server that is killed and comes back.

watch.py SERVER NODE_MODULES WATCH.mjs RUST_CLIENT   each client must end with the texts of the export, byte for byte, from one run
"""

import asyncio
import base64
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sys
import tempfile
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
SERVER, NODE_MODULES, WATCH_MJS, RUST_CLIENT = sys.argv[1:]
USER, PASSWORD = "ada", "wörd: 7"
AUTHORIZATION = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
# What breaks careless clients: two line ends that are none, markup, more than one byte a character.
TOPIC = "{} \u2028 or \u0085 <b>tea</b>? 你好 🦀"
# Four turns of about fifteen seconds each: time for all that is to happen.
PACE = 14
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def say(words):
    print(f"clients: {words}", flush=True)


def check(fine, words):
    if not fine:
        raise AssertionError(words)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """The real one, on a file, so that it can be killed."""

    def __init__(self, folder):
        self.port, self.folder, self.process = free_port(), folder, None
        config = (ROOT / "config/development.yaml").read_text()
        settings = f"settings: {{simulator: {{pace: {PACE}}}, rate_limit: {{run_creations_per_minute: 1000}}}}"
        check("\nsettings: {}" in config, "the settings were not found")
        (folder / "development.yaml").write_text(config.replace("\nsettings: {}", "\n" + settings))
        self.env = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
        self.env |= {
            "PORT": str(self.port),
            "LOCO_CONFIG_FOLDER": str(folder),
            "DATABASE_URL": f"sqlite://{folder}/parley.sqlite?mode=rwc",
            "BASIC_AUTH_USER": USER,
        }

    async def hash(self):
        task = await asyncio.create_subprocess_exec(
            SERVER, "task", "hash_password", cwd=ROOT, env=self.env, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        said, _ = await task.communicate(f"{PASSWORD}\n".encode())
        self.env["BASIC_AUTH_PW_HASH"] = said.decode().splitlines()[0]

    async def start(self):
        log = open(self.folder / "log", "ab")
        self.process = await asyncio.create_subprocess_exec(SERVER, "start", cwd=ROOT, env=self.env, stdout=log, stderr=log)
        for _ in range(300):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            except OSError:
                check(self.process.returncode is None, "the server ended at once")
                await asyncio.sleep(0.1)
        raise AssertionError("the server does not answer")

    async def kill(self):
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def get(self, path):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": AUTHORIZATION})
        with NO_PROXY.open(request, timeout=20) as answer:
            return json.load(answer)


class Mishaps:
    """A proxy for one client, and what it lets happen. One request a connection."""

    def __init__(self, name, server):
        self.name, self.server = name, server
        self.happened, self.orders, self.streams = [], 0, 0
        self.through = asyncio.Event()

    async def open(self):
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.base = "http://localhost:%d" % self.listener.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader, writer):
        try:
            await self.request(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def request(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        line = head.split(b"\r\n", 1)[0].decode()
        if line.startswith("GET /watch.html"):
            page = (ROOT / "docs/clients/watch.html").read_bytes()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n" + page)
            return await writer.drain()
        stream = line.startswith("GET /api/stream/")
        if stream:
            self.streams += 1
        if stream and self.streams == 2:
            self.happened.append("503")
            # What a browser would be sent is 200 and `retry`: this comes from something in between.
            problem = b'{"type":"/problems/not-ready","title":"Not ready","status":503,"detail":"busy","request_id":"1"}'
            head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n"
            writer.write(head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(problem) + problem)
            return await writer.drain()
        upstream, to_server = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            to_server.write(re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head[:-4]) + b"\r\nConnection: close\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            to_server.write(await reader.readexactly(int(length[1])) if length else b"")
            if stream:
                await self.stream(self.streams, upstream, reader, writer)
            else:
                answer = await upstream.read(-1)
                if line.startswith("POST /api/run ") and b" 201 " in answer[:20]:
                    self.orders += 1
                    if self.orders == 1:
                        self.happened.append("answer lost")
                        return self.reset(writer)
                writer.write(answer)
                await writer.drain()
        finally:
            to_server.close()

    async def stream(self, number, upstream, reader, writer):
        seen = b""
        while piece := await upstream.read(4096):
            seen += piece
            # In the middle of a character of a delta.
            cut = re.search(rb'turn\.delta","turn".{0,60}[\xc0-\xff]', seen, re.S)
            if number == 1 and cut:
                self.happened.append("cut in a character")
                writer.write(piece[: max(1, cut.end() - (len(seen) - len(piece)))])
                await writer.drain()
                return self.reset(writer)
            writer.write(piece)
            await writer.drain()
            if number == 3 and len(seen) > 3000:
                self.happened.append("silence")
                await reader.read(-1)  # until the client leaves
                return
            if number == 4 and len(seen) > 1500 and seen.endswith(b"\n\n\r\n"):
                self.happened.append("a clean end")
                # As a server ends a body that goes out in chunks.
                writer.write(b"0\r\n\r\n")
                await writer.drain()
                self.through.set()
                return

    def reset(self, writer):
        linger = b"\1\0\0\0\0\0\0\0"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()


async def run(*command, seconds=120):
    """Its code, its stdout and its stderr. It gets the login, and nothing else that matters."""
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PARLEY_LOGIN": f"{USER}:{PASSWORD}", "NO_PROXY": "*"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), seconds)
    except BaseException:
        process.kill()
        raise
    return process.returncode, out.decode(), err.decode()


def shown(err):
    """What somebody who looked on has read: of each turn, the texts that were taken back, and the one that stands."""
    turns = re.split(r"\n\n(?:Bot 1|Bob): ", err.removesuffix("\n"))[1:]
    return [turn.split("\n↺ ") for turn in turns]


async def in_a_terminal(name, command, mishaps, server):
    code, out, err = await run(*command, mishaps.base, TOPIC.format(name))
    check(code == 0, f"{name} ended with {code}: {err}")
    texts = json.loads(out)
    read = shown(err)
    check([turn[-1] for turn in read] == texts, f"{name} showed something else:\n{err}\n{texts}")
    # A bot of the simulator begins again with the same words: whatever was shown for a while was a beginning of what stands.
    for turn, text in zip(read, texts):
        check(all(text.startswith(part) for part in turn), f"{name} showed something wrong for a while:\n{turn}")
    return texts, "↺" in err


async def with_nothing_more(name, command, server, run_id):
    """The other ends: a 204, a problem with its pointers, a run that is not there, a login that is none."""
    base = f"http://localhost:{server.port}"
    last = server.get(f"/api/run/{run_id}")["last_event_id"]
    code, out, err = await run(*command, f"{base}/api/stream/{run_id}?last_event_id={last}")
    check((code, out) == (0, "[]"), f"{name} at the end: {code} {out} {err}")
    for arguments, word in [
        ([base, ""], "/topic"),
        ([f"{base}/api/stream/01a20d6e-e83d-75e3-ac10-12c061ceb358"], "there is no run"),
        ([f"{base}/api/stream/{run_id}?last_event_id=99-0"], "400"),
    ]:
        code, out, err = await run(*command, *arguments)
        check(code == 1 and word in err, f"{name} {arguments}: {code} {out} {err}")


def sound(name, mishaps, texts, server):
    runs = server.get("/api/run?limit=100")["runs"]
    mine = [run for run in runs if run["topic"] == TOPIC.format(name)]
    check(len(mine) == 1, f"{name} made {len(mine)} runs")
    export = server.get(f"/api/export/{mine[0]['run_id']}.json")
    said = [message["text"] for message in export["messages"] if message["turn"] is not None]
    check(texts == said and len(said) == 4, f"{name}\nhas {texts}\nnot {said}")
    wanted = ["answer lost", "cut in a character", "503", "silence", "a clean end"]
    check(mishaps.happened == wanted, f"{name} had it easy: {mishaps.happened}")
    say(f"{name}: {mishaps.streams} streams, {sum(map(len, texts))} characters, as in the export")
    return mine[0]["run_id"]


async def everything(folder):
    server = Server(folder)
    await server.hash()
    await server.start()
    terminals = {
        "TypeScript": ["node", WATCH_MJS],
        "Python": [sys.executable, "docs/clients/watch.py"],
        "Rust": [RUST_CLIENT],
    }
    names = [*terminals, "EventSource", "fetch"]
    mishaps = {name: await Mishaps(name, server).open() for name in names}
    browser = asyncio.create_task(
        run("node", ".ci/watch.mjs", NODE_MODULES, USER, PASSWORD, *(
            part for name in names[3:] for part in (mishaps[name].base, TOPIC.format(name))
        ))
    )  # fmt: skip
    watching = {
        name: asyncio.create_task(in_a_terminal(name, command, mishaps[name], server)) for name, command in terminals.items()
    }

    async def the_kill():
        await asyncio.wait_for(asyncio.gather(*(one.through.wait() for one in mishaps.values())), 90)
        # Everybody is to be there when it happens.
        while any(one.streams < 5 for one in mishaps.values()):
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        say("kill -9, and a new process")
        await server.kill()
        await server.start()

    killing = asyncio.create_task(the_kill())
    try:
        await asyncio.gather(killing, *watching.values())
        code, out, err = await browser
    finally:
        for task in [killing, browser, *watching.values()]:
            task.cancel()
    check(code == 0, f"the browser: {code} {out} {err}")
    in_browser = json.loads(out)
    for name in names[3:]:
        got = in_browser[name == "fetch"]
        check(got["status"] == "It is over." and got["steps"] > 60 and not got["wrong"], f"{name}: {got}")
        sound(name, mishaps[name], got["texts"], server)
    check("/topic" in in_browser[2]["status"], f"the browser does not tell a problem: {in_browser[2]}")
    results = {name: watching[name].result() for name in terminals}
    ids = {name: sound(name, mishaps[name], texts, server) for name, (texts, _) in results.items()}
    check(any(again for _, again in results.values()), "no turn was begun again: nobody spoke when the server was killed")
    say("a 204, and problems")
    await asyncio.gather(*(with_nothing_more(name, terminals[name], server, ids[name]) for name in terminals))
    await server.kill()


folder = pathlib.Path(tempfile.mkdtemp())
try:
    asyncio.run(everything(folder))
except BaseException:
    log = folder / "log"
    sys.stderr.write(log.read_text()[-3000:] if log.exists() else "")
    raise
finally:
    shutil.rmtree(folder)
