"""Data sets and vocabularies from the Hugging Face hub, fetched only when somebody names one.

A data set is `hf:OWNER/NAME`, with a folder of it behind another slash and a split behind a colon:
`hf:OWNER/NAME/FOLDER:SPLIT`. Its data files are fetched at one revision; sizes and, where the hub
knows them, sha256 are checked. Where the hub cannot be reached, what was fetched before for the
same name is taken.
"""

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinychat.errors import DataError, SettingsError
from tinychat.runs import Disk, remove_tree
from tinychat.text.corpus import Progress
from tinychat.text.hub_folder import (
    FETCHING,
    FILES,
    HubFile,
    Record,
    add_name,
    bytes_in,
    clear,
    hold,
    is_plain,
    kept,
    names_of,
    newest_kept,
    publish,
    repository_folder,
)
from tinychat.words import clip, inert

PREFIX = "hf:"
_POLL_SECONDS = 0.2
_LONGEST_LICENCE = 200  # characters
# The same text often lies there in several forms; the first of these that there is, is taken.
_FORMS = ((".parquet",), (".jsonl", ".jsonl.gz", ".ndjson"), (".json", ".json.gz"),
          (".csv", ".tsv", ".csv.gz"), (".txt", ".txt.gz"))  # fmt: skip

_NO_DATA = {"config.json", "dataset_info.json", "dataset_infos.json", "tokenizer.json",
            "tokenizer_config.json", "requirements.txt", "LICENSE.txt"}  # fmt: skip


@dataclass(frozen=True)
class Fetched:
    """Files of the hub that are here now."""

    repository: str
    revision: str  # the commit
    licence: str | None
    folder: Path
    files: tuple[str, ...]  # within the folder
    anew: bool  # fetched just now
    offline: str = ""  # why the hub was not asked, in words

    @property
    def paths(self) -> list[Path]:
        return [self.folder / FILES / name for name in self.files]


class _UnreachableError(DataError):
    """Why the hub did not answer."""


def fetch_dataset(name: str, into: Path, progress: Progress | None = None) -> Fetched:
    """The data files of `hf:OWNER/NAME[/FOLDER][:SPLIT]`; what is here is not fetched again.

    Raises SettingsError for a name that is none or that the hub does not know, DataError where it
    cannot be reached or sends something else than it should.
    """
    found = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)((?:/[\w.-]+)*)(?::([\w.-]+))?", name)
    if not found:
        raise SettingsError(f"{name!r} is no data set of the hub; write hf:OWNER/NAME[:SPLIT]")
    repository, folder, split = found[1], found[2].strip("/"), found[3]

    def chosen(files: Sequence[HubFile]) -> list[HubFile]:
        return _choose(files, folder, split, name)

    return _fetch(name, repository, "dataset", chosen, into, progress)


def fetch_tokenizer(name: str, into: Path, progress: Progress | None = None) -> Fetched:
    """The tokenizer.json of the model `hf:OWNER/NAME`. Raises as `fetch_dataset`."""
    if not re.fullmatch(r"hf:[\w.-]+/[\w.-]+", name):
        raise SettingsError(f"{name!r} is no model of the hub; write hf:OWNER/NAME")

    def chosen(files: Sequence[HubFile]) -> list[HubFile]:
        wanted = [file for file in files if file.name == "tokenizer.json"]
        if not wanted:
            raise SettingsError(f"{name} has no tokenizer.json")
        return wanted

    return _fetch(name, name.removeprefix(PREFIX), "model", chosen, into, progress)


def _choose(files: Sequence[HubFile], folder: str, split: str | None, name: str) -> list[HubFile]:
    """The data files of that folder and split, in one form."""
    here = [f for f in files if not folder or f.name.startswith(f"{folder}/")]
    here = [f for f in here if f.name.rpartition("/")[2] not in _NO_DATA]
    data = [[f for f in here if f.name.lower().endswith(ends)] for ends in _FORMS]
    taken = next((each for each in data if each), [])
    if split:
        word = re.compile(rf"(?:^|[/_.-]){re.escape(split)}(?:[/_.-]|$)")
        taken = [file for file in taken if word.search(file.name)]
    if not taken:
        known = inert(", ".join(names_of(files[:12]))) or "nothing"
        raise SettingsError(f"{name}: no data file of that name; there are {known}")
    return taken


def _fetch(
    name: str,
    repository: str,
    kind: str,
    choose: Callable[[Sequence[HubFile]], list[HubFile]],
    into: Path,
    progress: Progress | None,
) -> Fetched:
    folder = repository_folder(into, repository)
    if progress:
        progress(f"asking for {repository}", 0, 0)
    try:
        revision, licence, files = _ask(repository, kind)
    except _UnreachableError as error:
        if found := newest_kept(folder, kind, name):
            return _here(*found, offline=str(error))
        raise DataError(_unreachable(repository, str(error))) from None
    chosen = choose(files)
    for file in chosen:
        if not is_plain(file.name):
            raise DataError(f"{repository}: {file.name!r} is no name of a file; nothing is fetched")
    place, disk = folder / _key(revision, names_of(chosen)), Disk()
    with hold(folder, repository, progress):
        record = kept(place)
        if record and names_of(record.files) == names_of(chosen) and record.revision == revision:
            add_name(place, record, name, disk)
            return _here(place, record)
        work = folder / f"{FETCHING}{place.name}"
        try:
            disk.make_folder(work)
            _download(repository, kind, revision, chosen, work, progress)
            record = Record(
                kind, repository, revision, licence, time.time(), (name,), tuple(chosen)
            )
            publish(work, place, record, disk)
        except BaseException:
            clear(folder)
            raise
    return _here(place, record, anew=True)


def _here(place: Path, record: Record, *, anew: bool = False, offline: str = "") -> Fetched:
    names = names_of(record.files)
    return Fetched(record.repository, record.revision, record.licence, place, names, anew, offline)


def _key(revision: str, names: Sequence[str]) -> str:
    """A folder's name: the commit, and which of its files."""
    which = hashlib.blake2b("\n".join(names).encode(), digest_size=4).hexdigest()
    return f"{revision[:12]}-{which}"


def _library() -> Any:
    """huggingface_hub, with what it would do unasked switched off before it is imported."""
    os.environ["HF_HUB_DISABLE_XET"] = "1"  # another protocol, to other hosts
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    import huggingface_hub
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # it tries again by itself, and need not say so
    return huggingface_hub


def _ask(repository: str, kind: str) -> tuple[str, str | None, list[HubFile]]:
    """(commit, licence, files) of a repository as it is now."""
    hub = _library()
    try:
        about = hub.HfApi().repo_info(repository, repo_type=kind, files_metadata=True)
    except hub.errors.RepositoryNotFoundError:
        raise SettingsError(
            f"the hub knows no {kind} {repository}, or does not show it to everybody"
        ) from None
    except Exception as error:  # the library lets those of its HTTP client through
        raise _UnreachableError(_reason(error)) from None
    revision = str(about.sha)
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise DataError(f"{repository}: the hub names no commit but {revision!r}")
    files = [
        HubFile(each.rfilename, each.size or 0, each.lfs.sha256 if each.lfs else None)
        for each in about.siblings or ()
    ]
    return revision, _licence(about.card_data), sorted(files, key=lambda file: file.name)


def _licence(card: Any) -> str | None:
    """What the card says of it, in one harmless line; anybody may have written anything there."""
    told = card.get("license") if card else None
    if not told:
        return None
    words = ", ".join(map(str, told)) if isinstance(told, list) else str(told)
    return clip(inert(words), _LONGEST_LICENCE)


def _download(
    repository: str,
    kind: str,
    revision: str,
    files: Sequence[HubFile],
    work: Path,
    progress: Progress | None,
) -> None:
    """Fetch the files into work/files and check them; how far it is, is seen by what lies there."""
    hub, target = _library(), work / FILES
    problems: list[Exception] = []

    def fetch() -> None:
        try:
            for file in files:
                hub.hf_hub_download(
                    repository, file.name, repo_type=kind, revision=revision, local_dir=target
                )
        except Exception as error:
            problems.append(error)

    thread = threading.Thread(target=fetch, name="hub", daemon=True)
    thread.start()
    total = sum(file.n_bytes for file in files)
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        if progress:
            progress(f"fetching {repository}", min(bytes_in(work), total), total)
    if problems:
        raise DataError(_unreachable(repository, _reason(problems[0]))) from None
    for file in files:
        _check(target / file.name, file, repository)
    with suppress(FileNotFoundError):
        remove_tree(Disk(), target / ".cache")  # the library's own notes


def _check(path: Path, file: HubFile, repository: str) -> None:
    size = path.stat().st_size
    wrong = size != file.n_bytes
    if not wrong and file.sha256:
        with open(path, "rb") as data:
            wrong = hashlib.file_digest(data, "sha256").hexdigest() != file.sha256
    if wrong:
        raise DataError(f"{repository}: {file.name} did not come as the hub has it; try again")


def _reason(error: Exception) -> str:
    told = str(error).strip().splitlines() or [type(error).__name__]
    return told[0]


def _unreachable(repository: str, why: str) -> str:
    return f"{repository} cannot be fetched: {why}; try again, or fetch the files yourself"
