"""Old and new answers to the same prompts, for a teacher to look at or to vote on blindly."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tinychat.cli.sampling import SamplingFlags
from tinychat.cli.teach_view import View
from tinychat.conversations import Side, Verdict, Votes
from tinychat.words import count, inert

if TYPE_CHECKING:  # they import torch
    from tinychat.engine import Engine, OpenedModel, Shelf

SHOWN = 6  # prompts on which they differ
MOST_ASKED = 30  # to find so many
SEED = 1  # of the first prompt; each takes the next number
HOW = {"l": "look", "b": "blind vote", "s": "skip"}
LOOKS = {"n": "next", "q": "enough"}
VOTES = {"1": "better", "2": "better", "0": "equally good", "x": "both bad", "q": "enough"}
_VERDICTS: dict[str, Verdict] = {"1": "a", "2": "b", "0": "tie", "x": "both bad"}


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, in the order in which they are shown."""

    prompt: str
    seed: int
    models: "Sequence[OpenedModel]"
    texts: Sequence[str]


@dataclass
class _Tally:
    new: int = 0
    old: int = 0
    neither: int = 0


class Comparison:
    """Called with the old model, the new one, and prompts to ask both."""

    def __init__(
        self, engine: "Engine", shelf: "Shelf", view: View, flags: SamplingFlags, system: str
    ) -> None:
        self._engine, self._view, self._flags, self._system = engine, view, flags, system
        self._votes = Votes(shelf.checkpoints)

    def __call__(self, old: "OpenedModel", new: "OpenedModel", prompts: Sequence[str]) -> None:
        """Show where they differ, as the teacher likes it. Blind votes are kept."""
        if not prompts:
            return
        self._view.tell("asks_how", "compare old and new answers where they differ?")
        how = self._view.hear_key(HOW)
        if how is None or how[0] == "s":
            return
        tally, shown = _Tally(), 0
        asked = prompts[:MOST_ASKED]
        for pair in self._pairs(old, new, asked, shuffled=how[0] == "b"):
            shown += 1
            if not self._judge(pair, new, tally, blind=how[0] == "b"):
                break
        else:
            if shown < SHOWN:
                told = f"of {count(len(asked), 'prompt')} they differ on {shown}"
                self._view.tell("compared", told, asked=len(asked), differ=shown)
        if how[0] == "b" and shown:
            told = f"{inert(new.label)} was better {count(tally.new, 'time')}, "
            told += f"{inert(old.label)} {count(tally.old, 'time')}, neither {tally.neither}"
            self._view.tell("tally", told, **asdict(tally))

    def _judge(self, pair: Pair, new: "OpenedModel", tally: _Tally, *, blind: bool) -> bool:
        """Show a pair and take the vote; False where it is enough."""
        names = ["" if blind else inert(model.label) for model in pair.models]
        self._view.show_pair(pair.prompt, pair.texts, names)
        heard = self._view.hear_key(VOTES if blind else LOOKS)
        if heard is None or heard[0] == "q":
            return False
        if blind:
            verdict = _VERDICTS[heard[0]]
            self._keep(pair, verdict)
            if verdict in ("a", "b"):
                winner = pair.models["ab".index(verdict)]
                tally.new += winner is new
                tally.old += winner is not new
            else:
                tally.neither += 1
        return True

    def _keep(self, pair: Pair, verdict: Verdict) -> None:
        settings = asdict(self._flags)
        sides = zip(pair.models, pair.texts, strict=True)
        a, b = (Side(label=m.label, settings=settings, text=text) for m, text in sides)
        self._votes.add(verdict, prompt=pair.prompt, seed=pair.seed, a=a, b=b, blind=True)

    def _pairs(
        self,
        old: "OpenedModel",
        new: "OpenedModel",
        prompts: Sequence[str],
        *,
        shuffled: bool,
    ) -> Iterator[Pair]:
        """At most so many as are shown; prompts that both answer alike are passed over."""
        order, found = random.Random(), 0
        for seed, prompt in enumerate(prompts, SEED):
            models = [old, new]
            if shuffled and order.random() < 0.5:
                models.reverse()
            texts = self._both(models, prompt, seed)
            if texts[0] != texts[1]:
                found += 1
                yield Pair(prompt, seed, models, texts)
            if found == SHOWN:
                return

    def _both(self, models: "Sequence[OpenedModel]", prompt: str, seed: int) -> list[str]:
        """An answer of each, with one seed."""
        from tinychat.engine import Several

        rules = [self._flags.rules(seed)]
        several = [Several(self._engine, each, prompt, rules, self._system) for each in models]
        for each in several:
            while each.take(None):
                pass
        return [each.texts[0] for each in several]
