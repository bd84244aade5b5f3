"""Words that name something on the Hugging Face hub become files that are here."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinychat.cli.output import Waiting, tell

if TYPE_CHECKING:
    from tinychat.text.hub import Fetched

NOT_TOLD = "not told"


def is_on_hub(word: str | None) -> bool:
    """Whether a path or tokenizer is named by its place on the hub."""
    return word is not None and word.startswith("hf:")


def lasting(word: str) -> str:
    """A word of `--data` in a form that means the same from any folder, for a run finds it again
    by that."""
    from tinychat.text import is_built_in

    return word if is_on_hub(word) or is_built_in(word) else str(Path(word).absolute())


def local_paths(words: Sequence[str], root: Path) -> tuple[list[str], str | None]:
    """(paths, licence) of what `--data` names: what begins with hf: is fetched, the rest stays.

    Of several sources each licence names whose it is; without any of the hub there is none.
    """
    paths: list[str] = []
    sources: dict[str, list[str]] = {}  # by licence
    for word in words:
        if not is_on_hub(word):
            paths.append(word)
            sources.setdefault(NOT_TOLD, []).append(Path(word).name)
            continue
        from tinychat.text.hub import fetch_dataset

        with Waiting() as waiting:
            found = fetch_dataset(word, root.absolute(), waiting)
        _remark(word, found)
        sources.setdefault(found.licence or NOT_TOLD, []).append(found.repository)
        paths += map(str, found.paths)
    if not any(map(is_on_hub, words)):
        return paths, None
    if len(words) == 1:
        return paths, next(iter(sources))
    return paths, "; ".join(f"{told} ({', '.join(of)})" for told, of in sources.items())


def local_tokenizer(word: str, root: Path) -> str:
    """The path of a tokenizer that is named by its place on the hub."""
    from tinychat.text.hub import fetch_tokenizer

    with Waiting() as waiting:
        found = fetch_tokenizer(word, root.absolute(), waiting)
    _remark(word, found)
    return str(found.paths[0])


def _remark(word: str, found: "Fetched") -> None:
    """Say what was fetched just now, or what is taken without having asked."""
    revision = f"revision {found.revision[:12]}"
    if found.offline:
        tell(
            f"{word}: the hub cannot be asked ({found.offline}); taking {revision}, fetched before"
        )
    elif found.anew:
        licence = found.licence or NOT_TOLD
        tell(f"{word}: licence {licence}; {revision}, kept in {found.folder}")
