"""From settings to a tokenizer and token files, made once and kept in a cache.

The cache's key is a hash of the content and of all settings that decide a token, so a folder never
holds anything but what its name says. It is written aside and renamed into place when whole; a
folder found damaged is made again. A preparation that was killed is gone on with (see `work`), and
the result has the same bytes.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tinychat.config import DataSettings, TokenizerSettings
from tinychat.errors import DataError
from tinychat.runs import Disk
from tinychat.text.corpus import Corpus, Form, Progress, Side
from tinychat.text.encoding import Encoded, encode_corpus
from tinychat.text.quality import quality
from tinychat.text.split import FileReport, Survey, survey
from tinychat.text.token_files import FileCheck, TokenFile, TokenWriter, WriterState, check_file
from tinychat.text.tokenizer import Tokenizer, given_tokenizer
from tinychat.text.tokenizer_sample import train_tokenizer
from tinychat.text.work import TEMPORARY, WORK, WorkFolder, clear_leftovers, file_report, work_on

FORMAT = 3
"""Raised whenever the same content and settings would give other tokens or files."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SIDES: tuple[Side, ...] = ("train", "valid")


@dataclass(frozen=True)
class SideSummary:
    """One side in numbers. Bytes are of UTF-8; `target_bytes` of what is to be learnt."""

    documents: int
    tokens: int
    targets: int
    text_bytes: int
    target_bytes: int

    @property
    def bytes_per_token(self) -> float:
        return self.text_bytes / max(self.tokens, 1)


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
    def remarks(self) -> list[str]:
        """Sentences about the files for the person who brought them."""
        return [*self.hints, *(remark for file in self.files for remark in file.remarks)]

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
    went_on: str | None = None  # what was left of an interrupted preparation, in a sentence

    @property
    def quality(self) -> str | None:
        """A warning if the vocabulary does not fit the text."""
        return quality(self.tokenizer, self.summary.train.bytes_per_token)


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

    A tokenizer is trained on the training side unless one is given. What an interrupted call had
    done is gone on with; another process that prepares the same is waited for. Both are told to
    `progress`, as a stage of 0 bytes. Raises DataError for whatever is wrong with the files, and
    when the cache cannot be written.
    """
    if isinstance(tokenizer, TokenizerSettings):
        tokenizer = given_tokenizer(tokenizer) or tokenizer
    corpus = Corpus.scan(data, progress)
    key = cache_key(corpus, data, tokenizer, seed)
    folder = cache / key
    if found := _find(folder, corpus):
        return found
    disk = disk or Disk()
    try:
        with work_on(cache, key, disk, progress) as work:
            if found := _find(folder, corpus):  # somebody was faster
                return found
            clear_leftovers(cache)
            went_on = _build(work, corpus, data, tokenizer, seed, progress, disk)
            _publish(disk, work.done, folder)
    except OSError as error:
        raise DataError(
            f"The prepared corpus cannot be written to {cache}: {error.strerror or error}; make "
            "room there, and the same command goes on, or choose another folder."
            if error.errno in _FULL
            else f"The prepared corpus cannot be written to {cache}: {error.strerror or error}; "
            "choose another folder by --checkpoints."
        ) from error
    built = _open(folder, reused=False)
    if built is None:
        raise DataError(f"The prepared corpus in {folder} does not read back; check the disk.")
    return replace(built, went_on=went_on)


def cache_key(
    corpus: Corpus, data: DataSettings, tokenizer: TokenizerSettings | Tokenizer, seed: int
) -> str:
    """A name for everything that decides a token. Paths and their spelling are not in it."""
    if isinstance(tokenizer, Tokenizer):
        made_by: list[Any] = [tokenizer.sha256]
    else:
        made_by = [tokenizer.kind, tokenizer.vocab_size if tokenizer.kind == "bpe" else None]
    loss = data.loss if corpus.form == "chat" else None
    parts = [FORMAT, corpus.fingerprint, data.validation_share, data.max_documents, loss, made_by]
    parts += [data.strict, seed]  # what was prepared without may hold bad records
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class CacheSize:
    """What the cache holds. All of it may be deleted; what is needed is then prepared again."""

    folder: Path
    corpora: int
    unfinished: int  # interrupted preparations
    n_bytes: int


def cache_size(cache: Path) -> CacheSize:
    """Count what is in a cache, which need not exist."""
    folders = [path for path in cache.glob("*") if path.is_dir()]
    unfinished = sum(path.name.startswith(WORK) for path in folders)
    corpora = sum((path / "corpus.json").exists() for path in folders)
    found = (Path(folder, name) for folder, _, names in os.walk(cache) for name in names)
    return CacheSize(cache, corpora, unfinished, sum(_size(path) for path in found))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # removed just now
        return 0


def _find(folder: Path, corpus: Corpus) -> Prepared | None:
    found = _open(folder, reused=True)
    return replace(found, summary=_with_names_of(corpus, found.summary)) if found else None


def _build(
    work: WorkFolder,
    corpus: Corpus,
    data: DataSettings,
    given: TokenizerSettings | Tokenizer,
    seed: int,
    progress: Progress | None,
    disk: Disk,
) -> str | None:
    """Make everything in `work.done`, from where it was left; tells what was left."""
    kept_survey = work.survey()
    kept_tokenizer = work.tokenizer() if kept_survey else None
    done, states = work.encoded(kept_tokenizer) if kept_tokenizer else (Encoded(), {})
    found = kept_survey or survey(corpus, data, seed=seed, progress=progress)
    if not kept_survey:
        work.keep_survey(found)
    if isinstance(given, Tokenizer):
        tokenizer = given
    else:
        tokenizer = kept_tokenizer or train_tokenizer(
            corpus, found, given, seed=seed, progress=progress
        )
    checks = {"tokenizer.json": work.write("done/tokenizer.json", tokenizer.to_json().encode())}
    writers, done = _writers(work, corpus.form, tokenizer, done, states, disk)
    went_on = _went_on(kept_survey, kept_tokenizer, done)
    if went_on and progress:
        progress(went_on, 0, 0)

    def save(so_far: Encoded) -> None:
        work.keep_encoded(tokenizer, so_far, {side: w.save() for side, w in writers.items()})

    try:
        done = encode_corpus(
            corpus,
            found,
            tokenizer,
            writers,
            loss=data.loss,
            done=done,
            save=save,
            progress=progress,
        )
        for writer in writers.values():
            checks |= writer.finish()
    finally:
        for writer in writers.values():
            writer.close()
    record = _record(work.key, corpus, found, writers, done, checks)
    work.write("done/corpus.json", json.dumps(record, indent=1, ensure_ascii=False).encode())
    return went_on


def _went_on(found: Survey | None, tokenizer: Tokenizer | None, done: Encoded) -> str | None:
    if found is None:
        return None
    where = f"at {done.text_bytes / max(found.text_bytes, 1):.0%}"
    if not done.items:
        where = "when the tokenizer was made" if tokenizer else "when all was counted"
    return f"going on with a preparation that was interrupted {where}"


def _writers(
    work: WorkFolder,
    form: Form,
    tokenizer: Tokenizer,
    done: Encoded,
    states: Mapping[Side, WriterState],
    disk: Disk,
) -> tuple[dict[Side, TokenWriter], Encoded]:
    """Writers that go on after what is done; from the beginning if its files were damaged."""
    writers: dict[Side, TokenWriter] = {}
    try:
        for side in _SIDES:
            writers[side] = TokenWriter(
                work.done,
                side,
                vocab_size=tokenizer.vocab_size,
                chat_format=tokenizer.format,
                masked=form == "chat",
                disk=disk,
                state=states.get(side),
            )
    except DataError:
        for writer in writers.values():
            writer.close()
        return _writers(work, form, tokenizer, Encoded(), {}, disk)
    return writers, done


def _record(
    key: str,
    corpus: Corpus,
    found: Survey,
    writers: Mapping[Side, TokenWriter],
    done: Encoded,
    checks: Mapping[str, FileCheck],
) -> dict[str, Any]:
    """The content of corpus.json."""
    sides = {
        side: SideSummary(
            documents=writer.n_documents,
            tokens=writer.n_tokens,
            targets=writer.n_targets,
            text_bytes=sizes.text,
            target_bytes=sizes.target,
        )
        for side, writer, sizes in (
            ("train", writers["train"], done.train),
            ("valid", writers["valid"], done.valid),
        )
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


def _publish(disk: Disk, done: Path, folder: Path) -> None:
    """Rename into place; a damaged folder that is there goes out of the way."""
    disk.fsync_folder(done)
    if folder.exists():
        damaged = folder.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        disk.rename(folder, damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    disk.rename(done, folder)
    disk.fsync_folder(folder.parent)


def _open(folder: Path, *, reused: bool) -> Prepared | None:
    """What a folder of the cache holds; None if nothing, or nothing that is whole."""
    try:
        record = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        if record["format"] != FORMAT or record["key"] != folder.name:
            return None
        for name, check in record["files"].items():
            check_file(folder / name, FileCheck(**check))
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        tokenizer = Tokenizer.from_json(text)
        return Prepared(
            folder=folder,
            tokenizer=tokenizer,
            train=TokenFile(folder / "train.bin", tokenizer.format),
            valid=TokenFile(folder / "valid.bin", tokenizer.format),
            form=record["form"],
            fingerprint=record["fingerprint"],
            summary=_read_summary(record["summary"]),
            reused=reused,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
        return None


def _read_summary(record: dict[str, Any]) -> CorpusSummary:
    files = tuple(map(file_report, record["files"]))
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
