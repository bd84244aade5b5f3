"""`tinychat feedback`: what people said of answers; taking it in, and letting it out."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from tinychat.cli.output import Waiting, print_json, screen, tell
from tinychat.conversations import (
    Feedback,
    Form,
    Judgement,
    Judgements,
    LeftOut,
    examples_of,
    feedback_file,
    method_of,
    read_feedback,
    to_trl,
    trl_to_bytes,
    unused_of,
    verdict_words,
)
from tinychat.errors import SettingsError
from tinychat.runs import Disk, default_checkpoints
from tinychat.words import clip, count, first_places, inert, number, table, with_places

ALL = "all"
_SHOWN = 20  # judgements that wait
_EXCERPT = 60  # characters


def feedback_command(
    paths: list[Path] | None = None,
    /,
    *,
    accept: list[str] | None = None,
    export: Path | None = None,
    form: Literal["preference", "unpaired", "prompt-completion"] = "preference",
    checkpoints: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Look at what people said of answers, accept what visitors said, and let it out.

    The chat page keeps picks, thumbs and better answers; `tinychat tune` makes a better checkpoint
    of them. What came from another machine waits until you accept it. Preference data of other
    makers is read in TRL's forms, and written in them too, so that yours can leave: conversations
    and labels, without ids, models and times.

        tinychat feedback
        tinychat feedback --accept all
        tinychat feedback --export pairs.jsonl --form preference

    Parameters
    ----------
    paths
        Files of feedback or of TRL's forms (.jsonl, .json), or folders of runs (none: the folder
        of --checkpoints).
    accept
        Ids, or the beginnings of ids, of judgements that wait for review; or all.
    export
        A new file for what counts.
    form
        preference: pairs of answers; unpaired: answers that are good or bad; prompt-completion:
        good answers.
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    as_json
        Print one JSON document instead.
    """
    here = paths or [checkpoints or default_checkpoints()]
    files = [feedback_file(path) for path in here]
    accepted = _accept(files, accept) if accept else []
    with Waiting() as waiting:
        judged = read_feedback(files, progress=waiting)
    written = _export(judged, form, export) if export is not None else []
    if as_json:
        print_json(_document(files, judged, accepted, written, form))
    else:
        _print(files, judged, accepted)
        for path, rows in written:
            screen().print(f"wrote {count(rows, 'row')} to {inert(str(path))}")
        if written:
            _print_left_out(f"not in {form}", unused_of(judged, method_of(form)))
    return 0


# --- acceptance -------------------------------------------------------------------------------


def _accept(files: Sequence[Path], wanted: Sequence[str]) -> list[str]:
    """Accept judgements of one file of ours; returns their ids."""
    (file, *others) = files
    if others or file.name != "feedback.jsonl" or file.absolute().parent.name != ".chats":
        raise SettingsError(
            "--accept is for the feedback of one folder of runs; name that alone, by --checkpoints"
        )
    feedback = Feedback(file.absolute().parents[1])
    waiting = [mark.id for mark in feedback.marks() if not mark.reviewed]
    ids = waiting if list(wanted) == [ALL] else [_full_id(each, waiting) for each in wanted]
    for id in dict.fromkeys(ids):
        feedback.review(id)
    return list(dict.fromkeys(ids))


def _full_id(begin: str, waiting: Sequence[str]) -> str:
    found = [id for id in waiting if begin and id.startswith(begin)]
    if len(found) != 1:
        what = "several judgements that wait" if found else "no judgement that waits"
        raise SettingsError(
            f"{begin!r} is {what} for review; `tinychat feedback` shows them with their ids"
        )
    return found[0]


# --- export -----------------------------------------------------------------------------------


def _export(judged: Judgements, form: Form, path: Path) -> list[tuple[Path, int]]:
    """Write what a form can hold; returns the files with their rows.

    Texts that were continued go into a file beside it: a column of a table has one type.
    """
    parts = [(path, to_trl(judged, form)), (path, to_trl(judged, form, texts=True))]
    if all(rows for _, rows in parts):
        parts[1] = (path.with_name(f"{path.stem}-texts{path.suffix}"), parts[1][1])
    parts = [(file, rows) for file, rows in parts if rows]
    if not parts:
        raise SettingsError(f"there is nothing that the form {form} could hold, so nothing written")
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"{path.absolute().parent} is not there; make it, or name another")
    for file, _ in parts:
        if file.exists():
            raise SettingsError(f"{file} is there already; name a file that is not")
    for file, rows in parts:
        _write(file, trl_to_bytes(rows))
    return [(file, len(rows)) for file, rows in parts]


def _write(path: Path, data: bytes) -> None:
    disk = Disk()
    try:
        disk.write_file(path, data)
    except FileExistsError:
        raise SettingsError(f"{path} is there already; name a file that is not") from None
    except OSError:
        path.unlink(missing_ok=True)  # half of it
        raise
    disk.fsync(path)
    disk.fsync_folder(path.absolute().parent)


# --- what is told -----------------------------------------------------------------------------


def _print(files: Sequence[Path], judged: Judgements, accepted: Sequence[str]) -> None:
    console = screen()
    for file in files:
        console.print(inert(str(file)), style="bold")
    console.print(str(judged.counts))
    teaches = _teaches(judged)
    if teaches:
        told = ", ".join(f"{number(n)} by {objective}" for objective, n in teaches.items())
        console.print(f"examples for `tinychat tune`: {told}")
    _print_texts(judged)
    _print_left_out("left out", {**judged.left_out, **unused_of(judged, "auto")})
    if accepted:
        console.print(f"accepted {count(len(accepted), 'judgement')}")
    if not judged.waiting:
        return
    console.print("\nwaiting for review (--accept ID, or --accept all)", style="bold")
    rows = [
        (inert(each.source), _verdict(each), _excerpt(_asked(each)), _excerpt(_said(each)))
        for each in judged.waiting[:_SHOWN]
    ]
    for line in table([("id", "said", "of the question", "and the answer"), *rows]):
        console.print(line)
    if len(judged.waiting) > _SHOWN:
        tell(f"and {number(len(judged.waiting) - _SHOWN)} more; --json has them all")


def _print_texts(judged: Judgements) -> None:
    """How what is no list of messages will be read."""
    plain, texts = _texts(judged)
    for sources, told in (
        (plain, "plain texts: learnt as questions and answers by a model that chats"),
        (texts, "texts that go on, and are learnt as such by any model"),
    ):
        if sources:
            where = inert(first_places(sources, len(sources)))
            screen().print(f"{number(len(sources))} of {told} ({where})")


def _print_left_out(title: str, left_out: dict[str, LeftOut]) -> None:
    if not left_out:
        return
    console = screen()
    console.print(f"{title}:", style="yellow")
    for reason, each in left_out.items():
        told = inert(with_places(each.count, reason, each.places))
        console.print(f"  {told}", style="yellow")


def _document(
    files: Sequence[Path],
    judged: Judgements,
    accepted: Sequence[str],
    written: Sequence[tuple[Path, int]],
    form: Form,
) -> dict[str, Any]:
    unused = {**judged.left_out, **unused_of(judged, "auto")}
    plain, texts = _texts(judged)
    document: dict[str, Any] = {
        "format": 1,
        "files": [str(file) for file in files],
        **asdict(judged.counts),
        "examples": _teaches(judged),
        "plain_texts": len(plain),
        "other_texts": len(texts),
        "left_out": {reason: each.count for reason, each in unused.items()},
        "places": {reason: list(each.places) for reason, each in unused.items()},
        "waiting": [
            {
                "id": each.source,
                "verdict": _verdict(each),
                "asked": _asked(each),
                "said": _said(each),
            }
            for each in judged.waiting
        ],
        "accepted": list(accepted),
    }
    if written:
        not_held = unused_of(judged, method_of(form))
        document["export"] = {
            "form": form,
            "files": [{"path": str(path), "rows": rows} for path, rows in written],
            "left_out": {reason: each.count for reason, each in not_held.items()},
        }
    return document


def _texts(judged: Judgements) -> tuple[list[str], list[str]]:
    """Where plain texts with a prompt of their own stand, and where other texts that go on."""
    texts = [each for each in judged.judged if isinstance(each.prompt, str)]
    plain = [each.source for each in texts if each.is_plain]
    return plain, [each.source for each in texts if not each.is_plain]


def _teaches(judged: Judgements) -> dict[str, int]:
    """How many examples of each objective there are by the method auto."""
    found = [each.objective for each in examples_of(judged, "auto")]
    return {objective: found.count(objective) for objective in dict.fromkeys(found)}


def _verdict(said: Judgement) -> str:
    return verdict_words(said.kind, said.verdict, said.chosen, len(said.replies))


def _asked(said: Judgement) -> str:
    if isinstance(said.prompt, str):
        return said.prompt
    return said.prompt[-1]["content"] if said.prompt else ""


def _said(said: Judgement) -> str:
    return (said.rewrite or said.replies[said.chosen or 0]).text


def _excerpt(text: str) -> str:
    """How a text begins, in one line that no terminal obeys."""
    return inert(clip(" ".join(text[: 4 * _EXCERPT].split()), _EXCERPT))
