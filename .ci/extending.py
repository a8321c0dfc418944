"""Follows a page to the letter: its ```sh blocks are run, one after the other; a block with the name of a file is put there,
where it says: `rust src/a.rs after: a line`. Fails at the first that cannot be."""

import re
import subprocess
import sys
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


done = 0
for language, info, text in BLOCK.findall(Path(sys.argv[1]).read_text()):
    info = info.strip()
    if language == "sh" and info != "by hand":
        print(f"+ {text.strip()}", flush=True)
        subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True)
        done += 1
    elif language == "rust" and info:
        file, _, place = info.partition(" ")
        print(f"= {file} {place}", flush=True)
        edit(file, place, text)
        done += 1
if done < 5:
    sys.exit(f"only {done} steps were found")
