"""Whether a teacher gets the manner of answering that he asks for, and what that costs.

    python benchmarks/teaching.py [RUN] [--turns 3] [--judgements 60] [--picks-only] [FLAG ...]

RUN is a trained `demo`, which is not touched; without it one is trained first, which takes three to
ten minutes. A scripted teacher goes through everyday small talk, which the demo has never met, and
is offered four answers to each prompt, as the chat offers them. Some are as he likes them and some
are not: he picks one that is made of words. There is none: he writes a better one (with
--picks-only he passes on). All are: he passes on. After so many judgements `tinychat tune` learns
from them, with its own recipe and the flags that are given here. Before and after, prompts that he
did not judge tell how many answers are as he likes them; prompts of another kind share neither
their way of saying nor what they are about with any that he judged. val_loss is on the demo's own
data. Two teachers: one likes answers of fewer than eight words, the other those that end in a
question.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from measured import QUICKLY, Figure, arguments, save
from tinychat.config import RuntimeSettings
from tinychat.conversations import Feedback
from tinychat.engine import Engine, Sampling, Several, Shelf, with_seeds
from tinychat.runs import RunPaths, RunReader, find_run
from tinychat.text import Message
from tinychat.text.smalltalk import training_conversations

ANSWERS = 4
RULES = Sampling(temperature=0.8, max_new_tokens=60, seed=1)
UNSEEN = 120  # prompts that are asked before and after
STRANGE = 10  # things that nobody talks about while answers are judged
FEW_WORDS = 8

# What people say, and about what. The last way of each kind is never judged.
WAYS = (
    ("Do you like {}?", "Do you enjoy {}?", "What do you think about {}?"),
    ("I had {} today.", "Yesterday I saw {}.", "My friend gave me {}."),
    ("Why do people like {}?", "Why is {} good?", "Why do we need {}?"),
    ("How do I make {}?", "How can I find {}?", "How should I paint {}?"),
    ("Can you help me with {}?", "I need help with {}.", "I do not understand {}."),
    ("I am afraid of {}.", "I am tired of {}.", "I am happy about {}."),
    ("Tomorrow I will buy {}.", "Let us look for {}.", "Shall we talk about {}?"),
    ("Tell me about {}.", "Describe {}.", "Say something about {}."),
)
THINGS = (
    "a cake", "music", "a red boat", "the sea", "a cat", "school", "a dog", "the moon", "winter",
    "a garden", "old books", "rain", "a horse", "bread", "the city", "flowers", "a bicycle",
    "trains", "a song", "apples", "the stars", "my house", "fish", "snow", "chocolate",
    "the forest", "a letter", "tea", "a camera", "the river", "football", "a lamp",
)  # fmt: skip


@dataclass(frozen=True)
class Teacher:
    """Which answers he likes, and how he would have put one that he does not."""

    name: str
    likes: Callable[[str], bool]
    rewrite: Callable[[str], str]


def is_short(text: str) -> bool:
    return 0 < len(text.split()) < FEW_WORDS


def shortened(text: str) -> str:
    """Its first sentence, or as much of that as is short enough."""
    first = text.split(". ")[0].split("! ")[0].rstrip(".!?,")
    return " ".join(first.split()[: FEW_WORDS - 1]).rstrip(".!?,") + "."


def is_question(text: str) -> bool:
    return text.rstrip().endswith("?")


def asking(text: str) -> str:
    return f"{text.strip()} And you?"


TEACHERS = (
    Teacher("short", is_short, shortened),
    Teacher("asks", is_question, asking),
)


@cache
def known_words() -> frozenset[str]:
    """Of the demo's own talk, and of what is said to it here."""
    talks = (message.content for talk in training_conversations() for message in talk.messages)
    ways = (way for kind in WAYS for way in kind)
    return frozenset(word for text in (*talks, *ways, *THINGS) for word in words(text))


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def is_sound(text: str) -> bool:
    """Whether it is made of words: what learns too hard from little begins to stammer."""
    return bool(text.strip()) and all(word in known_words() for word in words(text))


def share(answers: Sequence[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, answers)) / len(answers)


@dataclass(frozen=True)
class Prompts:
    """Those to judge answers to; others in the same ways about the same things; and others that
    share neither their way of saying nor their thing with any that was judged."""

    judged: list[str]
    unseen: list[str]
    strange: list[str]


def prompts(turn: int) -> Prompts:
    """Always the same in a turn, in an order of chance."""
    order = random.Random(f"everyday small talk {turn}")
    things = order.sample(THINGS, len(THINGS))
    known = [way.format(x) for kind in WAYS for way in kind[:-1] for x in things[STRANGE:]]
    strange = [kind[-1].format(x) for kind in WAYS for x in things[:STRANGE]]
    order.shuffle(known)
    order.shuffle(strange)
    return Prompts(known[UNSEEN:], known[:UNSEEN], strange)


@dataclass
class Model:
    """A checkpoint to ask."""

    folder: Path

    def __post_init__(self) -> None:
        shelf = Shelf(self.folder.parent.parent, RuntimeSettings(dtype="fp32", threads=1))
        self.opened = shelf.open(str(self.folder))

    def answers(self, asked: Sequence[str]) -> list[str]:
        said = [[Message("user", each)] for each in asked]
        return [each.text for each in self.opened.text.complete(said, RULES)]

    def offered(self, asked: Sequence[str], seed: int) -> Iterator[Several]:
        """To each prompt, answers as the chat offers them to choose among."""
        with Engine(batch_rows=ANSWERS) as engine:
            for prompt in asked:
                rules = with_seeds(replace(RULES, seed=seed), ANSWERS)
                several = Several(engine, self.opened, prompt, rules, differ=True)
                while several.take(None):
                    pass
                yield several


def teach(
    model: Model,
    teacher: Teacher,
    runs: Path,
    judgements: int,
    *,
    picks_only: bool = False,
    turn: int = 0,
) -> dict[str, int]:
    """Judge answers as the chat keeps it, in a folder of runs; returns how often what was done."""
    feedback, done = Feedback(runs), {"picks": 0, "rewrites": 0, "passed": 0}
    for several in model.offered(prompts(turn).judged, turn):
        liked = [place for place, text in enumerate(several.texts) if teacher.likes(text)]
        good = [place for place in liked if is_sound(several.texts[place])]
        if good and len(liked) < ANSWERS:
            feedback.pick(several.messages, several.kept(), good[0])
            done["picks"] += 1
        elif good or picks_only:
            done["passed"] += 1
        else:
            first = next(iter(filter(lambda each: is_sound(each.text), several.kept())), None)
            first = first or several.kept()[0]
            feedback.rewrite(several.messages, first, teacher.rewrite(first.text))
            done["rewrites"] += 1
        if done["picks"] + done["rewrites"] == judgements:
            break
    return done


@dataclass(frozen=True)
class Taught:
    """What came of one teacher. Shares are of answers to unseen prompts that he likes."""

    picks: int
    rewrites: int
    passed: int
    before: float
    after: float
    strange: float  # the same after it, of prompts of another kind
    sound_before: float  # share of answers that are made of words
    sound_after: float
    rise: float  # of val_loss on the parent's data, nats per token, at the best checkpoint
    seconds: float  # of `tinychat tune`, from its start to its end
    steps: int  # of the best checkpoint

    def __str__(self) -> str:
        return (
            f"{self.picks} picks, {self.rewrites} rewrites, {self.passed} passed; answers as he "
            f"likes them {self.before:.0%} before, {self.after:.0%} after {self.steps} steps, to "
            f"prompts of another kind {self.strange:.0%}; made of words {self.sound_before:.0%} "
            f"before, {self.sound_after:.0%} after; val_loss {self.rise:+.3f} nats per token; "
            f"{self.seconds:.0f} s"
        )


def learn(
    parent: Path,
    teacher: Teacher,
    runs: Path,
    *flags: str,
    judgements: int = 60,
    picks_only: bool = False,
    turn: int = 0,
) -> Taught:
    """Judge, tune and ask again; `parent` is a checkpoint, the new run lies in `runs`."""
    before, said = Model(parent), prompts(turn)
    done = teach(before, teacher, runs, judgements, picks_only=picks_only, turn=turn)
    began = time.monotonic()
    tinychat("tune", str(parent), "--checkpoints", str(runs), "--name", teacher.name, *flags)
    seconds = time.monotonic() - began
    run = RunReader(runs / teacher.name)
    assert run.best is not None
    losses = {row["step"]: row["val_loss"] for row in run.rows("metrics") if row["kind"] == "eval"}
    after = Model(RunPaths(run.paths.root).checkpoint(run.best.step))
    old, new = before.answers(said.unseen), after.answers(said.unseen)
    return Taught(
        **done,
        before=share(old, teacher.likes),
        after=share(new, teacher.likes),
        strange=share(after.answers(said.strange), teacher.likes),
        sound_before=share(old, is_sound),
        sound_after=share(new, is_sound),
        rise=losses[run.best.step] - losses[0],
        seconds=seconds,
        steps=run.best.step,
    )


def tinychat(*words: str) -> None:
    """A command of ours. What it tells a person goes where our own errors go."""
    subprocess.run([sys.executable, "-m", "tinychat", *words], check=True, stdout=sys.stderr)


def best_of(name: str, folder: Path) -> Path:
    """The checkpoint that RUN means."""
    run, step = find_run(name, folder)
    best = RunReader(run).best
    step = best.step if step is None and best is not None else step
    assert step is not None, f"{name} has no checkpoint that was evaluated"
    return RunPaths(run).checkpoint(step)


def demo(told: argparse.Namespace, folder: Path) -> Path:
    """The checkpoint to begin with: of the run that was named, else of a demo that is trained."""
    if told.run is None:
        few = ("--model.n-layer=1", "--model.n-embd=48", "--max-steps=4", *QUICKLY)
        train = few if told.quick else ()
        tinychat("train", "--preset=demo", "--name=demo", f"--checkpoints={folder}", *train)
    return best_of(told.run or "demo", folder)


def taught(
    parent: Path, teacher: Teacher, folder: Path, told: argparse.Namespace, flags: list[str]
) -> dict[str, Figure]:
    """What came of a teacher, in all turns."""
    found: list[Taught] = []
    asked = {"judgements": told.judgements, "picks_only": told.picks_only}
    for turn in range(told.turns):
        runs = folder / f"{teacher.name}-{turn}"
        found.append(learn(parent, teacher, runs, *flags, **asked, turn=turn))
        print(f"{teacher.name}: {found[-1]}", flush=True)
    return {
        f"{teacher.name}: before": Figure.of([100 * each.before for each in found], " %"),
        f"{teacher.name}: after": Figure.of([100 * each.after for each in found], " %"),
        f"{teacher.name}: after, prompts of another kind": Figure.of(
            [100 * each.strange for each in found], " %"
        ),
        f"{teacher.name}: made of words, before": Figure.of(
            [100 * each.sound_before for each in found], " %"
        ),
        f"{teacher.name}: made of words": Figure.of(
            [100 * each.sound_after for each in found], " %"
        ),
        f"{teacher.name}: val_loss": Figure.of([each.rise for each in found], " nats"),
        f"{teacher.name}: seconds": Figure.of([each.seconds for each in found], " s"),
    }


def main() -> None:
    """Train if that is needed, teach, print."""
    parser = arguments(__doc__)
    parser.add_argument("run", nargs="?", help="a trained demo")
    parser.add_argument("--turns", type=int, default=3, help="each with other prompts and answers")
    parser.add_argument("--judgements", type=int, default=60)
    parser.add_argument("--picks-only", action="store_true", help="he writes nothing himself")
    told, flags = parser.parse_known_args()
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="tinychat-teaching-") as name:
        folder = Path(name)
        parent = demo(told, folder)
        if told.quick:
            told.turns, told.judgements = 1, 6
            flags = [*flags, "--max-steps=2", "--replay.max-val-loss-rise=none"]
        for teacher in TEACHERS:
            figures |= taught(parent, teacher, folder, told, flags)
    save(told, figures)


if __name__ == "__main__":
    main()
