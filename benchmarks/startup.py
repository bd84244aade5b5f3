"""How long `tinychat chat` takes until a person can type, beside importing torch alone.

    python benchmarks/startup.py [--quick] [--rounds 7] [--run RUN]

Fresh processes take turns, all with their modules compiled once, as Python does by itself. Without
RUN a model of 30 M parameters is written first, with weights as it begins with. The time of chat is
from its start until its prompt stands on a terminal of its own; CPU seconds are told beside, since
other programs delay both.
"""

import os
import pty
import resource
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measured import Figure, arguments, save

LIMIT = 0.5  # seconds over torch's own
PROMPT = "you › ".encode()
LONGEST = 60.0  # seconds until it is said that no prompt came


def main() -> None:
    """Measure, print."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--run", help="a run, its folder, or a checkpoint")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tinychat-startup-") as folder:
        run = given.run or str(write_model(Path(folder), small=given.quick))
        alone, whole = [], []
        for turn in range(1 + (2 if given.quick else given.rounds)):
            pair = import_torch(), chat(run)
            if turn:  # the first one reads files that the others find in memory
                alone.append(pair[0])
                whole.append(pair[1])
    figures: dict[str, Figure] = {}
    for place, kind in enumerate(("wall", "CPU")):
        theirs, ours = ([each[place] for each in found] for found in (alone, whole))
        over = [mine - other for mine, other in zip(ours, theirs, strict=True)]
        figures |= {
            f"import torch, {kind}": Figure.of(theirs, " s"),
            f"tinychat chat, {kind}": Figure.of(ours, " s"),
            f"over torch's, {kind}": Figure.of(over, " s"),
        }
    for name, figure in figures.items():
        print(f"{name:20} {figure}")
    print(f"the limit is {LIMIT} s over torch's")
    save(given, figures)


def write_model(folder: Path, *, small: bool) -> Path:
    """A run of one checkpoint."""
    from tinychat.config import ModelSettings
    from tinychat.model import Decoder, ModelCard, model_files
    from tinychat.runs import publish_checkpoint
    from tinychat.text import train_bpe

    tokenizer = train_bpe(["The cat sat on the mat. What is your name? My name is Tom. "], 300)
    shape = ModelSettings(n_layer=8, n_head=8, n_embd=64 if small else 512, intermediate_size=1376)
    decoder = Decoder(shape, tokenizer.vocab_size)
    decoder.initialise(0)
    card = ModelCard(shape, tokenizer.vocab_size, "chat", "answers", 0, "startup", "", "")
    return publish_checkpoint(folder, 0, model_files(decoder, tokenizer, card))


def environment() -> dict[str, str]:
    """Ours; only that Python may keep what it compiles, as it does where nobody forbids it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def import_torch() -> tuple[float, float]:
    """Seconds, and CPU seconds, of a Python that only imports torch."""
    before, began = children(), time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True, env=environment())
    return time.monotonic() - began, children() - before


def chat(run: str) -> tuple[float, float]:
    """Seconds until the prompt stands there, and CPU seconds until then and of leaving."""
    ours, theirs = pty.openpty()
    before, began = children(), time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "tinychat", "chat", run],
        stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True,
        env=environment(),
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while not seen.endswith(PROMPT):
            if not select.select([ours], [], [], LONGEST)[0]:
                child.kill()
                break
            seen += os.read(ours, 4096)
        seconds = time.monotonic() - began
        os.write(ours, b"\x04")
        while os.read(ours, 4096):
            pass
    except OSError:  # the other end is closed
        if not seen.endswith(PROMPT):
            raise SystemExit(
                f"chat showed no prompt, but: {seen.decode(errors='replace')}"
            ) from None
    finally:
        child.wait()
        os.close(ours)
    return seconds, children() - before


def children() -> float:
    """CPU seconds of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
