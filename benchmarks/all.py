"""Every claim in turn, the most important first, into results/ and the table of README.md.

    python benchmarks/all.py [--nanogpt PATH] [--llama-python PATH] [--data TEXT] [--list]
                             [--only NAME ...] [--minutes 50] [--quick]

For a machine that does nothing else. A part that takes two and a half times as long as thought is
ended, and one that would not fit into what is left of the minutes is left out; both are told, and
keep the results they had. The peers are paths: a checkout of nanoGPT, a Python that has
llama-cpp-python and gguf; TEXT is tinyshakespeare. --list tells the parts and their minutes.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 2.5  # times what was thought


@dataclass(frozen=True)
class Part:
    """One result: its script and flags, and the minutes it takes on two idle cores."""

    name: str
    minutes: float
    words: tuple[str, ...]
    peers: tuple[str, ...] = ()  # flags of ours that are handed on if given
    usual: bool = True  # one of those that are done if nothing is said


PARTS = (
    Part("training-26m", 2.5, ("training.py", "26m")),
    Part("decoding", 2.5, ("decoding.py", "--transformers"), ("llama_python",)),
    Part("shakespeare", 9.0, ("shakespeare.py",), ("nanogpt", "data")),
    Part("exam-2", 9.0, ("exam.py", "--minutes", "2", "--seeds", "3")),
    Part("training-59m", 3.5, ("training.py", "59m")),
    Part("encoding", 1.5, ("encoding.py", "--megabytes", "10"), ("data",)),
    Part("startup", 0.7, ("startup.py",)),
    Part("exam-10", 12.0, ("exam.py", "--minutes", "10", "--seeds", "1")),
    Part("teaching", 7.0, ("teaching.py",)),
    Part("following", 4.0, ("following.py",)),
    Part("ranks", 4.0, ("ranks.py",)),
    Part("sharing", 13.0, ("sharing.py",), usual=False),
    Part("answering", 0.5, ("answering.py",)),
    Part("overhead", 0.7, ("overhead.py",)),
    Part("precision", 0.2, ("precision.py",)),
    Part("int8", 4.0, ("int8.py",), ("data",), usual=False),
    Part("monitoring", 5.0, ("monitoring.py",), usual=False),
    Part("planning", 6.5, ("planning.py", "demo"), usual=False),
    Part("preparing", 12.0, ("preparing.py",), usual=False),
)


def command(part: Part, told: argparse.Namespace) -> list[str]:
    """What is started; encoding takes its text by place."""
    words = [sys.executable, str(HERE / part.words[0]), *part.words[1:]]
    for peer in part.peers:
        if given := getattr(told, peer):
            flag = [] if part.name == "encoding" else [f"--{peer.replace('_', '-')}"]
            words += [*flag, str(given)]
    words += ["--quick"] if told.quick else []
    return [*words, "--json", str(told.results / f"{part.name}.json")]


def run(part: Part, told: argparse.Namespace) -> str:
    """How it went, in a word or two."""
    child = subprocess.Popen(command(part, told), start_new_session=True)
    try:
        code = child.wait(60 * part.minutes * PATIENCE)
    except subprocess.TimeoutExpired:
        return "ended, it took too long"
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)  # with all that it started
            child.wait()
    return "done" if code == 0 else f"failed with {code}"


def main() -> int:
    """Do them; 1 if one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [part.name for part in PARTS]
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--llama-python", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="+", choices=names, default=[])
    parser.add_argument("--minutes", type=float, default=50.0, help="for all together")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--quick", action="store_true", help="prove that it runs; no table")
    parser.add_argument("--list", action="store_true", help="tell the parts and do nothing")
    told = parser.parse_args()
    chosen = [p for p in PARTS if (p.name in told.only if told.only else p.usual)]
    if told.list:
        for part in PARTS:
            when = "" if part.usual else "   if asked for"
            print(f"{part.name:14} {part.minutes:5.1f} min{when}")
        print(f"{'chosen':14} {sum(part.minutes for part in chosen):5.1f} min")
        return 0
    if told.quick:
        told.results = Path(tempfile.mkdtemp(prefix="tinychat-benchmarks-"))
    ends = time.monotonic() + 60 * told.minutes
    went: dict[str, str] = {}
    for part in chosen:
        print(f"\n== {part.name}: about {part.minutes:g} minutes", flush=True)
        began = time.monotonic()
        fits = began + 60 * part.minutes <= ends
        went[part.name] = run(part, told) if fits else "left out, no time was left"
        took = (time.monotonic() - began) / 60
        print(f"== {went[part.name]} after {took:.1f} minutes", flush=True)
    if not told.quick:
        subprocess.run([sys.executable, str(HERE / "table.py")], check=True)
    print("\n" + "\n".join(f"{name:14} {how}" for name, how in went.items()))
    return int(any(how != "done" for how in went.values()))


if __name__ == "__main__":
    sys.exit(main())
