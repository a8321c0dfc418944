"""What .ci/exports looks at: a talk in many scripts by a stand-in provider, and its files, read back by other programs than ours.

exports.py serve PORT          the provider: an OpenAI-compatible server that says one of the texts below, one after the other
exports.py talk BASE [TURNS [BYTES]]   holds the talk, or one whose turns say as many bytes; prints the run's id
exports.py compare DIR         compares DIR/talk.{json,md,html} and the text of DIR/talk.pdf
"""
import html.parser
import http.server
import json
import re
import subprocess
import sys
import time
import unicodedata
import urllib.request

SAID = [
    "Tea is older than coffee. It is said that an emperor found it when a leaf fell into his cup of hot water.\n\nThat was long ago.",
    "```python\ndef tea(cups: int) -> str:\n\tif cups < 1:\n\t    raise ValueError(\"no tea\")\n    return \"🍵\" * cups  # <b>&amp;</b>\n```\n\n~~~\n``````\n## Turn 9 · Ada\n~~~",
    "茶比咖啡更古老。传说有一天，一片叶子落进了皇帝的热水杯里，于是他发现了茶。日本では緑茶がよく飲まれています。한국에서는 보리차를 자주 마십니다。",
    "الشاي أقدم من القهوة. يقال إن إمبراطورًا اكتشفه عندما سقطت ورقة في كوبه. كان ذلك في عام 2737 قبل الميلاد، واسمه Shennong (神农).",
    "התה עתיק מן הקפה. מספרים שקיסר (בסין) גילה אותו כשעלה נפל לתוך הספל שלו; 3 כפיות ל-2 כוסות, כלומר 150%.",
    "☕ vs 🍵: 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯🇵 👍🏽 ❤️ 1️⃣ 🫖",
    "</pre></article><script>alert(document.domain)</script>]]>--><img src=x onerror=alert(1)> &lt;b&gt; \"'",
    "Ёлки, чай! Ελληνικός καφές. Türk kahvesi, cà phê sữa đá. ชาไทยและกาแฟ หรือจะดื่มทั้งสองอย่างก็ได้ चाय और कॉफ़ी। ჩაი და ყავა. ቡና እና ሻይ. סוף.",
    "e\u0301te\u0301, a\u0308\u0323, Z\u0351\u036b\u0343\u036a\u0302a\u0334\u0335l\u0320g\u0334\u033bo\u0321; ﬁ ﬂ Ⅷ ½ ａｂｃ ｶﾅ ℌ 𝒳 ∑∫√ ← → ⇒ ✓ ★",
    "No face has these: \ue000 \U0010fffd \U0001d800 \x01.",
    "A word without end: " + "Donaudampfschifffahrtsgesellschaftskapitän" * 30 + "\nand a long line of Chinese: " + "永和九年岁在癸丑" * 60,
    "Lines:\n\n\n  two spaces at the beginning\n\ta tab\nthe end  \n",
    "Directions: \u202etxt.exe\u202c and \u2067עברית\u2069, \u200fend\u200e.",
    "שלום hello مرحبا 123 world עולם (a) [b] {c} <d>",
]
TURNS = 200


def text_of(turn):
    return SAID[turn % len(SAID)]


class Provider(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = 0

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["content-length"])))
        # How much it says is in the model's name.
        length = int(order["model"][1:] or 0)
        if length:
            text = ("A long story. " * length)[:length]
        else:
            text = text_of(Provider.asked)
            Provider.asked += 1
        chunk = lambda delta, reason=None, **more: b"data: " + json.dumps({
            "id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m",
            "choices": [] if more else [{"index": 0, "delta": delta, "finish_reason": reason}], **more}).encode() + b"\n\n"
        usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
        body = chunk({"content": text}) + chunk({}, "stop") + chunk({}, usage=usage) + b"data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def ask(url, body=None):
    request = urllib.request.Request(url, body and json.dumps(body).encode(), {"content-type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(request, timeout=120).read()


def talk(base, turns=TURNS, length=""):
    bot = lambda name: {"provider": "openai", "model": f"m{length}", "name": name}
    order = {"topic": "Tea or coffee?\nאו: תה או קפה?", "max_turns": turns, "bots": [bot("Ada"), bot("Bob <b>")]}
    run = json.loads(ask(f"{base}/api/run", order))["run_id"]
    end = time.monotonic() + 60
    while time.monotonic() < end:
        status = json.loads(ask(f"{base}/api/run/{run}"))["status"]
        if status not in ("queued", "running"):
            assert status == "completed", status
            return run
        time.sleep(0.1)
    raise SystemExit("the talk did not end in time")


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.texts, self.tags, self.inside = [], set(), False

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "pre":
            self.inside = True
            self.texts.append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "pre"

    def handle_data(self, data):
        if self.inside:
            self.texts[-1] += data


def fenced(markdown):
    """The fenced blocks, as CommonMark reads them."""
    lines, found, fence = re.split("(?<=\n)", markdown), [], None
    for line in lines:
        bare = line.strip(" \n")
        if fence is None:
            opening = re.fullmatch("(`{3,})text", bare)
            if opening:
                fence, text = opening[1], ""
        elif re.fullmatch("`{%d,}" % len(fence), bare) and len(line) - len(line.lstrip(" ")) < 4:
            found.append(text[:-1])
            fence = None
        else:
            text += line
    assert fence is None
    return found


def bare(text):
    """What two texts are compared by: without white space, marks of direction and joiners, in the normal form NFKC."""
    seen = lambda text: "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Cf")
    return seen(unicodedata.normalize("NFKC", seen(text)))


def compare(folder):
    read = lambda name: open(f"{folder}/{name}", encoding="utf-8", newline="").read()
    export = json.loads(read("talk.json"))
    said = [message["text"] for message in export["messages"]]
    assert said == [export["topic"]] + [text_of(turn) for turn in range(TURNS)], "the data are not what was said"
    assert fenced(read("talk.md")) == said, "the Markdown is not what was said"
    page = Page()
    page.feed(read("talk.html"))
    # The first line feed after the tag belongs to the tag.
    assert [text[1:] for text in page.texts] == said, "the HTML is not what was said"
    unknown = page.tags - set("html head meta title style body main h1 h2 p dl dt dd bdi article pre".split())
    assert not unknown, f"tags from elsewhere: {unknown}"
    pdf(folder, said)


def is_rtl(text):
    return any(unicodedata.bidirectional(c) in ("R", "AL", "RLE", "RLO", "RLI") for c in text)


def split(text, count):
    """The text up to so many characters that are compared, and the rest."""
    at = 0
    while len(bare(text[:at])) < count:
        at += 1
    return text[:at], text[at:]


def leftward(text):
    """The words that run to the left, each without all else."""
    words = [re.sub("[^\u0590-\u08ff]", "", word) for word in unicodedata.normalize("NFKC", text).split()]
    return [word for word in words if word]


def pdf(folder, said):
    """The text as poppler takes it out, in the order in which it is drawn: that in which it is seen, from left to right. Where a line has
    words that run to the left, poppler has turned each of them round, but for ligatures and what bears marks: what is left to undo is
    their order."""
    text = subprocess.run(["pdftotext", "-raw", "-enc", "UTF-8", f"{folder}/talk.pdf", "-"], capture_output=True, check=True).stdout.decode()
    lines = [line for line in re.split("[\n\f]", text) if not re.fullmatch(r"A talk of Ada and Bob <b> · \d+", line)]
    names = ["Ada", "Bob <b>"]
    titles = ["Topic"] + [f"Turn {turn + 1} · {names[turn % 2]}" for turn in range(TURNS)]
    at, words = 0, []
    for index, (title, message) in enumerate(zip(titles, said)):
        at = lines.index(title, at)
        end = lines.index(titles[index + 1], at) if index + 1 < len(titles) else len(lines)
        # The details, which begin with the time.
        assert re.match(r"\d{4}-\d\d-\d\d ", lines[at + 1]), lines[at + 1]
        shown, expected = lines[at + 2:end], bare(message)
        found = bare("\n".join(shown))
        if not is_rtl(message):
            assert found == expected, f"{title}: {found!r} is not {expected!r}"
            continue
        assert sorted(found) == sorted(expected), f"{title}: {found!r} has not the characters of {expected!r}"
        if not re.search("[\u202a-\u202e\u2066-\u2069]", message):
            rest = message
            for line in shown:
                part, rest = split(rest, len(bare(line)))
                assert sorted(bare(line)) == sorted(bare(part)), f"{title}: the line {line!r} is not {part!r}"
                seen, meant = leftward(line)[::-1], leftward(part)
                assert [*map(sorted, seen)] == [*map(sorted, meant)], f"{title}: the words of {line!r} are not in the order of {part!r}"
                words.extend(zip(seen, meant))
    right = sum(seen == meant for seen, meant in words)
    assert right > 0.8 * len(words) > 0, f"of {len(words)} words that run to the left, {right} are read in the order of their letters"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Provider).serve_forever()
        case ["talk", base, *more]:
            print(talk(base, int(more[0]) if more else TURNS, *more[1:]))
        case ["compare", folder]:
            compare(folder)
        case _:
            raise SystemExit(__doc__)
