"""The engine: one way to get tokens out of a model, for live samples, terminal, API and page alike.

`Engine` is the one thread that everybody asks; it gives an `Answer`, whose text comes as it is
made. A `TextModel` is what it answers with: decoder and tokenizer, and how a prompt fits; its
`complete` answers in the caller's own thread, as the trainer needs it. `Shelf` opens checkpoints by
name; `Several` are answers to one prompt, a seed each; `trial_prompts` are what to ask a model and
what a training made of it. Below them, `Batch` turns requests of token
ids into tokens, many rows in one forward pass with a key/value cache; below that, `pick` chooses
one token by the rules in `Sampling`. Touches no global random state, trains nothing, writes
nothing, prints nothing.
"""

from tinychat.engine.answer import Answer, AnswerStats
from tinychat.engine.decoding import Batch, Event, Finish, FinishReason, Request, Row, decode
from tinychat.engine.engine import Engine
from tinychat.engine.keep import kept_answer
from tinychat.engine.prompt import Completion, Prompt, fit_conversation
from tinychat.engine.sampling import Candidate, Sampling, TokenDetail, pick
from tinychat.engine.several import Several, prompt_messages, with_seeds
from tinychat.engine.shelf import OpenedModel, Shelf
from tinychat.engine.text_model import TextModel
from tinychat.engine.trial import Asked, asked_of, rewrites_learnt, trial_prompts

__all__ = [
    "Answer",
    "AnswerStats",
    "Asked",
    "Batch",
    "Candidate",
    "Completion",
    "Engine",
    "Event",
    "Finish",
    "FinishReason",
    "OpenedModel",
    "Prompt",
    "Request",
    "Row",
    "Sampling",
    "Several",
    "Shelf",
    "TextModel",
    "TokenDetail",
    "asked_of",
    "decode",
    "fit_conversation",
    "kept_answer",
    "pick",
    "prompt_messages",
    "rewrites_learnt",
    "trial_prompts",
    "with_seeds",
]
