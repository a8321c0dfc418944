#!/usr/bin/env python3
"""The pages: README.md, CHANGELOG.md, CONTRIBUTING.md and docs/*.md.

pages.py check       fails unless files that a page shows are the files themselves, addresses elsewhere can be ones, and api.md names
                     every problem that the sources have (links between pages are rumdl's)
pages.py write       puts the files into the pages that show them
pages.py run BASE    carries out the commands of pages that are marked with <!-- run -->, one block after the other in one shell,
                     against the server at BASE; what the block marked <!-- prints --> shows after it must come out, … standing for anything
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = re.compile(r"(<!-- file: (\S+) -->\n```(\w+)\n)(.*?)(```\n)", re.S)
MARKED = re.compile(r"<!-- (run|prints) -->\n```\w+\n(.*?)```\n", re.S)
LINK = re.compile(r"\]\(<?([a-z][a-z0-9+.-]*:[^)>\s]*)", re.I)
# A slug and its title, as problems are made.
SLUG = re.compile(r'"([a-z]+(?:-[a-z]+)*)",\s*"[A-Z][a-z]|let slug = "([a-z-]+)"')


def shown(page):
    """The page with the files in it that it says it shows."""

    def filled(match):
        head, name, _, _, tail = match.groups()
        return head + (page.parent / name).read_text() + tail

    return SHOWN.sub(filled, page.read_text())


def mistakes():
    for page in PAGES:
        name, text = page.relative_to(ROOT), page.read_text()
        if shown(page) != text:
            yield f"{name} shows a file that has changed: .ci/pages.py write"
        for address in LINK.findall(text):
            parts = urllib.parse.urlsplit(address)
            if parts.scheme not in ("http", "https") or not re.fullmatch(r"[a-z0-9.-]+\.[a-z]+|localhost", parts.hostname or ""):
                yield f"{name}: {address} is no address"
    api = (ROOT / "docs/api.md").read_text()
    for room in ("views", "controllers", "middleware"):
        for source in (ROOT / "src" / room).rglob("*.rs"):
            for slug in ("".join(pair) for pair in SLUG.findall(source.read_text())):
                if f"`{slug}`" not in api:
                    yield f"docs/api.md does not name the problem {slug} of {source.relative_to(ROOT)}"


def pattern(text):
    """What text may be: … is anything, a line that is only … any number of lines, and a line's end any white space or none."""
    parts = (re.escape(part) for part in text.replace("\n…\n", "…").split("…"))
    return ".*?".join(parts).replace("\\\n", r"\s*")


def carry_out(page, base):
    """Each marked block, in one shell and one folder, so that what one sets the next one has."""
    blocks = MARKED.findall(page.read_text())
    if not blocks:
        return 0
    port = urllib.parse.urlsplit(base).netloc
    script = [
        "set -euo pipefail",
        # The one word of the page that is not so here.
        f'curl() {{ command curl --noproxy "*" --max-time 60 "${{@//localhost:5150/{port}}}"; }}',
    ]
    with tempfile.TemporaryDirectory() as folder:
        for number, (kind, block) in enumerate(blocks):
            if kind == "run":
                script += [f"exec >said.{number}", block]
        done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=folder, stderr=subprocess.PIPE, text=True, timeout=120)
        said = {number: (pathlib.Path(folder) / f"said.{number}") for number in range(len(blocks))}
        said = {number: file.read_text() for number, file in said.items() if file.exists()}
    if done.returncode:
        sys.exit(f"{page.name}: a command fails, after this was said: {list(said.values())[-1:]}\n{done.stderr}")
    for number, (kind, block) in enumerate(blocks):
        if kind == "prints":
            got = said[number - 1].replace("\r", "")
            if not re.match(pattern(block.rstrip("\n")), got, re.S):
                sys.exit(f"{page.name}: these commands\n{blocks[number - 1][1]}\nprint\n{got}\nand not\n{block}")
    return sum(kind == "run" for kind, _ in blocks)


match sys.argv[1:]:
    case ["check"]:
        found = list(mistakes())
        if found:
            sys.exit("\n".join(found))
    case ["write"]:
        for page in PAGES:
            page.write_text(shown(page))
    case ["run", base]:
        counts = {page.name: carry_out(page, base) for page in PAGES}
        if not counts["api.md"]:
            sys.exit("no command was carried out")
        print("pages:", ", ".join(f"{count} blocks of {name}" for name, count in counts.items() if count))
    case _:
        sys.exit(__doc__)
