"""`tinychat data`: what the reader makes of your files, before anything is trained."""

from collections.abc import Sequence
from dataclasses import replace
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.cells import cell_len
from rich.console import Console

from tinychat.cli.flags import READING_FLAGS, SETTINGS, GivenFlags, Reading, settings_of
from tinychat.cli.hub import local_paths
from tinychat.cli.output import Waiting, print_json, screen
from tinychat.cli.token_view import has_colour, print_tokens, with_mask
from tinychat.config import Settings
from tinychat.errors import DataError
from tinychat.words import clip, count, inert, number, size, table

if TYPE_CHECKING:  # it takes a while to import
    from tinychat.text import CorpusDescription, FileReport

_SHOWN_FILES = 10
_SHOWN_NOTES = 8
_SHOWN_TURNS = 4
_TOKEN_LINES = 12  # with the marks beneath, where there is no colour


def data_command(
    paths: list[str] | None = None,
    /,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    reading: Reading = READING_FLAGS,
    settings: Annotated[Settings, Parameter(name="*", show=False)] = SETTINGS,
    given: GivenFlags,
) -> int:
    """Look at a corpus as the trainer would: formats, counts, bad records, one sample as tokens.

    Reads plain text, dialogues, JSON lines and arrays, tables, parquet, and folders of them, packed
    with gzip or not; nothing is written. The settings of `tinychat train` that decide how text is
    read may be given, such as --tokenizer.kind, --tokenizer.vocab-size, --data.loss and
    --data.validation-share.

        tinychat data my.txt
        tinychat data talks/ more.jsonl --tokenizer.kind char --json
        tinychat data faq.csv --user-field Frage --assistant-field Antwort

    Parameters
    ----------
    paths
        Files or folders, or hf:OWNER/NAME[:SPLIT] to fetch them (none: the built-in small talk).
    as_json
        Print one JSON document instead.
    """
    from tinychat.runs import default_checkpoints
    from tinychat.text import describe

    chosen = settings_of(given)
    here, _ = local_paths(paths or chosen.data.paths, default_checkpoints())
    data = replace(chosen.data, paths=tuple(here))
    reports: list[FileReport] = []
    try:
        with Waiting() as waiting:
            found = describe(
                data, chosen.tokenizer, seed=chosen.seed, progress=waiting, reports=reports
            )
    except DataError:
        for file in reports:  # what is wrong with a file may be why the whole is of no use
            if file.bad_records or file.left_out:
                _print_file(screen(stderr=True), file)
        raise
    if as_json:
        print_json(_document(found))
    else:
        _print(found, chosen)
    return 0


def _document(found: "CorpusDescription") -> dict[str, Any]:
    return {
        "form": found.form,
        "fingerprint": found.fingerprint,
        "bytes": found.n_bytes,
        "files": [_file(file) for file in found.files],
        "turns": found.turns,
        "bad_records": found.bad_records,
        "hints": list(found.hints),
        "split": {
            "rule": found.split_rule,
            "train_documents": found.train_documents,
            "valid_documents": found.valid_documents,
        },
        "vocab_size": found.vocab_size,
        "bytes_per_token": found.bytes_per_token,
        "target_share": found.target_share,
        "sample_text": [{"role": role, "content": content} for role, content in found.sample],
        "sample": [
            {"piece": piece, "learnt": learnt}
            for piece, learnt in zip(found.sample_pieces, found.sample_targets, strict=True)
        ],
    }


def _file(file: "FileReport") -> dict[str, Any]:
    return {
        "name": file.name,
        "holds": file.holds,
        "side": file.side,
        "bytes": file.n_bytes,
        "documents": file.documents,
        "turns": file.turns,
        "bad_records": file.bad_records,
        "bad_reasons": list(file.bad_reasons),
        "left_out": file.left_out,
        "unanswered": file.unanswered,
        "lone_surrogates": file.lone_surrogates,
        "garbled": file.garbled,
    }


# --- on a screen: the sample first, and what it all comes to last, where it is seen ------------


def _print(found: "CorpusDescription", settings: Settings) -> None:
    from tinychat.runs import default_checkpoints
    from tinychat.text import cache_size

    console = screen()
    one = "conversation" if found.form == "chat" else "document"
    console.print(f"one {one}", style="bold")
    _print_sample(console, found.sample)
    targets = found.sample_targets
    how = "green is learnt" if has_colour(console) else "^ is learnt"
    if found.form == "text" and not has_colour(console):
        how, targets = "all are learnt", (False,) * len(targets)  # no need to mark every one
    console.print(f"\nas tokens ({how})", style="bold")
    tokens = with_mask(found.sample_pieces, targets)
    left = print_tokens(console, tokens, notes=False, lines=_TOKEN_LINES)
    if left:
        console.print(f"… and {count(left, 'more token', 'more tokens')}", style="dim")
    console.print()
    for file in _worth_showing(found.files):
        _print_file(console, file)
    if len(found.files) > _SHOWN_FILES:
        told = sum(file.documents for file in found.files)
        console.print(f"{count(len(found.files), 'file')} in all, {count(told, one)}")
    for hint in found.hints[:_SHOWN_NOTES]:
        _say(console, f"note: {inert(hint)}", indent=2, style="yellow")
    if len(found.hints) > _SHOWN_NOTES:
        more = len(found.hints) - _SHOWN_NOTES
        console.print(f"and {count(more, 'more note')}; --json has them all", style="yellow")
    kind = "BPE" if settings.tokenizer.kind == "bpe" else "character"
    facts = [
        ("training", count(found.train_documents, one)),
        ("validation", count(found.valid_documents, one)),
        ("divided", found.split_rule),
        ("tokens", f"{found.bytes_per_token:.2f} bytes each ({kind} vocabulary of "
         f"{number(found.vocab_size)} from the beginning)"),
        ("learnt", f"{found.target_share:.0%} of the tokens"),
    ]  # fmt: skip
    cache = cache_size(default_checkpoints() / ".cache")
    if cache.n_bytes:
        told = count(cache.corpora, "prepared corpus", "prepared corpora")
        folder = inert(str(cache.folder))
        facts.append(("cache", f"{folder}: {told}, {size(cache.n_bytes)}; it may be deleted"))
    console.print()
    for line in table(facts):
        _say(console, line, indent=len("validation") + 2)


def _print_sample(console: Console, sample: Sequence[tuple[str, str]]) -> None:
    """Each turn on a line of its own, as far as it goes; of a text the first lines."""
    if sample[0][0] == "text":
        lines = [line for line in sample[0][1].splitlines() if line.strip()]
        rows = [("", line) for line in lines]
    else:
        rows = [(role, " ".join(content.split())) for role, content in sample]
    for role, words in rows[:_SHOWN_TURNS]:
        line = f"{role:<11}{inert(words)}" if role else inert(words)
        console.print(clip(line, console.width))
    if len(rows) > _SHOWN_TURNS:
        what = count(len(rows) - _SHOWN_TURNS, "more turn") if rows[0][0] else "so on"
        console.print(f"… and {what}", style="dim")


def _say(console: Console, line: str, *, indent: int, style: str = "") -> None:
    """A line, on a terminal wrapped between words; elsewhere programs may look for its words."""
    if console.is_terminal and cell_len(line) > console.width:
        line = fill(
            line, console.width, subsequent_indent=" " * indent,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    console.print(line, style=style)


def _worth_showing(files: "Sequence[FileReport]") -> "list[FileReport]":
    """The first files, and all with which something is wrong."""
    return [
        file
        for place, file in enumerate(files)
        if place < _SHOWN_FILES or file.bad_records or file.left_out or file.garbled
    ]


def _print_file(console: Console, file: "FileReport") -> None:
    console.print(inert(file.name), style="bold")
    talks = count(file.documents, "conversation") + f", {count(file.turns, 'turn')}"
    holds = talks if file.turns or file.left_out else count(file.documents, "document")
    side = {"train": ", for training", "valid": ", for validation", None: ""}[file.side]
    _say(console, f"  {holds}{side}; {inert(file.holds)}, {size(file.n_bytes)}", indent=4)
    if file.bad_records:
        console.print(f"  {count(file.bad_records, 'bad record')}, left out:", style="red")
        for reason in file.bad_reasons:
            _say(console, f"    {inert(reason)}", indent=6, style="red")
        more = file.bad_records - len(file.bad_reasons)
        if more > 0:
            console.print(f"    and {number(more)} more", style="red")
    for reason, times in file.left_out.items():
        told = f"  {count(times, 'conversation')} left out: {inert(reason)}"
        _say(console, told, indent=4, style="yellow")
    if file.unanswered:
        told = count(file.unanswered, "conversation ends", "conversations end")
        _say(console, f"  {told} with a question, which is left out", indent=4, style="yellow")
    if file.lone_surrogates:
        told = count(file.lone_surrogates, "half of a surrogate pair", "halves of surrogate pairs")
        _say(console, f"  {told} became U+FFFD", indent=4, style="yellow")
    if file.garbled:
        _say(console, f"  {inert(file.garbled)}", indent=4, style="yellow")
