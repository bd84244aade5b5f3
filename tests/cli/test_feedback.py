"""`tinychat feedback`: what there is, what waits, what is accepted, and what leaves."""

import json
from pathlib import Path

import pytest

from tinychat.conversations import Answer, Feedback, examples_of, read_feedback

from .conftest import Tinychat, spawn
from .test_start import heavy_modules_after

HI = [{"role": "user", "content": "Hi\x1b[31m there"}]


def answer(text: str, mode: str = "chat") -> Answer:
    return Answer(
        text=text, prompt_ids=[0], answer_ids=[1], run="secret-run", step=7, settings={}, seed=1,
        finish_reason="end", mode=mode,  # pyright: ignore
    )  # fmt: skip


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A folder of runs with a judgement of each kind, one undone, and two that wait."""
    feedback = Feedback(tmp_path / "checkpoints")
    feedback.pick(HI, [answer(text) for text in "abc"], 1)
    feedback.rewrite(HI, answer("old"), "new")
    feedback.thumb("up", HI, answer("good"))
    feedback.undo(feedback.thumb("down", HI, answer("undone")))
    feedback.thumb("down", HI, answer("\x1b]0;owned\x07 bad"), reviewed=False)
    feedback.rewrite(HI, answer("theirs"), "their better one", reviewed=False)
    return tmp_path / "checkpoints"


def waiting_ids(checkpoints: Path) -> list[str]:
    return [mark.id for mark in Feedback(checkpoints).marks() if not mark.reviewed]


def test_it_tells_what_there_is_and_what_is_left_out(tinychat: Tinychat, checkpoints: Path) -> None:
    found = tinychat("feedback", "--checkpoints", checkpoints)
    assert (found.code, found.err) == (0, "")
    for piece in (
        "1 pick, 1 thumb, 1 rewrite",
        "2 by dpo, 1 by sft, 1 by kto",
        "1 undone (feedback.jsonl:4)",
        "2 not reviewed (feedback.jsonl:6, feedback.jsonl:7)",
        "thumb down",
        "their better one",
        *waiting_ids(checkpoints),
    ):
        assert piece in found.out, piece
    assert "\x1b" not in found.out
    assert "\x07" not in found.out
    told = tinychat("feedback", checkpoints, "--json").json
    assert (told["picks"], told["thumbs"], told["rewrites"]) == (1, 1, 1)
    assert told["examples"] == {"dpo": 2, "sft": 1, "kto": 1}
    assert told["left_out"] == {"undone": 1, "not reviewed": 2}
    assert [each["id"] for each in told["waiting"]] == waiting_ids(checkpoints)
    assert [each["verdict"] for each in told["waiting"]] == ["thumb down", "written better"]
    assert told["waiting"][0]["asked"] == HI[0]["content"]


def test_what_waits_is_accepted_one_by_one_or_all(tinychat: Tinychat, checkpoints: Path) -> None:
    first, second = waiting_ids(checkpoints)
    done = tinychat("feedback", "--checkpoints", checkpoints, "--accept", first[:6], "--json").json
    assert done["accepted"] == [first]
    assert waiting_ids(checkpoints) == [second]
    assert done["thumbs"] == 2
    done = tinychat("feedback", "--checkpoints", checkpoints, "--accept", "all")
    assert done.code == 0
    assert "accepted 1 judgement" in done.out
    assert waiting_ids(checkpoints) == []
    assert read_feedback([checkpoints]).counts.rewrites == 2
    again = tinychat("feedback", "--checkpoints", checkpoints, "--accept", first)
    assert again.code == 2
    assert "is no judgement that waits for review" in again.err
    assert tinychat("feedback", "--checkpoints", checkpoints, "--accept", "all").code == 0


def test_nothing_is_accepted_if_one_of_the_ids_is_wrong(
    tinychat: Tinychat, checkpoints: Path, tmp_path: Path
) -> None:
    first, second = waiting_ids(checkpoints)
    for wrong in ("", "zz"):
        found = tinychat("feedback", "--checkpoints", checkpoints, "--accept", first, wrong)
        assert found.code == 2
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes((checkpoints / ".chats" / "feedback.jsonl").read_bytes())
    assert tinychat("feedback", copy, "--accept", "all").code == 2
    assert tinychat("feedback", checkpoints, copy, "--accept", "all").code == 2
    assert waiting_ids(checkpoints) == [first, second]


@pytest.mark.parametrize(
    ("form", "rows", "method", "left_out"),
    [
        ("preference", 3, "dpo", {"no second answer to compare with": 1}),
        ("unpaired", 6, "kto", {}),
        ("prompt-completion", 3, "sft", {}),
    ],
)
def test_what_leaves_comes_back_and_says_nothing_of_who_and_where(
    tinychat: Tinychat, checkpoints: Path, tmp_path: Path,
    form: str, rows: int, method: str, left_out: dict[str, int],
) -> None:  # fmt: skip
    out = tmp_path / "out.jsonl"
    words = ("feedback", "--checkpoints", checkpoints, "--export", out, "--form", form)
    told = tinychat(*words, "--json").json["export"]
    assert told["files"] == [{"path": str(out), "rows": rows}]
    assert told["left_out"] == left_out
    text = out.read_text(encoding="utf-8")
    assert len(text.splitlines()) == rows
    assert "secret-run" not in text
    assert all(each.source not in text for each in read_feedback([checkpoints]).judged)
    back, sent = (
        [
            (each.prompt, each.chosen, each.rejected)
            for each in examples_of(read_feedback([path]), method)  # pyright: ignore
        ]
        for path in (out, checkpoints)
    )
    assert back == sent
    assert tinychat("feedback", out).code == 0
    refused = tinychat(*words)
    assert refused.code == 2
    assert "is there already" in refused.err
    assert out.read_text(encoding="utf-8") == text


def test_how_plain_texts_are_read_is_told(tinychat: Tinychat, tmp_path: Path) -> None:
    plain = tmp_path / "plain.jsonl"
    plain.write_text(
        '{"prompt": "Hi", "chosen": "Hello", "rejected": "x"}\n'
        '{"chosen": "The sky is blue", "rejected": "The sky is red"}\n',
        encoding="utf-8",
    )
    found = tinychat("feedback", plain)
    assert "1 of plain texts: learnt as questions and answers by a model that chats" in found.out
    assert "1 of texts that go on, and are learnt as such by any model (plain.jsonl:2)" in found.out
    told = tinychat("feedback", plain, "--json").json
    assert (told["plain_texts"], told["other_texts"]) == (1, 1)


def test_texts_and_conversations_leave_in_files_of_their_own(
    tinychat: Tinychat, checkpoints: Path, tmp_path: Path
) -> None:
    Feedback(checkpoints).thumb("up", HI, answer(" and on", mode="text"))
    out = tmp_path / "out.jsonl"
    found = tinychat("feedback", checkpoints, "--export", out, "--form", "unpaired")
    assert found.code == 0
    texts = tmp_path / "out-texts.jsonl"
    assert f"wrote 6 rows to {out}" in found.out
    assert f"wrote 1 row to {texts}" in found.out
    assert json.loads(texts.read_text())["completion"] == " and on"


def test_what_cannot_be_done_is_one_sentence(tinychat: Tinychat, tmp_path: Path) -> None:
    empty, wrong = tmp_path / "empty", tmp_path / "wrong.jsonl"
    empty.mkdir()
    wrong.write_text('{"text": "Once upon a time"}\n')
    thumbs = tmp_path / "thumbs.jsonl"
    thumbs.write_text('{"prompt": "Hi", "completion": "Yes", "label": false}\n')
    for words, code, piece in (
        (["--checkpoints", empty], 2, "No feedback was given"),
        ([tmp_path / "nowhere.jsonl"], 2, "is not there"),
        ([wrong], 1, "wrong.jsonl, line 1"),
        ([thumbs, "--export", tmp_path / "out.jsonl"], 2, "nothing that the form preference"),
        ([thumbs, "--export", tmp_path / "no" / "x", "--form", "unpaired"], 2, "is not there"),
    ):
        found = tinychat("feedback", *words)
        assert (found.code, found.out) == (code, "")
        assert piece in found.err
        assert len(found.err.splitlines()) == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_it_starts_without_torch(checkpoints: Path, tmp_path: Path) -> None:
    words = ["feedback", str(checkpoints), "--export", str(tmp_path / "out.jsonl")]
    code = f"from tinychat.cli.app import run\nassert run({words}) == 0"
    assert heavy_modules_after(code) == "[]"


def test_the_real_command_in_a_process_of_its_own(checkpoints: Path) -> None:
    found = spawn("feedback", "--checkpoints", checkpoints, "--json")
    assert (found.code, found.err) == (0, "")
    assert found.json["picks"] == 1
