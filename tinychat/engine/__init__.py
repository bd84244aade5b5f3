"""The engine: one way to get tokens out of a model, for live samples, terminal, API and page alike.

`Engine` turns prompts into text, all at once or as it comes. Below it, `decode` turns requests of
token ids into tokens, many rows in one forward pass with a key/value cache; below that, `pick`
chooses one token by the rules in `Sampling`. Touches no global random state, trains nothing, reads
no run folders, prints nothing.
"""

from tinychat.engine.decoding import Batch, Event, Finish, FinishReason, Request, decode
from tinychat.engine.engine import Answer, Completion, Engine, Prompt
from tinychat.engine.sampling import Sampling, pick

__all__ = [
    "Answer",
    "Batch",
    "Completion",
    "Engine",
    "Event",
    "Finish",
    "FinishReason",
    "Prompt",
    "Request",
    "Sampling",
    "decode",
    "pick",
]
