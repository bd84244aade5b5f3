"""Words that name something on the Hugging Face hub become files that are here."""

from collections.abc import Sequence
from pathlib import Path

from tinychat.cli.output import Waiting, tell
from tinychat.words import inert


def is_on_hub(word: str | None) -> bool:
    """Whether a path or tokenizer is named by its place on the hub."""
    return word is not None and word.startswith("hf:")


def local_paths(words: Sequence[str], root: Path) -> tuple[list[str], str | None]:
    """(paths, licence) of what `--data` names: what begins with hf: is fetched, the rest stays."""
    paths: list[str] = []
    licences: list[str] = []
    for word in words:
        if not is_on_hub(word):
            paths.append(word)
            continue
        from tinychat.text.hub import fetch_dataset

        with Waiting() as waiting:
            found = fetch_dataset(word, root.absolute(), waiting)
        licence = found.licence or "not told"
        if found.anew:
            where = f"revision {found.revision[:12]}, kept in {found.folder}"
            tell(f"{word}: licence {inert(licence)}; {where}")
        licences.append(licence)
        paths += map(str, found.paths)
    return paths, ", ".join(dict.fromkeys(licences)) or None


def local_tokenizer(word: str, root: Path) -> str:
    """The path of a tokenizer that is named by its place on the hub."""
    from tinychat.text.hub import fetch_tokenizer

    with Waiting() as waiting:
        return str(fetch_tokenizer(word, root.absolute(), waiting))
