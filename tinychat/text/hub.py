"""Data sets and vocabularies from the Hugging Face hub, fetched only when somebody names one.

A data set is `hf:OWNER/NAME`, with a folder of it behind another slash and a split behind a colon:
`hf:OWNER/NAME/FOLDER:SPLIT`. Its data files are fetched at one revision into a folder that is
renamed into place when it is whole, so what lies there is always whole; a fetch that was killed is
done again. Sizes and, where the hub knows them, sha256 are checked.
"""

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinychat.errors import DataError, SettingsError
from tinychat.text.corpus import Progress

PREFIX = "hf:"
FOLDER = ".hub"  # beside the runs
_RECORD = "hub.json"
_FETCHING = ".fetching-"
_POLL_SECONDS = 0.2
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

    @property
    def paths(self) -> list[Path]:
        return [self.folder / name for name in self.files]


@dataclass(frozen=True)
class _File:
    name: str
    n_bytes: int
    sha256: str | None


def fetch_dataset(name: str, into: Path, progress: Progress | None = None) -> Fetched:
    """The data files of `hf:OWNER/NAME[/FOLDER][:SPLIT]`; what is here is not fetched again.

    Raises SettingsError for a name that is none or that the hub does not know, DataError where it
    cannot be reached or sends something else than it should.
    """
    found = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)((?:/[\w.-]+)*)(?::([\w.-]+))?", name)
    if not found:
        raise SettingsError(f"{name!r} is no data set of the hub; write hf:OWNER/NAME[:SPLIT]")
    repository, folder, split = found[1], found[2].strip("/"), found[3]

    def chosen(files: Sequence[_File]) -> list[_File]:
        return _choose(files, folder, split, name)

    return _fetch(repository, "dataset", chosen, into, progress)


def fetch_tokenizer(name: str, into: Path, progress: Progress | None = None) -> Path:
    """The tokenizer.json of the model `hf:OWNER/NAME`. Raises as `fetch_dataset`."""
    if not re.fullmatch(r"hf:[\w.-]+/[\w.-]+", name):
        raise SettingsError(f"{name!r} is no model of the hub; write hf:OWNER/NAME")

    def chosen(files: Sequence[_File]) -> list[_File]:
        wanted = [file for file in files if file.name == "tokenizer.json"]
        if not wanted:
            raise SettingsError(f"{name} has no tokenizer.json")
        return wanted

    return _fetch(name.removeprefix(PREFIX), "model", chosen, into, progress).paths[0]


def _choose(files: Sequence[_File], folder: str, split: str | None, name: str) -> list[_File]:
    """The data files of that folder and split, in one form."""
    here = [f for f in files if not folder or f.name.startswith(f"{folder}/")]
    here = [f for f in here if f.name.rpartition("/")[2] not in _NO_DATA]
    data = [[f for f in here if f.name.lower().endswith(ends)] for ends in _FORMS]
    taken = next((each for each in data if each), [])
    if split:
        word = re.compile(rf"(?:^|[/_.-]){re.escape(split)}(?:[/_.-]|$)")
        taken = [file for file in taken if word.search(file.name)]
    if not taken:
        known = ", ".join(file.name for file in files[:12]) or "nothing"
        raise SettingsError(f"{name}: no data file of that name; there are {known}")
    return taken


def _fetch(
    repository: str,
    kind: str,
    choose: Callable[[Sequence[_File]], list[_File]],
    into: Path,
    progress: Progress | None,
) -> Fetched:
    if progress:
        progress(f"asking for {repository}", 0, 0)
    revision, licence, files = _ask(repository, kind)
    chosen = choose(files)
    names = tuple(file.name for file in chosen)
    place = into / FOLDER / repository.replace("/", "--") / _key(revision, names)
    if (place / _RECORD).exists():
        return Fetched(repository, revision, licence, place, names, anew=False)
    work = place.with_name(f"{_FETCHING}{place.name}")
    shutil.rmtree(work, ignore_errors=True)  # of a fetch that was killed
    work.mkdir(parents=True)
    try:
        _download(repository, kind, revision, chosen, work, progress)
        for file in chosen:
            _check(work / file.name, file, repository)
        shutil.rmtree(work / ".cache", ignore_errors=True)  # the library's own notes
        fetched = Fetched(repository, revision, licence, place, names, anew=True)
        record = asdict(fetched) | {"folder": None}
        (work / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        work.rename(place)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return fetched


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


def _ask(repository: str, kind: str) -> tuple[str, str | None, list[_File]]:
    """(commit, licence, files) of a repository as it is now."""
    hub = _library()
    try:
        about = hub.HfApi().repo_info(repository, repo_type=kind, files_metadata=True)
    except hub.errors.RepositoryNotFoundError:
        raise SettingsError(
            f"the hub knows no {kind} {repository}, or does not show it to everybody"
        ) from None
    except Exception as error:  # the library lets those of its HTTP client through
        raise DataError(_unreachable(repository, error)) from None
    card = about.card_data
    licence = (card.get("license") if card else None) or None
    if isinstance(licence, list):
        licence = ", ".join(licence)
    files = [
        _File(each.rfilename, each.size or 0, each.lfs.sha256 if each.lfs else None)
        for each in about.siblings or ()
    ]
    return about.sha, licence, sorted(files, key=lambda file: file.name)


def _download(
    repository: str,
    kind: str,
    revision: str,
    files: Sequence[_File],
    work: Path,
    progress: Progress | None,
) -> None:
    """Fetch the files; how far it is, is seen by what lies there."""
    hub = _library()
    problems: list[Exception] = []

    def fetch() -> None:
        try:
            for file in files:
                hub.hf_hub_download(
                    repository, file.name, repo_type=kind, revision=revision, local_dir=work
                )
        except Exception as error:
            problems.append(error)

    thread = threading.Thread(target=fetch, name="hub", daemon=True)
    thread.start()
    total = sum(file.n_bytes for file in files)
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        if progress:
            progress(f"fetching {repository}", min(_bytes_in(work), total), total)
    if problems:
        raise DataError(_unreachable(repository, problems[0])) from None


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # renamed just now
            pass
    return total


def _check(path: Path, file: _File, repository: str) -> None:
    size = path.stat().st_size
    wrong = size != file.n_bytes
    if not wrong and file.sha256:
        with open(path, "rb") as data:
            wrong = hashlib.file_digest(data, "sha256").hexdigest() != file.sha256
    if wrong:
        raise DataError(f"{repository}: {file.name} did not come as the hub has it; try again")


def _unreachable(repository: str, error: Exception) -> str:
    told = str(error).strip().splitlines() or [type(error).__name__]
    return f"{repository} cannot be fetched: {told[0]}; try again, or fetch the files yourself"
