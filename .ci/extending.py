"""Follows a page to the letter: its ```sh blocks are run, one after the other; what `sh server` starts goes on while `sh client` asks it, and
is ended after that; a block with the name of a file is put there, where it says: `rust src/a.rs after: a line`. Fails at the first that
cannot be."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLACE = re.compile(r"(?P<where>after|before|instead of): (?P<line>.+)")


def edit(file: str, place: str, text: str) -> None:
    """Puts the text beside the one line that is named, or in its place."""
    found = PLACE.fullmatch(place.strip())
    if not found:
        sys.exit(f"{file}: no place in {place!r}")
    path = Path(file)
    lines = path.read_text().splitlines()
    at = [number for number, line in enumerate(lines) if line.strip() == found["line"]]
    if len(at) != 1:
        sys.exit(f"{file}: {found['line']!r} stands there {len(at)} times")
    start = at[0] + (found["where"] == "after")
    end = at[0] + (found["where"] == "instead of") if found["where"] != "after" else start
    lines[start:end] = text.splitlines()
    path.write_text("\n".join(lines) + "\n")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """What the page starts, but at a port that is free."""

    def __init__(self, text: str) -> None:
        self.port = free_port()
        env = {**os.environ, "PORT": str(self.port)}
        self.child = subprocess.Popen(["bash", "-euo", "pipefail", "-c", text], env=env, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            end = time.monotonic() + 600
            while not self.answers():
                if self.child.poll() is not None or time.monotonic() > end:
                    sys.exit(f"it does not answer: {text}")
                time.sleep(0.1)
        except SystemExit:
            self.end()
            raise

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def ask(self, text: str) -> str:
        """The one word of the page that is not so here is the port."""
        curl = f'curl() {{ command curl --noproxy "*" --max-time 60 "${{@//localhost:5150/127.0.0.1:{self.port}}}"; }}'
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", f"{curl}\n{text}"], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{text}\nanswers\n{done.stdout}")
        return done.stdout

    def end(self) -> None:
        """All that it is of: cargo, and the program."""
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()


def follow(page: str) -> None:
    """Does what the page says, from its first block to its last."""
    done = 0
    server = None
    try:
        for language, info, text in BLOCK.findall(Path(page).read_text()):
            info = info.strip()
            if language == "sh" and info == "server":
                print(f"& {text.strip()}", flush=True)
                server = Server(text)
            elif language == "sh" and info == "client":
                print(f"+ {text.strip()}", flush=True)
                said = server.ask(text)
                server.end()
                print(said, flush=True)
                if '"id":' not in said:
                    sys.exit("that is no answer")
            elif language == "sh":
                print(f"+ {text.strip()}", flush=True)
                subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True)
            elif language == "rust" and info:
                file, _, place = info.partition(" ")
                print(f"= {file} {place}", flush=True)
                edit(file, place, text)
            else:
                continue
            done += 1
    finally:
        # In a session of its own: nobody else ends it.
        if server:
            server.end()
    if done < 8 or server is None:
        sys.exit(f"only {done} steps were found")


signal.signal(signal.SIGTERM, lambda *_: sys.exit("it takes too long"))
follow(sys.argv[1])
