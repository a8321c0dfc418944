"""Starts a talk, or comes back to one, and shows it as it is spoken.

python watch.py http://localhost:5150 "Is tea better than coffee?"
python watch.py "http://localhost:5150/api/stream/RUN_ID?last_event_id=2-7"

The talk goes by on stderr; in the end the turns' texts come as JSON on stdout. PARLEY_LOGIN=user:password logs in.
Needs Python 3.10 or newer, and `pip install httpx`.
"""

import json
import os
import sys
import time
import uuid

import httpx

SILENCE = 10  # seconds; the server says something every 4, so after this the connection is dead
PASSING = {429, 502, 503, 504}  # these statuses pass by themselves: asked again later
FINAL = {"run.completed", "run.stopped", "run.failed"}

login = os.environ.get("PARLEY_LOGIN")
client = httpx.Client(auth=tuple(login.split(":", 1)) if login else None, timeout=SILENCE)
wait = 2.0  # seconds before a client comes back; the stream's `retry:` says how long
turns = {}  # the text of each turn


def show(turn, text):
    """The turn's text is this now. Prints what is new of it, or all of it where the old was taken back."""
    shown = turns.get(turn, "")
    new = text[len(shown):] if text.startswith(shown) else f"\n↺ {text}"
    print(new, end="", file=sys.stderr, flush=True)
    turns[turn] = text


def apply(event):
    """The client's rule. True after the event that ends the run."""
    match event["type"]:
        case "turn.started":
            print(f"\n\n{event['bot_name']}: ", end="", file=sys.stderr, flush=True)
        case "turn.delta" if event.get("kind") != "reasoning":
            show(event["turn"], turns.get(event["turn"], "") + event["text"])
        case "turn.completed" | "turn.interrupted" | "turn.failed":
            show(event["turn"], event["text"])
        case "turn.restarted":
            show(event["turn"], "")
    return event["type"] in FINAL


def events(answer):
    """The whole events of a stream, as id and data. Not `iter_lines`: that also breaks at characters that stand inside the text."""
    global wait
    rest, fields = b"", {}
    for piece in answer.iter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            name, _, value = line.decode().partition(":")
            if name == "retry":
                wait = int(value) / 1000
            elif name:  # a field; or a heartbeat, whose name is empty, as is that of the line that ends an event
                fields[name] = value.removeprefix(" ")
            elif not line and "data" in fields:
                yield fields["id"], json.loads(fields["data"])
                fields = {}


def come_back(answer=None):
    """Waits as long as the server asks for."""
    asked = answer.headers.get("retry-after", "") if answer is not None else ""
    time.sleep(float(asked) if asked.isdigit() else wait)


def refused(answer):
    """A problem that does not pass by itself ends the program, in the server's own words."""
    if "json" not in answer.headers.get("content-type", ""):
        sys.exit(f"{answer.status_code} {answer.reason_phrase}")  # not from Parley: a proxy in between
    problem = json.loads(answer.read())
    rules = [f"\n  {rule['pointer']}: {rule['reason']}" for rule in problem.get("errors", [])]
    sys.exit(f"{problem['status']} {problem['title']}: {problem['detail']}{''.join(rules)}")


def start(base, topic):
    """Starts a run, once: the key makes every further try the same one. The address of its stream."""
    key = str(uuid.uuid4())
    bots = [{"provider": "openai", "model": "gpt-6-luna"}, {"provider": "anthropic", "model": "claude-haiku-5-5", "name": "Bob"}]
    order = {"topic": topic, "max_turns": 4, "bots": bots}
    while True:
        try:
            answer = client.post(f"{base}/api/run", json=order, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            come_back()
            continue
        if answer.status_code == 201:
            return base + answer.json()["stream_url"]
        if answer.status_code not in PASSING:
            refused(answer)
        come_back(answer)


def watch(url):
    """Shows the run to its end, through whatever happens to the connection."""
    cursor = None
    while True:
        headers = {"Last-Event-ID": cursor} if cursor else {}
        try:
            with client.stream("GET", url, headers=headers) as answer:
                if answer.status_code == 204:
                    return  # over, and nothing is missing
                if answer.status_code in PASSING:
                    come_back(answer)
                    continue
                if answer.status_code != 200:
                    refused(answer)
                for cursor, event in events(answer):
                    if apply(event):
                        return
        except httpx.TransportError:
            pass  # cut off, or silent for too long
        come_back()  # also after a clean end: only a final event is the end


base, *topic = sys.argv[1:]
watch(start(base, topic[0]) if topic else base)
print("", file=sys.stderr)
json.dump(list(turns.values()), sys.stdout, ensure_ascii=False)
