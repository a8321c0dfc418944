"""What a client has after the streams that it was given, one after the other: the rule of the README's "A tour with curl".

fold.py cursor STREAM…         prints the id to come back with
fold.py compare EXPORT STREAM…  fails unless the streams end with the run and give the text of the export, byte for byte
"""

import json
import sys

SETS_TEXT = ("turn.completed", "turn.interrupted", "turn.failed")


def events(path):
    # A cut may fall into a character or a block: what is not whole does not count.
    text = open(path, "rb").read().decode("utf-8", "ignore")
    for block in text.split("\n\n")[:-1]:
        lines = (line for line in block.split("\n") if line and not line.startswith(":"))
        fields = dict(line.split(": ", 1) for line in lines)
        yield fields["event"], fields["id"], json.loads(fields["data"])


def fold(paths):
    turns, cursor, name = {}, None, None
    for path in paths:
        for name, cursor, data in events(path):
            turn = data.get("turn")
            if name == "turn.delta":
                turns[turn] = turns.get(turn, "") + data["text"]
            elif name in SETS_TEXT:
                # Whoever was never cut off has heard it all before.
                assert len(paths) > 1 or turns.get(turn, "") == data["text"], data
                turns[turn] = data["text"]
            elif name == "turn.restarted":
                turns[turn] = ""
    return turns, cursor, name


mode, *paths = sys.argv[1:]
if mode == "cursor":
    print(fold(paths)[1])
else:
    export, *streams = paths
    messages = json.load(open(export, encoding="utf-8"))["messages"]
    said = {m["turn"]: m["text"] for m in messages if m["turn"] is not None}
    turns, _, last = fold(streams)
    if last != "run.completed" or not said or turns != said:
        sys.exit(f"last event {last}\nstream: {turns}\nexport: {said}")
