"""From settings to a tokenizer and token files, made once and kept in a cache.

The cache's key is a hash of the content and of all settings that decide a token, so a folder never
holds anything but what its name says. It is written aside and renamed into place when whole; a
folder found damaged is made again.
"""

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tinychat.config import DataSettings, TokenizerSettings
from tinychat.errors import DataError
from tinychat.runs import Disk
from tinychat.text.corpus import Corpus, Form, Progress, Side
from tinychat.text.encoding import SideBytes, encode_corpus, train_tokenizer
from tinychat.text.split import FileReport, Survey, survey
from tinychat.text.token_files import FileCheck, TokenFile, TokenWriter, check_file
from tinychat.text.tokenizer import Tokenizer

FORMAT = 1
"""Raised whenever the same content and settings would give other tokens or files."""

_TEMPORARY = ".tmp-"
_LEFTOVER_SECONDS = 24 * 3600
_SIDES: tuple[Side, ...] = ("train", "valid")


@dataclass(frozen=True)
class SideSummary:
    """One side in numbers. Bytes are of UTF-8; `target_bytes` of what is to be learnt."""

    documents: int
    tokens: int
    targets: int
    text_bytes: int
    target_bytes: int


@dataclass(frozen=True)
class CorpusSummary:
    """What was read and what became of it."""

    files: tuple[FileReport, ...]
    split_rule: str
    hints: tuple[str, ...]
    n_bytes: int
    train: SideSummary
    valid: SideSummary

    @property
    def bad_records(self) -> int:
        return sum(file.bad_records for file in self.files)

    @property
    def bytes_per_token(self) -> float:
        tokens = self.train.tokens + self.valid.tokens
        return (self.train.text_bytes + self.valid.text_bytes) / tokens


@dataclass(frozen=True)
class Prepared:
    """A corpus ready to train on."""

    folder: Path
    tokenizer: Tokenizer
    train: TokenFile
    valid: TokenFile
    form: Form
    fingerprint: str  # of the content
    summary: CorpusSummary
    reused: bool  # found in the cache


def prepare(
    data: DataSettings,
    tokenizer: TokenizerSettings | Tokenizer,
    *,
    seed: int,
    cache: Path,
    progress: Progress | None = None,
    disk: Disk | None = None,
) -> Prepared:
    """Read, divide and encode a corpus, or find that done in `cache`.

    A tokenizer is trained on the training side unless one is given. Raises DataError for whatever
    is wrong with the files, and when the cache cannot be written.
    """
    corpus = Corpus.scan(data.paths, progress)
    key = cache_key(corpus, data, tokenizer, seed)
    folder = cache / key
    found = _open(folder, key, reused=True)
    if found is not None:
        return replace(found, summary=_with_names_of(corpus, found.summary))
    try:
        _build(corpus, data, tokenizer, seed, folder, progress, disk or Disk())
    except OSError as error:
        raise DataError(
            f"The prepared corpus cannot be written to {cache}: {error.strerror or error}; make "
            "room there or choose another folder."
        ) from error
    built = _open(folder, key, reused=False)
    if built is None:
        raise DataError(f"The prepared corpus in {folder} does not read back; check the disk.")
    return built


def cache_key(
    corpus: Corpus, data: DataSettings, tokenizer: TokenizerSettings | Tokenizer, seed: int
) -> str:
    """A name for everything that decides a token. Paths and their spelling are not in it."""
    if isinstance(tokenizer, Tokenizer):
        made_by: list[Any] = [tokenizer.sha256]
    else:
        made_by = [tokenizer.kind, tokenizer.vocab_size if tokenizer.kind == "bpe" else None]
    loss = data.loss if corpus.form == "chat" else None
    parts = [FORMAT, corpus.fingerprint, data.validation_share, loss, made_by, seed]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _build(
    corpus: Corpus,
    data: DataSettings,
    tokenizer: TokenizerSettings | Tokenizer,
    seed: int,
    folder: Path,
    progress: Progress | None,
    disk: Disk,
) -> None:
    found = survey(corpus, seed=seed, share=data.validation_share, progress=progress)
    if isinstance(tokenizer, TokenizerSettings):
        tokenizer = train_tokenizer(corpus, found, tokenizer, seed=seed, progress=progress)
    cache = folder.parent
    cache.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(cache)
    aside = cache / f"{_TEMPORARY}{secrets.token_hex(8)}"
    disk.make_folder(aside)
    writers: dict[Side, TokenWriter] = {}
    try:
        for side in _SIDES:
            masked = corpus.form == "chat"
            size = tokenizer.vocab_size
            writers[side] = TokenWriter(aside, side, vocab_size=size, masked=masked, disk=disk)
        sizes = encode_corpus(corpus, found, tokenizer, writers, loss=data.loss, progress=progress)
        checks = {name: c for writer in writers.values() for name, c in writer.finish().items()}
        checks["tokenizer.json"] = _write(disk, aside / "tokenizer.json", tokenizer.to_json())
        record = _record(folder.name, corpus, found, writers, sizes, checks)
        _write(disk, aside / "corpus.json", json.dumps(record, indent=1, ensure_ascii=False))
        _publish(disk, aside, folder)
    finally:
        for writer in writers.values():
            writer.close()
        shutil.rmtree(aside, ignore_errors=True)


def _record(
    key: str,
    corpus: Corpus,
    found: Survey,
    writers: Mapping[Side, TokenWriter],
    sizes: Mapping[Side, SideBytes],
    checks: Mapping[str, FileCheck],
) -> dict[str, Any]:
    """The content of corpus.json."""
    sides = {
        side: SideSummary(
            documents=writer.n_documents,
            tokens=writer.n_tokens,
            targets=writer.n_targets,
            text_bytes=sizes[side].text,
            target_bytes=sizes[side].target,
        )
        for side, writer in writers.items()
    }
    summary = CorpusSummary(found.files, found.rule, corpus.hints, corpus.n_bytes, **sides)
    return {
        "format": FORMAT,
        "key": key,
        "form": corpus.form,
        "fingerprint": corpus.fingerprint,
        "summary": asdict(summary),
        "files": {name: asdict(check) for name, check in checks.items()},
    }


def _write(disk: Disk, path: Path, text: str) -> FileCheck:
    data = text.encode()
    disk.write_file(path, data)
    disk.fsync(path)
    return FileCheck(len(data), hashlib.blake2b(data, digest_size=16).hexdigest())


def _publish(disk: Disk, aside: Path, folder: Path) -> None:
    """Rename into place. Where another process was faster, its folder is as good as ours."""
    disk.fsync_folder(aside)
    if folder.exists() and _open(folder, folder.name, reused=True) is None:
        damaged = folder.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
        disk.rename(folder, damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        disk.rename(aside, folder)
    except OSError:
        if _open(folder, folder.name, reused=True) is None:
            raise
    disk.fsync_folder(folder.parent)


def _open(folder: Path, key: str, *, reused: bool) -> Prepared | None:
    """What the cache holds under this key; None if nothing, or nothing that is whole."""
    try:
        record = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        if record["format"] != FORMAT or record["key"] != key:
            return None
        for name, check in record["files"].items():
            check_file(folder / name, FileCheck(**check))
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        return Prepared(
            folder=folder,
            tokenizer=Tokenizer.from_json(text),
            train=TokenFile(folder / "train.bin"),
            valid=TokenFile(folder / "valid.bin"),
            form=record["form"],
            fingerprint=record["fingerprint"],
            summary=_read_summary(record["summary"]),
            reused=reused,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
        return None


def _read_summary(record: dict[str, Any]) -> CorpusSummary:
    files = tuple(
        FileReport(**{**file, "bad_reasons": tuple(file["bad_reasons"])})
        for file in record["files"]
    )
    return CorpusSummary(
        files=files,
        split_rule=record["split_rule"],
        hints=tuple(record["hints"]),
        n_bytes=record["n_bytes"],
        train=SideSummary(**record["train"]),
        valid=SideSummary(**record["valid"]),
    )


def _with_names_of(corpus: Corpus, summary: CorpusSummary) -> CorpusSummary:
    """The same content may have been prepared from another place."""
    pairs = zip(summary.files, corpus.files, strict=True)
    files = tuple(replace(report, name=file.name) for report, file in pairs)
    return replace(summary, files=files, hints=corpus.hints)


def _clear_leftovers(cache: Path) -> None:
    """Remove what processes that were killed left behind, once it is a day old."""
    for path in cache.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):  # its owner may rename it just now
            newest = max(entry.stat().st_mtime for entry in [path, *path.iterdir()])
            if time.time() - newest > _LEFTOVER_SECONDS:  # file times are of the wall clock
                shutil.rmtree(path, ignore_errors=True)
