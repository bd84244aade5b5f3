"""`tinychat tokenizer`: train one on its own, and look at how a text splits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from tinychat.cli.flags import READING_FLAGS, GivenFlags, Reading, data_settings
from tinychat.cli.output import Waiting, print_json, screen, tell
from tinychat.cli.token_view import print_tokens, with_ids
from tinychat.errors import DataError, SettingsError
from tinychat.words import count, inert, number

if TYPE_CHECKING:  # it takes a while to import
    from tinychat.text import Tokenizer

tokenizer_command = App(
    name="tokenizer",
    help="Train a tokenizer on its own, or look at how a text splits into tokens.",
)


@tokenizer_command.command(name="train")
def tokenizer_train(
    paths: list[str],
    /,
    *,
    out: Path,
    kind: Literal["bpe", "char"] = "bpe",
    vocab_size: int = 4096,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    reading: Reading = READING_FLAGS,
    given: GivenFlags,
) -> int:
    """Train a tokenizer on texts and write it as tokenizer.json, which Hugging Face reads too.

    A run trains its own, in the same way: on the training side, or a sample of 64 MB of it.

        tinychat tokenizer train my.txt --out tokenizer.json --vocab-size 1000

    Parameters
    ----------
    paths
        Files or folders, read as `tinychat train` reads them.
    out
        The file to write.
    kind
        Byte-level BPE, or one token a character.
    vocab_size
        Size of a BPE vocabulary, the 6 control tokens and 256 bytes included.
    overwrite
        Replace the file if there is one.
    """
    from tinychat.config import TokenizerSettings
    from tinychat.runs import Disk, replace_file
    from tinychat.text import Corpus, bytes_per_token, quality, survey, train_tokenizer

    data = data_settings(given, paths)
    if out.is_dir() or (out.exists() and not overwrite):
        raise SettingsError(f"{out} exists already; choose another name, or add --overwrite")
    with Waiting() as waiting:
        corpus = Corpus.scan(data, waiting)
        found = survey(corpus, data, seed=0, progress=waiting)
        wanted = TokenizerSettings(kind=kind, vocab_size=vocab_size)
        made = train_tokenizer(corpus, found, wanted, seed=0, progress=waiting)
        ratio = bytes_per_token(corpus, found, made)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(Disk(), out, made.to_json().encode())
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}.") from None
    told = f"{count(made.vocab_size, 'token')} from {inert(', '.join(paths))}"
    print(f"{told} written to {inert(str(out))}; {ratio:.2f} bytes per token")
    if warning := quality(made, ratio):
        tell(warning)
    print(f'look:  tinychat tokenizer show {inert(str(out))} "any text"')
    return 0


@tokenizer_command.command(name="show")
def show_tokens(
    source: str,
    text: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    checkpoints: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Show the tokens of a text with their ids.

        tinychat tokenizer show demo "Hello, how are you?"
        tinychat tokenizer show tokenizer.json "3 + 4 = 7" --json

    Parameters
    ----------
    source
        A run, a checkpoint, a tokenizer.json, or a Hugging Face model folder.
    text
        What to split.
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    as_json
        Print one JSON document instead.
    """
    tokenizer = _open(source, checkpoints)
    ids = tokenizer.encode(text)
    pieces = tokenizer.pieces(ids)
    n_bytes = len(text.encode())
    ratio = n_bytes / len(ids) if ids else None
    if as_json:
        print_json(
            {
                "kind": tokenizer.kind,
                "vocab_size": tokenizer.vocab_size,
                "text": text,
                "ids": ids,
                "pieces": pieces,
                "tokens": len(ids),
                "bytes": n_bytes,
                "bytes_per_token": ratio,
            }
        )
        return 0
    console = screen()
    print_tokens(console, with_ids(pieces, ids), notes=True)
    told = f"{count(len(ids), 'token')} for {count(n_bytes, 'byte')}"
    told += f", {ratio:.2f} bytes per token" if ratio is not None else ""
    console.print(f"{told}; {tokenizer.kind}, {number(tokenizer.vocab_size)} with control tokens")
    return 0


def _open(source: str, checkpoints: Path | None) -> "Tokenizer":
    """The tokenizer of a run, of a checkpoint, or in a file."""
    from tinychat.runs import (
        RunPaths,
        default_checkpoints,
        find_model,
        is_foreign,
        read_checkpoint,
    )
    from tinychat.text import Tokenizer, read_tokenizer_file

    file = Path(source)
    if not file.is_file():
        run, step = find_model(source, checkpoints or default_checkpoints())
        if step is not None:
            name = "tokenizer.json"
            files = read_checkpoint(RunPaths(run).checkpoint(step), only={name})
            return Tokenizer.from_json(files.files[name].decode())
        file = run / "tokenizer.json" if is_foreign(run) else RunPaths(run).tokenizer_json
    text = read_tokenizer_file(file)
    try:
        return Tokenizer.for_training(text)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
