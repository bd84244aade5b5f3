"""`tinychat chat`: talk with a model in the terminal, or through a pipe, one turn a line."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tinychat.cli.output import screen, tell
from tinychat.cli.sampling import SAMPLING, Device, Dtype, Rules, SamplingFlags, draw_seed
from tinychat.errors import SettingsError
from tinychat.words import count, inert, number

if TYPE_CHECKING:  # they import torch
    from tinychat.cli.models import OpenedModel
    from tinychat.engine import Answer
    from tinychat.text import Message

HELP = """\
  /system TEXT     what the model is told first; without TEXT, nothing
  /temperature T   how freely to choose; 0 always takes the likeliest token
  /seed N          make the answers from here on repeatable
  /reset           forget the talk
  /quit            leave (or Ctrl+D); Ctrl+C stops an answer"""


def chat_command(
    run: str,
    /,
    *,
    system: str | None = None,
    sampling: Rules = SAMPLING,
    device: Device = "auto",
    dtype: Dtype = "auto",
    checkpoints: Path | None = None,
) -> int:
    """Talk with a model. Ctrl+C stops an answer, Ctrl+D leaves, /help tells the rest.

    Its words come as they are made. A talk that outgrows the model's context loses its oldest
    turns, and says so. Input may also come through a pipe: each line is a turn, each answer goes
    to stdout, remarks go to stderr.

        tinychat chat demo
        printf 'Hello!\\nWhat is 3 + 4?\\n' | tinychat chat demo --temperature 0

    Parameters
    ----------
    run
        A run, its folder, a checkpoint (demo@300, demo@latest), or a Hugging Face model folder.
    system
        What the model is told before the talk begins.
    device
        Where to compute (auto: cuda, else mps, else cpu).
    dtype
        Precision (auto: bf16 on cuda that has it, else fp32).
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    """
    from tinychat.cli.models import open_run
    from tinychat.config import RuntimeSettings
    from tinychat.runs import default_checkpoints

    talk = Talk(sampling, draw_seed() if sampling.seed is None else sampling.seed, system or "")
    talk.flags.rules(talk.seed)  # refuse what cannot be, before anything is loaded
    settings = RuntimeSettings(device=device, dtype=dtype)
    model = open_run(run, checkpoints or default_checkpoints(), settings)
    Terminal(model, talk).run()
    return 0


@dataclass
class Talk:
    """A conversation as it grows, and the rules of the next answer."""

    flags: SamplingFlags
    seed: int
    system: str
    messages: "tuple[Message, ...]" = ()
    turn: int = 0

    def said(self, role: str, content: str) -> None:
        from tinychat.text import Message

        self.messages = (*self.messages, Message(role, content))

    def with_system(self) -> "tuple[Message, ...]":
        from tinychat.text import Message

        return ((Message("system", self.system),) if self.system else ()) + self.messages

    def reset(self) -> None:
        self.messages, self.turn = (), 0


class Terminal:
    """Reads turns, prints answers, obeys the commands that begin with a slash."""

    def __init__(self, model: "OpenedModel", talk: Talk) -> None:
        self._model = model
        self._talk = talk
        self._engine = model.engine()
        self._is_chat = model.card.kind == "chat"
        self._live = sys.stdin.isatty() and sys.stdout.isatty()

    def run(self) -> None:
        """Talk until the input ends."""
        if self._live:
            self._greet()
        for line in self._lines():
            if line.startswith("/"):
                if not self._obey(line):
                    return
            elif line.strip():
                self._answer(line)

    def _greet(self) -> None:
        card = self._model.card
        screen().print(
            f"{inert(self._model.label)}   /help for commands, Ctrl+D leaves", style="bold"
        )
        if not self._is_chat:
            print("It has learnt texts, not conversations: it goes on with what you type.")
        print(f"context {card.model.context_length} tokens, seed {self._talk.seed}")

    def _lines(self) -> Iterator[str]:
        """The turns, from the terminal with history and editing, or from a pipe."""
        if not self._live:
            sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
            yield from (line.rstrip("\r\n") for line in sys.stdin)
            return
        try:
            import readline  # noqa: F401  (input() then edits and remembers)
        except ImportError:
            pass
        while True:
            try:
                yield input("\nyou › ")
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print("\n(Ctrl+D leaves)")

    def _obey(self, line: str) -> bool:
        """One slash command; False to leave."""
        word, _, rest = line.strip().partition(" ")
        try:
            match word:
                case "/quit" | "/exit":
                    return False
                case "/reset":
                    self._talk.reset()
                    self._remark("forgotten")
                case "/system":
                    self._talk.system = rest.strip()
                    self._remark("the model is told that first" if rest.strip() else "told nothing")
                case "/temperature":
                    flags = replace(self._talk.flags, temperature=_number(rest, float))
                    flags.rules(self._talk.seed)
                    self._talk.flags = flags
                    self._remark(f"temperature {flags.temperature:g}")
                case "/seed":
                    seed = _number(rest, int)
                    self._talk.flags.rules(seed)
                    self._talk.seed, self._talk.turn = seed, 0
                    self._remark(f"seed {seed}")
                case "/help":
                    self._remark(HELP)
                case _:
                    self._remark(f"there is no {inert(word)}; /help tells what there is")
        except SettingsError as error:
            self._remark(str(error))
        return True

    def _answer(self, said: str) -> None:
        """Say one turn to the model and print what it says."""
        talk = self._talk
        rules = talk.flags.rules(talk.seed + talk.turn)
        talk.turn += 1
        if self._is_chat:
            talk.said("user", said)
            answer = self._engine.stream_chat(talk.with_system(), rules)
        else:
            answer = self._engine.stream_text(said, rules)
        self._tell_of_context(answer)
        if self._live:
            print(f"{inert(self._model.run.absolute().name)} › ", end="", flush=True)
        text = ""
        try:
            with _stops(answer):
                for piece in answer:
                    text += piece
                    print(inert(piece, keep="\n\t"), end="", flush=True)
        finally:
            print(flush=True)
        if self._is_chat:
            talk.said("assistant", text)

    def _tell_of_context(self, answer: "Answer") -> None:
        prompt = answer.prompt
        if prompt.dropped_turns or prompt.dropped_tokens:
            left_out = count(prompt.dropped_turns, "oldest turn") if prompt.dropped_turns else ""
            left_out = left_out or f"the first {count(prompt.dropped_tokens, 'token')}"
            length = self._model.card.model.context_length
            self._remark(
                f"context {number(len(prompt.ids))} of {number(length)} tokens; "
                f"the model no longer sees {left_out}"
            )

    def _remark(self, text: str) -> None:
        if self._live:
            screen().print(text, style="dim")
        else:
            tell(text)


@contextmanager
def _stops(answer: "Answer") -> Iterator[None]:
    """Ctrl+C ends the answer and not the program."""

    def cancel(signal_number: int, frame: FrameType | None) -> None:
        answer.cancel()

    before: Any = signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _number(text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise SettingsError(f"{inert(text)!r} is not a number") from None
