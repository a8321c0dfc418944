"""Requests of snapshots against the types of the vendors' own clients, and against what those clients send themselves.

schemas.py newest|older SNAPSHOT…  fails at the first request that has a field that is unknown, missing or of another type
schemas.py compare SNAPSHOT…       fails at the first that a client, asked for the same, sends in another way

Nothing passes on trust: of each body, every object is tried with an unknown field and every value with another type, and the types must
refuse that too.
"""

import collections
import copy
import http.server
import importlib
import json
import sys
import threading
import typing
import warnings

import pydantic
import typing_extensions

# Gone from the newest version of Anthropic's API and so from its types, while the version that is asked has them. They are checked
# with the types of that version, by `older`.
SAMPLING = ("temperature", "top_p", "top_k")
# Fields of servers that are compatible with OpenAI's and know more than it does.
OTHERS = ("top_k",)
# The least requests of each kind: a pattern that matches nothing would pass, too.
LEAST = {"chat": 4, "responses": 4, "messages": 5, "contents": 3}


def requests(paths):
    """The requests in the snapshots: name, kind, path and body."""
    for path in paths:
        text = open(path, encoding="utf-8").read().split("---\n", 2)[2]
        head, body = text.split("\n\n", 1)
        place = head.split()[1]
        if place.endswith("/chat/completions"):
            kind = "chat"
        elif place.endswith("/responses"):
            kind = "responses"
        elif place.endswith("/messages"):
            kind = "messages"
        elif ":streamGenerateContent" in place:
            kind = "contents"
        else:
            sys.exit(f"{path}: a request to nobody that is known: {place}")
        yield path.rsplit("__", 1)[1].removesuffix(".snap"), kind, place, json.loads(body)


def strict(module, name):
    """A parameter type as something that checks all of it: what is iterable is read lazily otherwise, so never."""
    typing.Iterable = typing.List
    of = getattr(importlib.import_module(module), name)
    package = module.split(".")[0] + ".types"
    for other in [m for n, m in sys.modules.items() if n.startswith(package)]:
        if hasattr(other, "SequenceNotStr"):
            other.SequenceNotStr = typing.List
    return pydantic.TypeAdapter(of)


def contents():
    """Gemini's request as it stands on the wire; its client has types for the parts only."""
    from google.genai import types

    class Body(typing_extensions.TypedDict):
        contents: typing.List[types.Content]
        systemInstruction: typing_extensions.NotRequired[types.Content]
        generationConfig: typing_extensions.NotRequired[types.GenerationConfig]

    return pydantic.TypeAdapter(Body)


def adapters(which):
    messages = strict("anthropic.types.message_create_params", "MessageCreateParamsStreaming")
    if which == "older":
        return {"messages": messages}
    return {
        "chat": strict("openai.types.chat.completion_create_params", "CompletionCreateParamsStreaming"),
        "responses": strict("openai.types.responses.response_create_params", "ResponseCreateParamsStreaming"),
        "messages": messages,
        "contents": contents(),
    }


def complaint(adapter, body):
    """What is wrong with a body, or None."""
    try:
        with warnings.catch_warnings():
            # Enumerations of Gemini's client take any word, with a warning, and fall over anything else.
            warnings.simplefilter("error")
            adapter.validate_json(json.dumps(body), strict=True, extra="forbid")
    except (pydantic.ValidationError, UserWarning, AttributeError) as error:
        return str(error)
    return None


def broken(body):
    """The body, broken in one place after the other."""

    def places(value, way):
        yield way, value
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in inside:
            yield from places(part, (*way, key))

    for way, value in list(places(body, ())):
        other = copy.deepcopy(body)
        holder = other
        for key in way[:-1]:
            holder = holder[key]
        if isinstance(value, dict):
            (holder[way[-1]] if way else holder)["not_a_field"] = 1
            yield (*way, "not_a_field"), other
        elif way:
            # No field of ours is a list of lists.
            holder[way[-1]] = [[value]]
            yield way, other


class Recorder(http.server.BaseHTTPRequestHandler):
    """Remembers a request, and refuses it."""

    seen = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen.append((self.path, json.loads(body)))
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"error": {"message": "seen"}}')

    def log_message(self, *_):
        pass


def senders(base):
    """How each client is asked for a body of its kind."""
    import anthropic
    import openai
    from google import genai

    key = "no-key"
    one = openai.OpenAI(api_key=key, base_url=f"{base}/v1", max_retries=0)
    other = anthropic.Anthropic(api_key=key, base_url=base, max_retries=0)
    # Its newest asks `v1`, ours what all of the vendor's documents show.
    third = genai.Client(api_key=key, vertexai=False, http_options={"base_url": base, "api_version": "v1beta", "retry_options": {"attempts": 1}})

    def create(resource, body, unknown):
        known = {name: value for name, value in body.items() if name not in unknown}
        resource.create(**known, extra_body={name: body[name] for name in unknown if name in body})

    def generate(body, place):
        model = place.split("/models/")[1].split(":")[0]
        config = genai.types.GenerateContentConfig(
            systemInstruction=body.get("systemInstruction"), **body.get("generationConfig", {})
        )
        for _ in third.models.generate_content_stream(model=model, contents=body["contents"], config=config):
            pass

    return {
        "chat": lambda body, _: create(one.chat.completions, body, OTHERS),
        "responses": lambda body, _: create(one.responses, body, ()),
        "messages": lambda body, _: create(other.messages, body, SAMPLING),
        "contents": generate,
    }


def alike(body):
    """The body without what makes no difference to Gemini: its client sends empty objects, names of either style, and a word in capitals."""
    config = body.get("generationConfig", {})
    if "thinkingConfig" in config:
        thinking = config["thinkingConfig"]
        for name in list(thinking):
            first, *others = name.split("_")
            thinking[first + "".join(map(str.title, others))] = thinking.pop(name)
        if "thinkingLevel" in thinking:
            thinking["thinkingLevel"] = thinking["thinkingLevel"].lower()
    return {field: value for field, value in body.items() if value != {}}


def compare(all_requests):
    """Lets the clients send the same, and compares what comes out."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    send = senders(f"http://127.0.0.1:{server.server_port}")
    for name, kind, place, body in all_requests:
        Recorder.seen.clear()
        try:
            send[kind](body, place)
        except Exception as error:  # The refusal, as each client tells it; any other trouble is told below.
            trouble = error
        if len(Recorder.seen) != 1:
            sys.exit(f"{name}: its vendor's client did not send it: {trouble!r}")
        ((path, theirs),) = Recorder.seen
        ours = place.removeprefix("https://").partition("/")[2]
        if path.lstrip("/") != ours:
            sys.exit(f"{name}: its vendor's client asks {path}, we ask /{ours}")
        if alike(theirs) != alike(body):
            sys.exit(f"{name}: its vendor's client sends\n{json.dumps(theirs, indent=1)}\nand we\n{json.dumps(body, indent=1)}")

    print(f"clients: {len(all_requests)} requests are what they send themselves")


def check(which, all_requests):
    """Holds the requests against the types, whole and broken."""
    checks = adapters(which)
    found = [request for request in all_requests if request[1] in checks]
    tried = 0
    for name, kind, place, whole in found:
        left_out = SAMPLING if kind == "messages" and which == "newest" else ()
        if kind == "chat" and not place.startswith("https://"):
            left_out = OTHERS
        body = {field: value for field, value in whole.items() if field not in left_out}
        if said := complaint(checks[kind], body):
            sys.exit(f"{name}: {said}")
        for way, bad in broken(body):
            tried += 1
            if not complaint(checks[kind], bad):
                sys.exit(f"{name}: {'.'.join(map(str, way))} can be anything, so nothing is checked there")
    print(f"{which} types: {len(found)} requests are as they should be; broken in {tried} ways, each is refused")


def main(what, paths):
    found = list(requests(paths))
    counts = collections.Counter(kind for _, kind, _, _ in found)
    for kind, least in LEAST.items():
        if counts[kind] < least:
            sys.exit(f"only {counts[kind]} requests of {kind}, not {least}")
    if what == "compare":
        compare(found)
    else:
        check(what, found)


main(sys.argv[1], sys.argv[2:])
