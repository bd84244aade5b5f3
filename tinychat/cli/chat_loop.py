"""The talk itself: takes what a person says to the model, and what it says back.

The attributes are what the slash commands change, and the methods what they ask for.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING

from tinychat.cli import lookback, slash
from tinychat.cli.sampling import SamplingFlags
from tinychat.cli.talk import Behind, Talk
from tinychat.cli.terminal import Terminal, interrupts
from tinychat.config.sampling import SEEDS
from tinychat.conversations import Answer
from tinychat.errors import SettingsError, TinychatError
from tinychat.runs import RunReader
from tinychat.words import count, inert, number

if TYPE_CHECKING:  # they import torch
    from collections.abc import Sequence

    from tinychat.engine import Completion, Engine, OpenedModel, Prompt, Shelf

CANDIDATES = 5  # tokens that /inside tells besides


class ChatLoop:
    """One talk with the models of a shelf."""

    def __init__(
        self,
        engine: "Engine",
        shelf: "Shelf",
        model: "OpenedModel",
        flags: SamplingFlags,
        talk: Talk,
        begin: str,
        seed: int,
    ) -> None:
        self.shelf = shelf
        self.model = model
        self.flags = flags
        self.talk = talk
        self.begin = begin
        self.next_seed = seed
        self.follows_newest = False
        self.has_left = False
        self._engine = engine
        self._terminal = Terminal()
        self.shows_stats = self._terminal.live
        self._refused: set[int] = set()  # steps that cannot be used; each is told once

    @property
    def is_chat(self) -> bool:
        """The model answers; otherwise it goes on with a text."""
        return self.model.is_chat

    def run(self) -> None:
        """Talk until the input ends or the person leaves."""
        if self._terminal.live:
            self._greet()
            self._terminal.complete(slash.completions)
        while not self.has_left and (said := self._terminal.read()) is not None:
            is_command = said.startswith("/")
            try:
                if is_command:
                    slash.obey(self, said)
                elif said.strip():
                    self.ask(said)
            except TinychatError as error:
                if not (is_command or self._terminal.live):
                    raise  # a program that waits for an answer must see that there is none
                self.remark(inert(str(error), keep="\n"))
            except KeyboardInterrupt:  # while a model is being opened
                if not self._terminal.live:
                    raise
                self.remark(f"stopped; {inert(self.model.label)} answers")

    def remark(self, text: str) -> None:
        """Tell something that no model said."""
        self._terminal.remark(text)

    def ask(self, said: str, *, again: bool = False) -> None:
        """Say something to the model and show its answer; `again` in place of the newest turn."""
        completion, answer = self._answer(said, self.begin, self.begin, again=again)
        self._keep(said, completion, answer, again=again)

    def go_on(self) -> None:
        """Let the newest answer become longer; the shorter one remains as a version."""
        said = self.talk.last_said
        completion, answer = self._answer(said, self._as_beginning(), "", again=True)
        if completion.ids:
            self._keep(said, completion, answer, again=True)
        else:
            self.remark("the model has nothing to add")

    def switch(self, name: str) -> None:
        """Go on with another checkpoint."""
        self._take(self.shelf.open(name))
        self.follows_newest = False
        self.remark(f"{inert(self.model.label)} answers from here on")
        self._tell_if_base()

    def follow(self, on: bool) -> None:
        """Answer with the newest checkpoint of the run, whichever that is, or stay with this."""
        if on and self.model.step is None:
            raise SettingsError(f"{inert(self.model.label)} was not trained here and has no steps")
        self.follows_newest = on
        self._refused.clear()
        who = "the newest checkpoint" if on else inert(self.model.label)
        self.remark(f"{who} answers from here on")
        self._keep_up()

    def _answer(
        self, said: str, begin: "str | Sequence[int]", shown_first: str, *, again: bool
    ) -> "tuple[Completion, Answer]":
        """Let the model answer, and show what it says."""
        self._keep_up()
        rules = self.flags.rules(self.next_seed)
        model = self.model.text
        prompt = model.fit(
            self.talk.prompt(said, again=again) if self.is_chat else said,
            rules.max_new_tokens,
            begin=begin,
        )
        self._tell_of_context(prompt)
        coming = self._engine.ask(model, prompt, rules, details=CANDIDATES)
        self.next_seed = (self.next_seed + 1) % SEEDS
        with interrupts(coming.cancel):
            self._terminal.show(self.model.name, shown_first, coming)
        completion = coming.completion
        assert completion is not None  # the last piece was given
        from tinychat.engine import kept_answer

        stats = asdict(coming.stats())
        return completion, kept_answer(
            self.model, completion, rules, stats, system=self.talk.system
        )

    def _keep(self, said: str, completion: "Completion", answer: Answer, *, again: bool) -> None:
        """Take an answer into the talk."""
        tokenizer = self.model.text.tokenizer
        behind = Behind(tokenizer, completion.prompt.begin, completion.details)
        self.talk.add(said, answer, behind, again=again)
        if self.shows_stats:
            self.remark(lookback.stats_line(answer, len(self.talk.versions())))
        if answer.finish_reason == "repetition":
            self.remark(
                "it repeated itself and was ended; /repetition-penalty 1.2 and /retry may help"
            )

    def _as_beginning(self) -> "str | Sequence[int]":
        """The newest answer as what another begins with: its very tokens, where they are it."""
        last = self.talk.last
        behind, tokenizer = self.talk.behind(last), self.model.text.tokenizer
        if last.answer is None or behind is None or behind.tokenizer.sha256 != tokenizer.sha256:
            return last.text
        if last.answer.finish_reason == "stop":  # its tokens reach into the stop text
            return last.text
        return (*behind.begin_ids, *last.answer.answer_ids)

    def _keep_up(self) -> None:
        """Take the newest checkpoint, if that is wanted and there is a newer one."""
        newest = RunReader(self.model.run).latest if self.follows_newest else None
        if newest is None or newest == self.model.step or newest in self._refused:
            return
        try:
            self._take(self.shelf.open(f"{self.model.run}@{newest}"))
        except TinychatError as error:
            self._refused.add(newest)
            self.remark(inert(f"{error} Step {self.model.step} goes on answering."))
        else:
            self.remark(f"now at step {newest}")

    def _take(self, model: "OpenedModel") -> None:
        for sentence in model.remarks:
            self.remark(inert(sentence))
        self.model = model

    def _greet(self) -> None:
        runtime = self.model.text.runtime
        print(
            f"{inert(self.model.label)}   context {number(self.model.text.context_length)} tokens, "
            f"{runtime.dtype} on {runtime.device}, seed {self.next_seed}"
        )
        self._tell_if_base()
        self.remark("/help tells what you can do, Ctrl+D leaves")

    def _tell_if_base(self) -> None:
        if not self.is_chat:
            self.remark("It has learnt texts, not conversations: it goes on with what you type.")

    def _tell_of_context(self, prompt: "Prompt") -> None:
        if not prompt.dropped_tokens:
            return
        left_out = f"the first {count(prompt.dropped_tokens, 'token')}"
        if prompt.dropped_turns:
            left_out = count(prompt.dropped_turns, "oldest turn")
        self.remark(
            f"context {number(len(prompt.ids))} of {number(self.model.text.context_length)} "
            f"tokens; the model no longer sees {left_out}"
        )
