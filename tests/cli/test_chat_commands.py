"""The commands of `chat`, each by what it changes in the talk that is saved at the end."""

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinychat.cli.slash import COMMANDS
from tinychat.config import RuntimeSettings
from tinychat.config.sampling import PRESETS
from tinychat.engine import Shelf, TextModel
from tinychat.runs import RunPaths
from tinychat.words import inert

from .conftest import Result, Tinychat
from .test_generate import damage

Copy = Callable[[str], Path]
Talk = Callable[..., "tuple[Result, list[Any]]"]


@pytest.fixture
def talk(piped: Tinychat, tmp_path: Path) -> Talk:
    """Chat with these lines; returns what came, and the messages of the talk as it was saved."""

    def call(*lines: str, run: str = "talk", flags: tuple[object, ...] = ()) -> Any:
        path = tmp_path / "talk.json"
        path.unlink(missing_ok=True)
        text = "\n".join([*lines, f"/save {path}"]) + "\n"
        found = piped(run, text, "--seed", 3, "--temperature", 0, *flags)
        assert found.code == 0, found.err
        return found, json.loads(path.read_text(encoding="utf-8"))["nodes"]

    return call


@pytest.fixture(scope="module")
def model(trained_runs: Path) -> TextModel:
    return Shelf(trained_runs, RuntimeSettings(threads=1)).open("talk").text


def answers(nodes: list[Any]) -> list[Any]:
    return [node for node in nodes if node["role"] == "assistant"]


def said(nodes: list[Any]) -> list[str]:
    return [node["text"] for node in nodes if node["role"] == "user"]


def test_every_command_is_told_somewhere(piped: Tinychat) -> None:
    told = piped("talk", "/help\n/settings\n").err
    hidden = {"save!", "exit"}
    assert [c.name for c in COMMANDS if c.name not in hidden and f"/{c.name}" not in told] == []
    assert "/save!" in told


def test_the_page_of_the_chat_names_every_command() -> None:
    page = (Path(__file__).parents[2] / "docs" / "chat.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`/([a-z-]+!?)", page))
    assert named == {command.name for command in COMMANDS} - {"exit"}


def test_the_nearest_command_is_named(piped: Tinychat) -> None:
    found = piped("talk", "/tempture 3\n/xyzzy\n/\n")
    assert "did you mean /temperature?" in found.err
    assert "there is no /xyzzy; /help tells" in found.err
    assert (found.code, found.out) == (0, "")


@pytest.mark.parametrize(
    ("name", "good", "value", "bad", "why"),
    [
        ("temperature", "0.5", 0.5, "2.1", "from 0 to 2, not 2.1"),
        ("top-k", "5", 5, "0", "from 1 up"),
        ("top-k", "off", None, "many", "'many' is not a number"),
        ("top-p", "0.9", 0.9, "2", "at most 1"),
        ("min-p", "0.1", 0.1, "nan", "from 0 to 1"),
        ("repetition-penalty", "1.5", 1.5, "0", "from 0.01 to 100"),
        ("repetition-guard", "off", False, "maybe", "on or off"),
        ("max-new-tokens", "2", 2, "1.5", "'1.5' is not a number"),
    ],
)
def test_a_setting_holds_for_the_next_answer(
    talk: Talk, name: str, good: str, value: object, bad: str, why: str
) -> None:
    found, nodes = talk("/seed 3", f"/{name} {good}", f"/{name} {bad}", f"/{name}", "Hello!")
    assert why in found.err
    assert found.err.count(f"{name} {good}\n") == 2, "set, and told when asked"
    assert answers(nodes)[0]["answer"]["settings"][name.replace("-", "_")] == value


def test_presets(talk: Talk) -> None:
    lines = [line for name in PRESETS for line in (f"/preset {name}", "Hello!")]
    found, nodes = talk("/top-p 0.5", *lines, "/top-k 7", "/preset", "/preset cosy")
    for (name, values), answer in zip(PRESETS.items(), answers(nodes), strict=True):
        expected = {"top_p": None, "min_p": None, "repetition_penalty": 1.0, **values}
        assert expected.items() <= answer["answer"]["settings"].items(), name
    assert "custom: repetition-penalty 1, temperature 0, top-k 7" in found.err
    assert "there is no preset cosy; there are balanced, careful" in found.err


def test_retry_keeps_versions_and_version_goes_back(talk: Talk, model: TextModel) -> None:
    lines = ["/preset wild", "Hello!", "/retry", "/retry", "/version 2", "/version 9", "And you?"]
    found, nodes = talk(*lines, "/version")
    first, second, third, last = answers(nodes)
    assert first["parent"] == second["parent"] == third["parent"]
    assert [each["answer"]["seed"] for each in (first, second, third, last)] == [3, 4, 5, 6]
    texts = [inert(each["text"], keep="\n\t") for each in answers(nodes)]
    assert found.out == "".join(f"{text}\n" for text in texts)
    assert f"version 2 of 3:\n{texts[1]}\n" in found.err
    assert "there is no version 9; the newest answer has 3 versions" in found.err
    assert "version 1 of 1:" in found.err
    shown = model.tokenizer.decode(last["answer"]["prompt_ids"])
    assert shown == "Hello!" + second["text"] + "And you?"


def test_edit_asks_otherwise_and_loses_nothing(talk: Talk, model: TextModel) -> None:
    found, nodes = talk("Hello!", "/edit Good day!", "/edit", "/version", "/version 1", "So?")
    assert said(nodes) == ["Hello!", "Good day!", "So?"]
    assert nodes[0]["parent"] is None
    assert nodes[2]["parent"] is None, "beside the message it stands for"
    first, second, last = answers(nodes)
    assert model.tokenizer.decode(second["answer"]["prompt_ids"]) == "Good day!"
    assert "version 2 of 2:" in found.err
    assert "in place of 'Good day!'" in found.err
    shown = model.tokenizer.decode(last["answer"]["prompt_ids"])
    assert shown == "Hello!" + first["text"] + "So?"


@pytest.mark.parametrize("run", ["talk", "story"])
def test_continue_goes_on_exactly_where_it_ended(talk: Talk, run: str) -> None:
    guard = "/repetition-guard off"
    _, whole = talk(guard, "/max-new-tokens 6", "Anna", run=run)
    found, parts = talk(guard, "/max-new-tokens 3", "Anna", "/continue", run=run)
    (once,) = answers(whole)
    short, longer = answers(parts)
    assert len(once["answer"]["answer_ids"]) == 6, "this model would not go on"
    assert longer["text"] == once["text"]
    assert (
        short["answer"]["answer_ids"] + longer["answer"]["answer_ids"]
        == (once["answer"]["answer_ids"])
    )
    assert "".join(found.out.splitlines()) == once["text"], "what came new is printed, no more"


def test_begin_is_what_answers_begin_with(talk: Talk, model: TextModel) -> None:
    found, nodes = talk("/begin Well, Anna", "Hello!", "/begin", "Hello!")
    first, second = answers(nodes)
    assert first["text"].startswith("Well, Anna")
    assert found.out.splitlines()[0] == first["text"]
    begin = model.tokenizer.encode("Well, Anna")
    assert first["answer"]["prompt_ids"][-len(begin) :] == begin
    assert second["answer"]["begin"] == ""
    _, nodes = talk("Hello!", flags=("--begin", "Well, Anna"))
    assert answers(nodes)[0]["text"] == first["text"]


def test_stop_ends_the_answer_before_a_text(talk: Talk) -> None:
    _, nodes = talk("Anna", run="story")
    text = answers(nodes)[0]["text"]
    word = text.split()[0]
    found, nodes = talk(f"/stop {word}", "Anna", "/stop", "Anna", run="story")
    first, second = answers(nodes)
    assert first["text"] == text[: text.index(word)]
    assert first["answer"]["finish_reason"] == "stop"
    assert second["text"] == text
    assert "stop off" in found.err


def test_another_checkpoint_answers_from_the_middle_on(talk: Talk, model: TextModel) -> None:
    lines = ["/model", "Hello!", "/model talk@10", "Hello!", "/model talk@7", "Hello!"]
    found, nodes = talk(*lines, "/model story", "Anna saw")
    steps = [(each["answer"]["run"], each["answer"]["step"]) for each in answers(nodes)]
    assert steps == [("talk", 20), ("talk", 10), ("talk", 10), ("story", 20)]
    assert [each["answer"]["mode"] for each in answers(nodes)] == ["chat"] * 3 + ["text"]
    shown = model.tokenizer.decode(answers(nodes)[1]["answer"]["prompt_ids"])
    assert shown == "Hello!" + answers(nodes)[0]["text"] + "Hello!"
    assert "  talk   0 10 20*  best 20" in found.err
    assert "has no checkpoint '7'" in found.err
    assert "it goes on with what you type" in found.err


class Script(io.BufferedIOBase):
    """An input of lines, with things that happen between them."""

    name = "script"

    def __init__(self, *steps: str | Callable[[], object]) -> None:
        self._steps = list(steps)

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1) -> bytes:
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, str):
                return f"{step}\n".encode()
            step()
        return b""


def test_newest_follows_a_run_between_answers(
    tinychat: Tinychat, copy_of: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, path = copy_of("talk"), tmp_path / "talk.json"
    newest, aside = RunPaths(run).checkpoint(20), tmp_path / "aside"
    newest.rename(aside)
    damage(run, 10)
    script = Script(
        "Hello!", "/newest", "Hello!", "Hello!", lambda: aside.rename(newest), "Hello!", "Hello!",
        "/settings", "/newest off", f"/save {path}",
    )  # fmt: skip
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(script))
    err = tinychat("chat", f"{run}@0", "--max-new-tokens", 2).err
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    assert [each["answer"]["step"] for each in answers(nodes)] == [0, 0, 0, 20, 20]
    assert err.count("is damaged") == 1, "told once"
    assert err.count("Step 0 goes on answering") == 1
    assert err.count("now at step 20") == 1
    assert "the newest one, always" in err
    assert "talk@20 answers from here on" in err


def test_a_model_from_elsewhere_has_no_newest(piped: Tinychat, copy_of: Copy) -> None:
    run = copy_of("talk")
    folder = run.parent / "elsewhere"
    RunPaths(run).checkpoint(20).rename(folder)
    (folder / "tinychat.json").unlink()
    found = piped(str(folder), "/newest\n/model\nHello!\n")
    assert "elsewhere was not trained here and has no steps" in found.err
    assert found.code == 0


def test_a_saved_talk_is_gone_on_with(talk: Talk, piped: Tinychat, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    lines = ["/system Be kind.", "Hello!", "/retry", "/version 1", f"/save {path}", "How are you?"]
    _, nodes = talk(*lines)
    found, again = talk("Forgotten.", f"/load {path}", "How are you?", "/reset", "Hello!")
    assert "2 messages; you go on from there" in found.err
    assert said(again) == ["Hello!"], "after /reset it is another talk"
    _, again = talk("Forgotten.", f"/load {path}", "How are you?")
    assert [n["text"] for n in again] == [n["text"] for n in nodes]
    assert again[:3] == nodes[:3], "with ids, times, seeds and all"
    assert again[-1]["answer"]["prompt_ids"] == nodes[-1]["answer"]["prompt_ids"]
    assert again[-1]["answer"]["system"] == "Be kind."


def test_a_talk_as_markdown(piped: Tinychat, tmp_path: Path) -> None:
    path = tmp_path / "talk.md"
    found = piped("talk", f"Hello!\n/save {path}\n")
    text = path.read_text(encoding="utf-8")
    assert "> Hello!" in text
    assert all(f"> {line}".rstrip() in text for line in found.out.splitlines())
    assert "talk@20" in text


def test_no_file_is_overwritten_in_silence(piped: Tinychat, tmp_path: Path) -> None:
    path = tmp_path / "talk.md"
    path.write_text("mine")
    found = piped("talk", f"Hello!\n/save {path}\n/save {tmp_path}/talk.doc\n/save\n")
    assert "is there already; /save!" in found.err
    assert "must end in .md" in found.err
    assert "/save needs the path" in found.err
    assert path.read_text() == "mine"
    piped("talk", f"Hello!\n/save! {path}\n")
    assert "Hello!" in path.read_text()


@pytest.mark.parametrize("path", ["nowhere/talk.md", "a\0b.md", "~nobody-of-that-name/talk.md"])
def test_a_talk_that_cannot_be_saved_goes_on(piped: Tinychat, tmp_path: Path, path: str) -> None:
    path = path if path.startswith("~") else f"{tmp_path}/{path}"
    found = piped("talk", f"/save {path}\n/load {path}\n/model {path}\nHello!\n")
    assert "cannot be written: " in found.err
    assert (found.code, len(found.out.splitlines())) == (0, 1)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", "null", '{"format": 2, "nodes": []}', '{"format": 1, "nodes": []}',
     '{"format": 1, "leaf": null, "nodes": [7]}',
     '{"format": 1, "leaf": "x", "nodes": [{"id": "x", "role": "user", "time": 1, "text": 2}]}',
     "[" * 100_000, "\udcff"],
)  # fmt: skip
def test_a_file_that_is_no_talk_changes_nothing(talk: Talk, tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    found, nodes = talk("/system Be kind.", "Hello!", f"/load {path}", "So?")
    assert str(path) in found.err or "newer tinychat" in found.err
    assert said(nodes) == ["Hello!", "So?"]
    assert answers(nodes)[1]["answer"]["system"] == "Be kind."


def test_inside_and_raw_tell_every_token(talk: Talk, model: TextModel) -> None:
    found, nodes = talk("/inside", "Hello!", "/inside", "/raw")
    answer = answers(nodes)[0]["answer"]
    assert "there is no answer yet" in found.err
    table = [line for line in found.err.splitlines() if line.startswith("  ‹")]
    pieces = model.tokenizer.pieces(answer["answer_ids"])
    assert len(table) == len(pieces) > 0
    for line, piece in zip(table, pieces, strict=True):
        assert f"‹{piece}›" in line
        assert "%     1" in line, "greedy: always the likeliest"
    for ids in (answer["prompt_ids"], answer["answer_ids"]):
        assert f"  {' '.join(map(str, ids))}\n" in found.err
    assert "<|user|>|" in found.err


def test_what_the_rules_took_away_stands_in_brackets(talk: Talk) -> None:
    found, _ = talk("/temperature 1", "/top-k 1", "Hello!", "/inside")
    assert "(‹" in found.err
    found, _ = talk("/temperature 1", "/top-k off", "Hello!", "/inside")
    assert "(‹" not in found.err


def test_stats(talk: Talk) -> None:
    found, nodes = talk("/stats on", "Hello!", "/retry", "/stats off", "Hello!")
    lines = [line for line in found.err.splitlines() if "· context " in line]
    assert len(lines) == 2
    stats = answers(nodes)[0]["answer"]["stats"]
    assert f"tinychat: {stats['new_tokens']} token" in lines[0]
    assert f"context {stats['context_used']}/64" in lines[0]
    assert lines[1].endswith("version 2")


def test_a_text_that_slides_through_the_context_fills_it(talk: Talk) -> None:
    found, _ = talk(
        "/max-new-tokens 100", "/repetition-guard off", "/stats on", "Anna", run="story"
    )
    assert "100 tokens" in found.err
    assert "longest answer reached · context 64/64" in found.err


def test_an_answer_that_repeats_itself_is_ended(talk: Talk) -> None:
    lines = ["/max-new-tokens 500", "/repetition-penalty 0.01"]  # what was there is preferred
    found, nodes = talk(*lines, "Anna saw", run="story")
    assert "it repeated itself and was ended; /repetition-penalty" in found.err
    assert answers(nodes)[0]["answer"]["finish_reason"] == "repetition"


def test_a_text_of_several_lines(talk: Talk) -> None:
    _, nodes = talk("```", "one", "", "/two", "```", "three")
    assert said(nodes) == ["one\n\n/two", "three"]


def test_a_block_ends_with_the_input(piped: Tinychat) -> None:
    assert len(piped("talk", "```\none\ntwo").out.splitlines()) == 1


def test_commands_before_anything_was_said(piped: Tinychat) -> None:
    found = piped("talk", "/retry\n/edit x\n/continue\n/version\n/version 1\n/inside\n/raw\n")
    assert found.err.count("there is no answer yet") == 7
    assert (found.code, found.out) == (0, "")


def test_an_empty_talk_is_saved_and_refused(piped: Tinychat, tmp_path: Path) -> None:
    place = tmp_path / "empty.json"
    found = piped("talk", f"/save {place}\n/load {place}\nHello!\n")
    assert found.code == 0
    assert len(found.out.splitlines()) == 1


def test_nothing_a_terminal_would_obey_gets_out(piped: Tinychat, tmp_path: Path) -> None:
    evil = "\x1b]0;x\x07\u202e"
    lines = [
        f"/{command.name} {evil}" for command in COMMANDS if command.name not in ("quit", "exit")
    ]
    found = piped("talk", "\n".join(["Hello!", *lines, f"/{evil}", evil, "/raw", "/settings"]))
    assert found.code == 0
    assert not set(found.out + found.err) & {"\x1b", "\x07", "\u202e"}
    assert "␛]0;x␇" in found.out, "/begin is shown, harmless"


@pytest.mark.parametrize("word", ["/quit", "/exit", "/QUIT"])
def test_leaving(piped: Tinychat, word: str) -> None:
    assert piped("talk", f"Hello!\n{word}\nHello!\n").out.count("\n") == 1
