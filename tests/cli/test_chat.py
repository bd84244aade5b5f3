"""`chat`: through a pipe it is a program, on a terminal it is a talk."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinychat.cli.terminal import Lines
from tinychat.words import columns_of

from .conftest import Tinychat
from .terminal import Terminal


def test_one_turn_a_line_one_answer_a_line(piped: Tinychat) -> None:
    found = piped("talk", "Hello!\n\nMy name is Mia.\n", "--seed", 1, "--temperature", 0)
    assert (found.code, found.err) == (0, "")
    assert len(found.out.splitlines()) == 2
    again = piped("talk", "Hello!\n\nMy name is Mia.\n", "--seed", 1, "--temperature", 0)
    assert again.out == found.out


def test_slash_commands(piped: Tinychat) -> None:
    script = (
        "/help\n/temperature 0\n/temperature hot\n/temperature -2\n/seed 3\nHello!\n/reset\n"
        "/seed 3\nHello!\n/system Be kind.\nHello!\n/nonsense\n/quit\nnever said\n"
    )
    found = piped("talk", script)
    assert found.code == 0
    first, second, _ = found.out.splitlines()
    assert first == second
    for piece in ("/system TEXT", "temperature 0", "'hot' is not a number", "from 0 to 2, not -2",
                  "seed 3", "forgotten", "told that first", "there is no /nonsense"):  # fmt: skip
        assert piece in found.err, piece


def test_a_talk_that_outgrows_the_context_says_so(piped: Tinychat) -> None:
    found = piped("talk", "My name is Anna and I like apples and boats.\n" * 4)
    assert len(found.out.splitlines()) == 4
    assert re.search(
        r"context \d+ of 64 tokens; the model no longer sees \d+ oldest turn", found.err
    )


def test_a_base_model_goes_on_with_the_text(piped: Tinychat) -> None:
    found = piped("story", "Anna saw\n", "--seed", 1, "--temperature", 0.8)
    assert found.code == 0
    assert found.out.strip()


def test_bytes_that_are_no_text_do_not_end_it(trained_runs: Path) -> None:
    words = ["chat", "talk", "--checkpoints", str(trained_runs), "--max-new-tokens", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "tinychat", *words],
        input=b"\xff\xfe hello\n", capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_stops_the_answer_and_ctrl_d_leaves(trained_runs: Path) -> None:
    # greedy, a model that has learnt nothing repeats itself for ever
    words = ["--temperature", "0", "--max-new-tokens", "1000000", "--no-repetition-guard"]
    terminal = Terminal("chat", "story", "--checkpoints", str(trained_runs), *words)
    try:
        terminal.read_until("goes on with what you type")
        terminal.read_until("you › ")
        terminal.insist("\x03", r"Ctrl\+D leaves.*you › ")
        terminal.type("Anna saw\n")
        terminal.read_until("story › .{20}")  # it would go on for hours
        terminal.insist("\x03", "tok/s .* stopped by you .* context .*you › ")
        terminal.type("```\n/seed 1\n")
        terminal.read_until("… .*… ")
        terminal.insist("\x03", "you › ")  # a block is given up
        # the Tab key finishes a command; a Ctrl+C that is still heard may undo it
        terminal.insist("/see\t 4\n", "seed 4.*you › ")
        terminal.type("\x04")
        assert terminal.process.wait(timeout=60) == 0
    finally:
        terminal.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_talk_that_is_ended_from_outside_leaves_nothing_behind(
    trained_runs: Path, tmp_path: Path, number: int
) -> None:
    words = ["chat", "talk", "--checkpoints", str(trained_runs), "--max-new-tokens", "2"]
    talk = subprocess.Popen(
        [sys.executable, "-m", "tinychat", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert talk.stdin is not None
    assert talk.stdout is not None
    try:
        talk.stdin.write(b"Hello!\n")
        talk.stdin.flush()
        assert talk.stdout.readline()
        assert list(tmp_path.glob("tinychat-*/*.jsonl"))
        for _ in range(20):  # it waits if it comes just before a line is waited for
            talk.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                talk.wait(timeout=5)
                break
    finally:
        talk.kill()
    assert talk.wait() == 128 + number
    assert not list(tmp_path.glob("tinychat-*"))


@settings(max_examples=200)
@given(st.lists(st.text("ab 你é\t\n", max_size=12), max_size=12), st.integers(4, 30))
def test_lines_end_between_words(pieces: list[str], width: int) -> None:
    whole = "".join(pieces)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        lines = Lines(width)
        for piece in pieces:
            lines.put(piece)
    seen = as_on_a_screen(shown.getvalue())
    assert all(columns_of(line) <= width for line in seen)
    # nothing is lost, and only blanks become ends of lines, unless a word fills a line
    assert "".join("".join(seen).split()) == "".join(whole.split())
    if all(columns_of(word) <= width for word in whole.split()):
        assert " ".join(seen).split() == whole.split()


def as_on_a_screen(text: str) -> list[str]:
    """The lines that a terminal shows of a text with backspaces."""
    lines: list[list[str]] = [[]]  # a cell each; the second of a wide character is ""
    place = 0
    for character in text:
        if character == "\b":
            place -= 1
        elif character == "\n":
            lines.append([])
            place = 0
        else:
            cells = [character, *[""] * (columns_of(character) - 1)]
            lines[-1][place : place + len(cells)] = cells
            place += len(cells)
    return ["".join(line) for line in lines]
