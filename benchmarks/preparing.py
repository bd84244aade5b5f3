"""Prepare a large corpus in a child process, once in one go and once killed in the middle.

    python benchmarks/preparing.py [TEXT] [--megabytes 1200] [--conversations] [--quick]
    python benchmarks/preparing.py [TEXT] --plan 15m    # and `tinychat plan` on the same corpus

The corpus is made by repeating the lines of TEXT (else of the built-in small talk) in a shuffled
order, as plain text with a separator every few lines or as conversations. Tells seconds, MB/s,
cores in use, and the peak memory of the whole process tree, each page counted once; the bytes of
both results must be the same. Of a plan the peak of its own process, which reads and prepares, is
told beside that of the processes it starts to time training steps.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from measured import Figure, arguments, save
from tinychat.text.smalltalk import training_conversations

MB = 1_000_000
_LINES_A_DOCUMENT = 8
_LOOK_SECONDS = 0.1
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


def make_corpus(text: Path | None, path: Path, megabytes: float, *, conversations: bool) -> None:
    """Lines of `text` over and over, in an order that the seed decides."""
    lines = _lines(text)
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
                if written >= megabytes * MB:
                    break


def _lines(text: Path | None) -> list[str]:
    if text is not None:
        return [line for line in text.read_text(encoding="utf-8").splitlines() if line.strip()]
    said = (message.content for talk in training_conversations() for message in talk.messages)
    return [line for content in said for line in content.splitlines() if line.strip()]


def run(corpus: Path, cache: Path, *, kill: bool) -> "Seen":
    """One preparation, watched from outside."""
    argv = [sys.executable, "-c", _CHILD, str(corpus), str(cache), *(["kill"] if kill else [])]
    seen = watch(argv)
    size = corpus.stat().st_size / MB
    print(
        f"  {seen.seconds:.1f} s, {size / seen.seconds:.1f} MB/s, {seen.cpu / seen.seconds:.2f} "
        f"cores, peak {seen.peak / MB:.0f} MB, "
        f"{'killed' if kill else f'exit {seen.exit_code}'}\n",
        flush=True,
    )
    return seen


def plan(corpus: Path, checkpoints: Path, preset: str) -> int:
    """`tinychat plan`, which prepares and then times steps, watched likewise."""
    words = ["plan", "--preset", preset, "--data", str(corpus), "--device", "cpu"]
    argv = [sys.executable, "-m", "tinychat", *words, "--checkpoints", str(checkpoints)]
    seen = watch(argv)
    print(
        f"  {seen.seconds:.1f} s, {seen.cpu / seen.seconds:.2f} cores, peak "
        f"{seen.own_peak / MB:.0f} MB reading and preparing, "
        f"{seen.others_peak / MB:.0f} MB in the process that times steps, exit {seen.exit_code}\n",
        flush=True,
    )
    return seen.exit_code


@dataclass
class Seen:
    """What a process and all that it started used. Bytes are resident; a shared page counts once
    where the system tells (Linux)."""

    exit_code: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    peak: int = 0  # of all together
    own_peak: int = 0
    others_peak: int = 0


def watch(argv: list[str]) -> Seen:
    """Run and look many times a second. Its progress goes where ours does."""
    began = time.monotonic()
    child = subprocess.Popen(argv)
    first = psutil.Process(child.pid)
    seen, cpu = Seen(), dict[int, float]()
    while child.poll() is None:
        used: dict[int, int] = {}
        with suppress(psutil.Error):  # it has just ended
            for process in [first, *first.children(recursive=True)]:
                with suppress(psutil.Error):
                    used[process.pid] = _memory(process)
                    cpu[process.pid] = sum(process.cpu_times()[:2])
        own = used.get(child.pid, 0)
        seen.peak = max(seen.peak, sum(used.values()))
        seen.own_peak = max(seen.own_peak, own)
        seen.others_peak = max(seen.others_peak, sum(used.values()) - own)
        time.sleep(_LOOK_SECONDS)
    seen.seconds, seen.cpu = time.monotonic() - began, sum(cpu.values())
    seen.exit_code = child.returncode
    return seen


def _memory(process: psutil.Process) -> int:
    told = process.memory_full_info() if sys.platform == "linux" else process.memory_info()
    return getattr(told, "pss", told.rss)


def digests(cache: Path) -> dict[str, str]:
    """Of every file in a cache."""
    found = {}
    for path in sorted(path for path in cache.rglob("*") if path.is_file()):
        with open(path, "rb") as file:
            found[str(path.relative_to(cache))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def main() -> int:
    """Measure, and compare the bytes; 1 where they differ or a process failed."""
    parser = arguments(__doc__)
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("--megabytes", type=float, default=1200)
    parser.add_argument("--conversations", action="store_true")
    parser.add_argument("--plan", metavar="PRESET")
    parser.add_argument("--folder", type=Path, default=None, help="else a temporary one")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tinychat-", dir=options.folder))
    try:
        corpus = folder / ("corpus.jsonl" if options.conversations else "corpus.txt")
        megabytes = 4 if options.quick else options.megabytes
        make_corpus(options.text, corpus, megabytes, conversations=options.conversations)
        load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
        told = f"{os.cpu_count()} cores, load {load}"
        print(f"{corpus.stat().st_size / MB:.0f} MB, {told}; in one go", flush=True)
        whole = run(corpus, folder / "whole", kill=False)
        print("killed in the middle of encoding", flush=True)
        until = run(corpus, folder / "killed", kill=True)
        print("and again", flush=True)
        after = run(corpus, folder / "killed", kill=False)
        failed = whole.exit_code or after.exit_code
        same = digests(folder / "whole") == digests(folder / "killed") != {}
        print("the bytes are the same" if same else "THE BYTES DIFFER", flush=True)
        if options.plan:
            print(f"\ntinychat plan --preset {options.plan}", flush=True)
            failed |= plan(corpus, folder / "checkpoints", options.plan)
        if same and not failed:
            size = corpus.stat().st_size / MB
            figures = {
                "speed": Figure.of([size / whole.seconds], " MB/s"),
                "peak memory": Figure.of([whole.peak / MB], " MB"),
                "until the kill": Figure.of([until.seconds], " s"),
                "after the kill": Figure.of([after.seconds], " s"),
            }
            save(options, figures)
        return 0 if same and not failed else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
