"""Prepare a large corpus in a child process, once in one go and once killed in the middle.

    python benchmarks/preparing.py TEXT [--megabytes 1200] [--conversations] [--folder FOLDER]

The corpus is made by repeating the lines of TEXT in a shuffled order, as plain text with a
separator every few lines or as conversations. Tells seconds, MB/s, cores in use, and the peak
memory of the whole process tree; the bytes of both results must be the same.
"""

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

MB = 1_000_000
_LINES_A_DOCUMENT = 8
_CHILD = """
import sys, time
from pathlib import Path
from tinychat.config import DataSettings, TokenizerSettings
from tinychat.text import prepare

stages = {}

def progress(stage, done, total):
    now = time.monotonic()
    first, _ = stages.get(stage, (now, now))
    stages[stage] = (first, now)
    if total == 0:
        print("  " + stage, flush=True)
    if len(sys.argv) > 3 and stage.startswith("encoding") and done * 2 > total:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)

prepared = prepare(
    DataSettings(paths=(sys.argv[1],)), TokenizerSettings(vocab_size=4096), seed=0,
    cache=Path(sys.argv[2]), progress=progress,
)
print("  " + ", ".join(f"{name} {last - first:.1f} s" for name, (first, last) in stages.items()))
print(f"  {prepared.train.n_tokens + prepared.valid.n_tokens:,} tokens, "
      f"{prepared.summary.bytes_per_token:.2f} bytes per token")
"""


def make_corpus(text: Path, path: Path, megabytes: int, *, conversations: bool) -> None:
    """Lines of `text` over and over, in an order that the seed decides."""
    lines = [line for line in text.read_text(encoding="utf-8").splitlines() if line.strip()]
    chance = random.Random("benchmark")
    written = 0
    with open(path, "w", encoding="utf-8") as file:
        while written < megabytes * MB:
            chance.shuffle(lines)
            for start in range(0, len(lines), _LINES_A_DOCUMENT):
                part = lines[start : start + _LINES_A_DOCUMENT]
                if conversations:
                    record = {"prompt": part[0], "completion": "\n".join(part)}
                    block = json.dumps(record, ensure_ascii=False) + "\n"
                else:
                    block = "\n".join([*part, "<|endoftext|>", ""])
                written += len(block.encode())
                file.write(block)


def run(corpus: Path, cache: Path, *, kill: bool) -> None:
    """One preparation, watched from outside."""
    began = time.monotonic()
    argv = [sys.executable, "-c", _CHILD, str(corpus), str(cache), *(["kill"] if kill else [])]
    child = subprocess.Popen(argv)
    watched = psutil.Process(child.pid)
    peak, cpu = 0, 0.0
    while child.poll() is None:
        try:
            tree = [watched, *watched.children(recursive=True)]
            peak = max(peak, sum(process.memory_info().rss for process in tree))
            cpu = max(cpu, sum(sum(process.cpu_times()[:2]) for process in tree))
        except psutil.Error:  # it has just ended
            continue
        time.sleep(0.05)
    seconds = time.monotonic() - began
    size = corpus.stat().st_size / MB
    print(
        f"  {seconds:.1f} s, {size / seconds:.1f} MB/s, {cpu / seconds:.2f} cores, "
        f"peak {peak / MB:.0f} MB, {'killed' if kill else f'exit {child.returncode}'}\n",
        flush=True,
    )


def digests(cache: Path) -> dict[str, str]:
    """Of every file in a cache."""
    found = {}
    for path in sorted(path for path in cache.rglob("*") if path.is_file()):
        with open(path, "rb") as file:
            found[str(path.relative_to(cache))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def main() -> None:
    """Measure, and compare the bytes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("text", type=Path)
    parser.add_argument("--megabytes", type=int, default=1200)
    parser.add_argument("--conversations", action="store_true")
    parser.add_argument("--folder", type=Path, default=None, help="else a temporary one")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tinychat-", dir=options.folder))
    try:
        corpus = folder / ("corpus.jsonl" if options.conversations else "corpus.txt")
        make_corpus(options.text, corpus, options.megabytes, conversations=options.conversations)
        print(f"{corpus.stat().st_size / MB:.0f} MB, in one go", flush=True)
        run(corpus, folder / "whole", kill=False)
        print("killed in the middle of encoding", flush=True)
        run(corpus, folder / "killed", kill=True)
        print("and again", flush=True)
        run(corpus, folder / "killed", kill=False)
        same = digests(folder / "whole") == digests(folder / "killed") != {}
        print("the bytes are the same" if same else "THE BYTES DIFFER")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
