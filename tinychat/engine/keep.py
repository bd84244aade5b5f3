"""An answer as conversations keep it: with everything that decided it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tinychat.conversations import Answer as KeptAnswer
from tinychat.engine.prompt import Completion
from tinychat.engine.sampling import Sampling
from tinychat.engine.shelf import OpenedModel


def kept_answer(
    model: OpenedModel,
    done: Completion,
    sampling: Sampling,
    stats: Mapping[str, Any],
    *,
    system: str = "",
    begin: str = "",
) -> KeptAnswer:
    """A finished answer with its model, prompt, rules and `stats`.

    `begin` is the text that it was made to begin with, where the ids do not spell it exactly.
    """
    tokenizer, begin_ids = model.text.tokenizer, done.prompt.begin
    text, spelled = begin + done.text, tokenizer.decode(begin_ids)
    if begin_ids and begin in ("", spelled):
        begin = spelled
        # one character may have its first bytes in `begin` and its last ones in the answer
        ended_early = done.finish_reason == "stop"
        text = begin + done.text if ended_early else tokenizer.decode((*begin_ids, *done.ids))
    return KeptAnswer(
        text=text,
        prompt_ids=done.prompt.ids,
        answer_ids=done.ids,
        run=model.name,
        step=model.step,
        settings=asdict(sampling),
        seed=sampling.seed,
        finish_reason=done.finish_reason,
        stats=stats,
        mode="chat" if model.is_chat else "text",
        chat_format=tokenizer.format.name,
        system=system,
        begin=begin,
    )
