"""A conversation by the client that openapi-python-client makes of the document. The stream's body is read here: such a client reads
every body as a whole, so of that operation only the request is its own, and the model of what comes."""

import json
import sys
from http import HTTPStatus

from parley_client import Client
from parley_client.api.runs import delete_run, export_run, get_run, list_runs, start_run, stop_run, stream_run, update_bot
from parley_client.models import BotPatch, BotSpec, ExportFormat, Frame, MessageKind, Params, Problem, RunStatus, StartRun
from parley_client.models import TurnCompletedEvent, TurnDeltaEvent

client = Client(base_url=sys.argv[1])
order = StartRun(
    topic="Is tea better than coffee?",
    max_turns=2,
    bots=[
        BotSpec(provider="openai", model="gpt-6-luna", params=Params(seed=7)),
        BotSpec(provider="anthropic", model="claude-haiku-5-5", name="Bob"),
    ],
)
started = start_run.sync_detailed(client=client, body=order)
assert started.status_code == HTTPStatus.CREATED, started.content
run_id = started.parsed.run_id


def frames():
    """The frames of the stream, as the client's model of one."""
    with client.get_httpx_client().stream(**stream_run._get_kwargs(run_id)) as response:
        assert response.status_code == HTTPStatus.OK
        fields = {}
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if name in ("event", "id", "data"):
                fields[name] = value
            elif not line and fields:
                yield Frame.from_dict(fields)
                fields = {}


texts, last = {}, None
for frame in frames():
    data, last = json.loads(frame.data), frame.event
    if last == "turn.delta":
        delta = TurnDeltaEvent.from_dict(data)
        texts[delta.turn] = texts.get(delta.turn, "") + delta.text
    elif last == "turn.completed":
        completed = TurnCompletedEvent.from_dict(data)
        assert completed.text == texts[completed.turn]
assert last == "run.completed" and len(texts) == 2, (last, texts)

export = export_run.sync(run_id, ExportFormat.JSON, client=client)
assert [message.text for message in export.messages if message.kind == MessageKind.BOT] == list(texts.values())
assert get_run.sync(run_id, client=client).status == RunStatus.COMPLETED
assert stop_run.sync(run_id, client=client).pending is False
refused = update_bot.sync(run_id, 0, client=client, body=BotPatch(name="Ada"))
assert isinstance(refused, Problem) and refused.type_ == "/problems/run-already-ended", refused
assert list_runs.sync(client=client, limit=1).runs[0].run_id == run_id
assert delete_run.sync_detailed(run_id, client=client).status_code == HTTPStatus.NO_CONTENT
print(f"Python: {len(texts)} turns, {sum(map(len, texts.values()))} characters")
