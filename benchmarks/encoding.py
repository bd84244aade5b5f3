"""Encode a corpus as preparing does, beside the tokenizers library on the same texts and threads.

    python benchmarks/encoding.py [TEXT] [--threads 2] [--megabytes 20] [--quick]

TEXT is repeated with its lines shuffled; without it the built-in small talk is. Both take turns in
one process that may use `--threads` cores; the ids must be the same. The library is called in its
quickest way: once for all texts, `encode_batch_fast`, which counts no offsets. `ratio` is the
median of the turns' ratios, with the lowest and the highest. CPU is what both used of it, which
other programs on the machine disturb less. `file to file` is reading, encoding and writing.
"""

import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

from measured import Figure, arguments, save
from tinychat.config import DataSettings
from tinychat.text import Conversation, Corpus, Tokenizer, encode_whole, train_bpe, train_char
from tinychat.text import encoding as corpus_encoding
from tinychat.text.corpus_encoder import corpus_encoder
from tinychat.text.items import Item, Piece, texts_of
from tinychat.text.smalltalk import training_conversations

MB = 1_000_000
Batches = list[list[str]]


def make_text(source: Path | None, path: Path, megabytes: float) -> None:
    """Lines over and over, in an order that the seed decides; a document every few lines."""
    lines = _lines(source)
    chance = random.Random("benchmark")
    size = 0
    with open(path, "w", encoding="utf-8") as file:
        while size < megabytes * MB:
            chance.shuffle(lines)
            for start in range(0, len(lines), 8):
                size += file.write("\n".join([*lines[start : start + 8], "<|endoftext|>", ""]))
                if size >= megabytes * MB:
                    break


def _lines(source: Path | None) -> list[str]:
    if source is not None:
        text = source.read_text(encoding="utf-8")
        return [line for line in text.splitlines() if line.strip()]
    talks: list[Conversation] = list(training_conversations())
    return [line for talk in talks for text in texts_of(talk) for line in text.splitlines()]


def batches_of(corpus: Corpus) -> Batches:
    """The texts in the batches that preparing makes."""
    items: list[Item] = [item for file in corpus.files for item in file.items()]
    made = corpus_encoding._batches(("train", item) for item in items)
    return [[item.text for _, item in batch if isinstance(item, Piece)] for batch in made]


class Turns:
    """Two ways to do the same, one after the other, several times."""

    def __init__(self, name: str, megabytes: float) -> None:
        self._name = name
        self._megabytes = megabytes
        self._seconds: list[tuple[float, float]] = []
        self._cpu: list[tuple[float, float]] = []

    def take(self, plain: Callable[[], object], quick: Callable[[], object], turns: int) -> bool:
        """Whether both gave the same, each time."""
        same = True
        for _ in range(turns):
            first, theirs = _timed(plain)
            second, ours = _timed(quick)
            same &= theirs == ours
            self._seconds.append((first[0], second[0]))
            self._cpu.append((first[1], second[1]))
        return same

    def tell(self) -> dict[str, Figure]:
        """One line."""
        theirs, ours = (
            Figure.of([self._megabytes / seconds for seconds in side], " MB/s")
            for side in zip(*self._seconds, strict=True)
        )
        ratio, cpu = (
            Figure.ratio(*zip(*turns, strict=True)) for turns in (self._seconds, self._cpu)
        )
        print(
            f"{self._name:34} {theirs.median:6.1f} MB/s {ours.median:6.1f} MB/s   "
            f"ratio {ratio}   CPU ratio {cpu.median:.2f}",
            flush=True,
        )
        return {
            f"{self._name}: tokenizers": theirs,
            f"{self._name}: tinychat": ours,
            f"{self._name}: ratio": ratio,
        }


def _timed(work: Callable[[], object]) -> tuple[tuple[float, float], object]:
    began, cpu = time.perf_counter(), time.process_time()
    made = work()
    return (time.perf_counter() - began, time.process_time() - cpu), made


def measure(
    name: str, tokenizer: Tokenizer, corpus: Corpus, batches: Batches, threads: int, turns: int
) -> tuple[bool, dict[str, Figure]]:
    """Both ways, in memory and from file to file; whether the ids are the same."""
    encoder = corpus_encoder(tokenizer)
    megabytes = sum(len(text.encode()) for batch in batches for text in batch) / MB
    texts = [text for batch in batches for text in batch]

    def theirs() -> list[list[int]]:
        return tokenizer.encode_batch(texts)

    def ours() -> list[list[int]]:
        with ThreadPoolExecutor(threads) as pool:
            return [ids for made in pool.map(encoder.encode_batch, batches) for ids in made]

    def to_file() -> bytes:
        with tempfile.TemporaryDirectory(prefix="tinychat-") as folder:
            encode_whole(corpus, tokenizer, Path(folder), loss="answers")
            return (Path(folder) / "all.bin").read_bytes()

    def to_file_with_theirs() -> bytes:
        with patch.object(corpus_encoding, "corpus_encoder", lambda tokenizer: tokenizer):
            return to_file()

    in_memory, whole = (
        Turns(f"{name}, in memory", megabytes),
        Turns(f"{name}, file to file", megabytes),
    )
    same = in_memory.take(theirs, ours, turns)
    figures = in_memory.tell()
    same &= whole.take(to_file_with_theirs, to_file, turns)
    figures |= whole.tell()
    if encoder is tokenizer:
        print(f"{name}: nothing quicker than the tokenizers library is known for it")
    return same, figures


def main() -> int:
    """Measure; 1 if one id differs."""
    parser = arguments(__doc__)
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    megabytes, turns = (0.5, 1) if options.quick else (options.megabytes, options.turns)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    os.environ["RAYON_NUM_THREADS"] = str(options.threads)  # before the library's first call
    with tempfile.TemporaryDirectory(prefix="tinychat-") as folder:
        path = Path(folder) / "text.txt"
        make_text(options.text, path, megabytes)
        corpus = Corpus.scan(DataSettings(paths=(str(path),)))
        batches = batches_of(corpus)
        texts = [text for batch in batches for text in batch]
        load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
        print(
            f"{path.stat().st_size / MB:.1f} MB, {options.threads} threads, {turns} turns, "
            f"{platform.machine()} with {os.cpu_count()} cores, load {load}\n"
            f"{'':34} tokenizers  tinychat"
        )
        same, figures = True, dict[str, Figure]()
        for name, tokenizer in (
            ("byte-level BPE", train_bpe(texts, options.vocab_size)),
            ("characters", train_char(texts)),
        ):
            alike, found = measure(name, tokenizer, corpus, batches, options.threads, turns)
            same &= alike
            figures |= found
    print("the ids are the same" if same else "THE IDS DIFFER")
    if same:
        save(options, figures)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
