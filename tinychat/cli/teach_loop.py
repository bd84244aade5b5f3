"""The talk of a teacher: a prompt, four answers, a judgement, and again.

What was judged is kept at once. `teach_training` makes a better model of it, `teach_view` is how
it looks.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinychat.cli.sampling import SamplingFlags
from tinychat.cli.teach_live import LiveTeaching
from tinychat.cli.teach_view import Keys, View
from tinychat.cli.terminal import interrupts
from tinychat.config.sampling import SEEDS
from tinychat.conversations import EXCERPT, Answer, Feedback, Messages
from tinychat.errors import TinychatError
from tinychat.text import suggest
from tinychat.words import clip, count, inert

if TYPE_CHECKING:  # they import torch
    from tinychat.engine import Engine, OpenedModel

ANSWERS = 4
WITH_PROMPT = {"u": "undo", "t": "train on this", "d": "decide", "?": "help", "q": "end"}
"""Keys that are heard where a prompt is typed: a line of that one letter."""

HELP = (
    "One prompt, four answers: say which is best. From many such judgements the model learns.",
    "1-4  that answer is the best one: the others are less good",
    "r    write what you would have answered; ``` begins and ends a text of several lines",
    "s    none of them; nothing is kept",
    "u    take the last judgement back, and judge those answers again",
    "t    train on what was judged: a new model, beside the old one",
    "d    compare what was taught last with what it came from, and accept it or go back",
    "q    end; all that was judged stays",
    "Where a prompt is typed, a line of one of the letters u, t, d, ?, q is that key.",
)


@dataclass(eq=False)
class Turn:
    """One prompt with its answers, and what was said of them."""

    said: str
    messages: Messages
    answers: Sequence[Answer]
    judgement: str = ""  # its id; "" while there is none

    @property
    def texts(self) -> list[str]:
        return [answer.text for answer in self.answers]


class TeachLoop:
    """One talk with a model that is taught.

    `since` says how many judgements no training has had yet; `train` and `decide` are called for
    "t" and "d" and give the model that answers from then on. With `live` there is neither: a copy
    learns meanwhile.
    """

    def __init__(
        self,
        engine: "Engine",
        model: "OpenedModel",
        view: View,
        feedback: Feedback,
        flags: SamplingFlags,
        *,
        prompts: Sequence[str],
        seed: int,
        system: str = "",
        since: Callable[[], int],
        train: "Callable[[OpenedModel], OpenedModel]",
        decide: "Callable[[OpenedModel], OpenedModel]",
        live: LiveTeaching | None = None,
    ) -> None:
        self.model = model
        self.next_seed = seed
        self._engine, self._view, self._feedback, self._flags = engine, view, feedback, flags
        self._system, self._since = system, since
        self._live, self._prompts = live, prompts
        self._changes = {"t": train, "d": decide}  # which model answers
        self._with_prompt: Keys = {
            key: word for key, word in WITH_PROMPT.items() if not live or key not in self._changes
        }
        judged = {mark.asked for mark in feedback.marks()}
        self._asked = {prompt for prompt in prompts if clip(prompt, EXCERPT) in judged}
        self._last = ""  # that was asked
        self._told_again = False  # that what is suggested was asked before
        self._open: list[Turn] = []  # to be judged, the last one first
        self._judged: list[Turn] = []  # in this talk
        self._has_left = False

    def run(self) -> None:
        """Until the input ends or the teacher leaves.

        A person's Ctrl+C is heard where something is waited for, so that it breaks nothing in two.
        """
        with interrupts(lambda: None) if self._view.live else nullcontext():
            self._run()
            if self._live:
                self._live.end()

    def _run(self) -> None:
        while not (self._has_left or self._view.has_ended):
            try:
                if self._open:
                    self._judge(self._open[-1])
                else:
                    self._ask()
            except TinychatError as error:
                if not self._view.live:
                    raise  # a program that waits must see that there is nothing
                self._view.tell("refused", inert(str(error), keep="\n"))

    def counter(self) -> str:
        """23 picks, 11 thumbs, 4 rewrites; 12 since the last training"""
        told = str(self._feedback.counts(reviewed=True))
        waiting = sum(not mark.reviewed for mark in self._feedback.marks())
        if waiting:
            told += f"; {waiting} more wait for review"
        since = self._since()
        return f"{told}; {since} since the last training"

    def _ask(self) -> None:
        suggestion = suggest(self._prompts, self._asked, self._last)
        if suggestion in self._asked and not self._told_again:
            self._told_again = True
            number = count(len(self._prompts), "prompt")
            told = f"all {number} that can be suggested were asked: they come again, or type one"
            self._view.tell("all_asked", told)
        said = self._view.hear_prompt(suggestion, self.counter(), self._with_prompt)
        if said is None:
            return
        if said.strip() in self._with_prompt:
            self._obey(said.strip())
            return
        if not said.strip():
            if suggestion is None:
                self._view.tell("refused", "there is nothing to suggest; please type a prompt")
                return
            said = suggestion
        self._asked.add(said)
        self._last = said
        self._answer(said)

    def _answer(self, said: str) -> None:
        """Four answers, to be judged."""
        from tinychat.engine import Several, with_seeds

        if self._live:
            self.model = self._live.newest()
        rules = with_seeds(self._flags.rules(self.next_seed), ANSWERS)
        several = Several(self._engine, self.model, said, rules, self._system, differ=True)
        self.next_seed = (self.next_seed + ANSWERS) % SEEDS
        if several.dropped_tokens:
            told = f"its first {count(several.dropped_tokens, 'token')}"
            self._view.tell("shortened", f"the prompt is too long: the model does not see {told}")
        self._view.show_coming(several)
        answers = several.kept()
        if any(answer.finish_reason == "cancelled" for answer in answers):
            self._view.tell("stopped", "stopped; there is nothing to judge")
            return
        self._open.append(Turn(said, several.messages, answers))

    def _judge(self, turn: Turn) -> None:
        heard = self._view.hear_key(self._keys(turn))
        if heard is None:
            asked = inert(clip(turn.said, EXCERPT))
            told = f"the input ended before the answers to {asked!r} were judged"
            self._view.tell("unjudged", f"{told}: nothing is kept of them", prompt=turn.said)
            return
        key, rest = heard
        if key.isdigit():
            chosen = int(key) - 1
            turn.judgement = self._feedback.pick(turn.messages, turn.answers, chosen)
            self._kept(turn, f"kept: {key} is the best", verdict="pick", chosen=chosen)
        elif key == "r":
            self._rewrite(turn, rest)
        elif key == "s":
            self._open.pop()
            self._view.tell("skipped", "skipped")
            self._go_back()
        else:
            self._obey(key)

    def _keys(self, turn: Turn) -> Keys:
        """Where all answers are the same, there is no best one."""
        same = len(set(turn.texts)) == 1
        picks = {} if same else {str(n + 1): "best" for n in range(len(turn.answers))}
        return {**picks, "r": "rewrite", "s": "skip", **self._with_prompt}

    def _rewrite(self, turn: Turn, text: str) -> None:
        text = text or self._view.hear_text("your answer") or ""
        if not text.strip():
            self._view.tell("refused", "nothing was written, so nothing is kept")
            return
        turn.judgement = self._feedback.rewrite(turn.messages, turn.answers[0], text)
        self._kept(turn, "kept: your own answer", verdict="rewrite", text=text)

    def _kept(self, turn: Turn, message: str, **facts: object) -> None:
        self._open.remove(turn)
        self._judged.append(turn)
        if self._live:
            self._live.judged(turn.judgement)
        told = {"prompt": turn.said, "id": turn.judgement, "counts": self.counter(), **facts}
        self._view.tell("kept", message, **told)
        self._go_back()

    def _go_back(self) -> None:
        """To the answers that were put aside while others were judged again."""
        if self._open:
            said = self._open[-1].said
            self._view.tell("again", f"back to: {inert(said)}", prompt=said)
            self._show(self._open[-1])

    def _obey(self, key: str) -> None:
        """A key that has nothing to do with the answers that are shown."""
        if key == "q":
            self._has_left = True
        elif key == "?":
            self._view.tell("help", "\n".join(HELP))
        elif key == "u":
            self._undo()
        else:
            self.model = self._changes[key](self.model)
        if self._open and key in ("?", *self._changes) and not self._view.has_ended:
            self._show(self._open[-1])

    def _undo(self) -> None:
        """Take back what was judged last in this talk, and judge it again. What was taken back
        elsewhere is not there any more."""
        living = {mark.id for mark in self._feedback.marks()}
        self._judged = [turn for turn in self._judged if turn.judgement in living]
        if not self._judged:
            self._view.tell("refused", "nothing was judged in this talk that could be taken back")
            return
        turn = self._judged[-1]
        self._feedback.undo(turn.judgement)
        self._judged.pop()
        if self._live:
            self._live.undone(turn.judgement)
        message = f"taken back; once more: {inert(turn.said)}"
        self._view.tell("undone", message, prompt=turn.said, id=turn.judgement)
        turn.judgement = ""
        self._open.append(turn)
        self._show(turn)

    def _show(self, turn: Turn) -> None:
        self._view.show(turn.texts)
