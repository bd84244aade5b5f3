"""Old and new answers to the same prompts, for a teacher to look at or to vote on blindly."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tinychat.cli.sampling import SamplingFlags
from tinychat.cli.teach_view import View
from tinychat.conversations import Side, Verdict, Votes, blind_swap, tally_words
from tinychat.words import count, inert

if TYPE_CHECKING:  # they import torch
    from tinychat.engine import Asked, Engine, OpenedModel, Shelf

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

    asked: "Asked"
    seed: int
    models: "Sequence[OpenedModel]"
    texts: Sequence[str]


class Comparison:
    """Called with the old model, the new one, and how the prompts begin that were judged."""

    def __init__(
        self, engine: "Engine", shelf: "Shelf", view: View, flags: SamplingFlags, system: str
    ) -> None:
        self._engine, self._view, self._flags, self._system = engine, view, flags, system
        self._votes = Votes(shelf.checkpoints)

    def __call__(self, old: "OpenedModel", new: "OpenedModel", judged: Collection[str]) -> None:
        """Show where they differ, as the teacher likes it. Blind votes are kept."""
        from tinychat.engine import trial_prompts

        prompts = trial_prompts(new.run, judged)[:MOST_ASKED]
        if not prompts or self._view.has_ended:
            return
        self._view.tell("asks_how", "compare old and new answers where they differ?")
        how = self._view.hear_key(HOW)
        if how is None or how[0] == "s":
            return
        blind = how[0] == "b"
        shown = voted = 0
        with self._view.quiet():
            for pair in self._pairs(old, new, prompts, blind=blind):
                shown += 1
                if not self._judge(pair, blind=blind):
                    break
                voted += blind
            else:
                if shown < SHOWN:
                    told = f"of {count(len(prompts), 'prompt')} they differ on {shown}"
                    self._view.tell("compared", told, asked=len(prompts), differ=shown)
        if voted:
            self._tell_tally(old.label, new.label)

    def _tell_tally(self, old: str, new: str) -> None:
        """All votes on these two, whenever they were given."""
        tally = self._votes.tally(old, new)
        told = inert(tally_words(old, new, tally))
        neither = tally.ties + tally.both_bad
        self._view.tell("tally", told, old=tally.a_wins, new=tally.b_wins, neither=neither)

    def _judge(self, pair: Pair, *, blind: bool) -> bool:
        """Show a pair and take the vote; False where it is enough."""
        names = ["" if blind else inert(model.label) for model in pair.models]
        self._view.show_pair(pair.asked.text, pair.texts, names)
        heard = self._view.hear_key(VOTES if blind else LOOKS)
        if heard is None or heard[0] == "q":
            return False
        if blind:
            self._keep(pair, _VERDICTS[heard[0]])
        return True

    def _keep(self, pair: Pair, verdict: Verdict) -> None:
        settings = asdict(self._flags)
        sides = zip(pair.models, pair.texts, strict=True)
        a, b = (Side(label=m.label, settings=settings, text=text) for m, text in sides)
        self._votes.add(verdict, prompt=pair.asked.text, seed=pair.seed, a=a, b=b, blind=True)

    def _pairs(
        self,
        old: "OpenedModel",
        new: "OpenedModel",
        prompts: "Sequence[Asked]",
        *,
        blind: bool,
    ) -> Iterator[Pair]:
        """At most so many as are shown; prompts that both answer alike are passed over."""
        found = 0
        for seed, asked in enumerate(prompts, SEED):
            models = [new, old] if blind and blind_swap() else [old, new]
            texts = self._both(models, asked, seed)
            if texts[0] != texts[1]:
                found += 1
                yield Pair(asked, seed, models, texts)
            if found == SHOWN:
                return

    def _both(self, models: "Sequence[OpenedModel]", asked: "Asked", seed: int) -> list[str]:
        """An answer of each, with one seed."""
        from tinychat.engine import Several

        rules = [self._flags.rules(seed)]
        system = asked.system if asked.is_held_out else self._system
        several = [
            Several(self._engine, each, asked.text, rules, system, before=asked.before)
            for each in models
        ]
        for each in several:
            while each.take(None):
                pass
        return [each.texts[0] for each in several]
