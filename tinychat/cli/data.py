"""`tinychat data`: what the reader makes of your files, before anything is trained."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tinychat.cli.flags import SETTINGS, GivenFlags
from tinychat.cli.output import Waiting, print_json, screen, table
from tinychat.cli.token_view import print_tokens, with_mask
from tinychat.cli.words import count, inert, number, size
from tinychat.config import Settings
from tinychat.errors import SettingsError

if TYPE_CHECKING:  # it takes a while to import
    from tinychat.text import CorpusDescription, FileReport

_SHOWN_TOKENS = 300


def data_command(
    paths: list[str] | None = None,
    /,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    settings: Annotated[Settings, Parameter(name="*", show=False)] = SETTINGS,
    given: GivenFlags,
) -> int:
    """Look at a corpus as the trainer would: formats, counts, bad records, one sample as tokens.

    Reads text files, JSON lines of messages, instructions or texts, and folders of them; nothing
    is written. The settings of `tinychat train` that decide how text is read may be given, such
    as --tokenizer.kind, --tokenizer.vocab-size, --data.loss and --data.validation-share.

        tinychat data my.txt
        tinychat data talks/ more.jsonl --tokenizer.kind char --json

    Parameters
    ----------
    paths
        Files or folders (none: the built-in small talk).
    as_json
        Print one JSON document instead.
    """
    from tinychat.config.load import FLAGS, Layer, nest, read_preset, resolve
    from tinychat.text import describe

    layer = Layer(FLAGS, nest(given.values), text=True)
    try:
        chosen = resolve(read_preset("demo"), layer).settings
    except SettingsError as error:
        raise SettingsError(*given.problems(), *error.problems) from None
    if given.unknown:
        raise SettingsError(*given.problems())
    wanted = tuple(paths or chosen.data.paths)
    with Waiting() as waiting:
        found = describe(wanted, chosen.data, chosen.tokenizer, seed=chosen.seed, progress=waiting)
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
        "bad_records": file.bad_records,
        "bad_reasons": list(file.bad_reasons),
        "lone_surrogates": file.lone_surrogates,
    }


def _print(found: "CorpusDescription", settings: Settings) -> None:
    console = screen()
    one = "conversation" if found.form == "chat" else "document"
    rows = [
        (
            inert(file.name),
            inert(file.holds),
            size(file.n_bytes),
            count(file.documents, one) + (f" ({file.side})" if file.side else ""),
        )
        for file in found.files
    ]
    for file, line in zip(found.files, table(rows, right=(2, 3)), strict=True):
        console.print(line)
        _print_bad(file)
    for hint in found.hints:
        console.print(f"note: {inert(hint)}", style="yellow")
    kind = "BPE" if settings.tokenizer.kind == "bpe" else "character"
    facts = [
        ("split", f"{number(found.train_documents)} for training, "
         f"{number(found.valid_documents)} for validation: {found.split_rule}"),
        ("tokens", f"{found.bytes_per_token:.2f} bytes per token with a {kind} vocabulary of "
         f"{number(found.vocab_size)}, trained on the beginning"),
        ("learnt", f"{found.target_share:.0%} of the tokens"),
        ("fingerprint", found.fingerprint),
    ]  # fmt: skip
    console.print()
    for line in table(facts):
        console.print(line)
    how = "green is learnt" if console.color_system else "^ is learnt"
    console.print(f"\nthe first {one} as tokens ({how})", style="bold")
    tokens = with_mask(found.sample_pieces, found.sample_targets)
    print_tokens(console, tokens[:_SHOWN_TOKENS], notes=False)
    if len(tokens) > _SHOWN_TOKENS:
        console.print(f"… and {number(len(tokens) - _SHOWN_TOKENS)} more tokens")


def _print_bad(file: "FileReport") -> None:
    console = screen()
    if file.bad_records:
        console.print(f"  {count(file.bad_records, 'bad record')}, left out:", style="red")
        for reason in file.bad_reasons:
            console.print(f"    {inert(reason)}", style="red")
        more = file.bad_records - len(file.bad_reasons)
        if more > 0:
            console.print(f"    and {number(more)} more", style="red")
    if file.lone_surrogates:
        told = count(file.lone_surrogates, "half of a surrogate pair", "halves of surrogate pairs")
        console.print(f"  {told} became U+FFFD", style="yellow")
