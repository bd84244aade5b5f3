"""A program that teaches a model through pipes, for tests of `teach`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

QUICK = ("--max-new-tokens", "8", "--device", "cpu", "--dtype", "fp32")
Event = dict[str, Any]


class Teacher:
    """A program that teaches through pipes: answers what it is asked by the newest event."""

    def __init__(self, runs: Path, *words: str, name: str = "talk") -> None:
        command = ["teach", name, "--checkpoints", str(runs), "--seed", "1", "--json-lines"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tinychat", *command, *QUICK, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            encoding="utf-8", env=os.environ,
        )  # fmt: skip
        self.seen: list[Event] = []

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def until(self, kind: str) -> Event:
        """Listen up to an event of this kind."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            self.seen.append(event)
            if event["kind"] == kind:
                return event
        raise AssertionError(f"no {kind} in {self.seen[-8:]}")

    def pick_shortest(self) -> Event:
        """Ask what is suggested, and pick the answer with the fewest characters."""
        self.until("asks_prompt")
        self.say("")
        texts = self.until("answers")["answers"]
        self.until("asks_key")
        self.say(str(min(range(len(texts)), key=lambda place: len(texts[place])) + 1))
        return self.until("kept")

    def end(self) -> int:
        self.say("q")
        self.process.communicate()
        return self.process.returncode


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
