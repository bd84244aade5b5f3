"""`tinychat generate`: one prompt, one answer, on stdout as it comes."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tinychat.cli.models import PLACE, Place, Run, open_model
from tinychat.cli.output import print_json, tell
from tinychat.cli.sampling import SAMPLING, Rules
from tinychat.cli.terminal import interrupts, put
from tinychat.config.sampling import draw_seed
from tinychat.errors import SettingsError

if TYPE_CHECKING:  # they import torch
    from tinychat.engine import Answer, OpenedModel, Sampling, TokenDetail

STOPPED = 130  # the exit code after Ctrl+C


def generate_command(
    run: Run,
    /,
    *,
    prompt: Annotated[str, Parameter(allow_leading_hyphen=True)],
    begin: Annotated[str, Parameter(allow_leading_hyphen=True, show_default=False)] = "",
    sampling: Rules = SAMPLING,
    place: Place = PLACE,
    logprobs: int | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Answer one prompt, on stdout as it comes.

    A chat model answers the prompt as a user's turn; a base model continues it as a text. Without
    RUN@STEP the run's best checkpoint speaks, or its newest where none is known to be best. The
    same seed gives the same text, here and wherever else the model is asked for a serial answer.
    Ctrl+C ends the answer and keeps what there is of it.

        tinychat generate demo --prompt "What is 3 + 4?"
        tinychat generate demo@300 --prompt "Tell me a story." --temperature 0.5 --seed 7

    Parameters
    ----------
    prompt
        What to say to the model.
    begin
        What the answer begins with; the model goes on from there.
    logprobs
        With --json, tell of each token how likely it was, and so many others.
    as_json
        Print one JSON document once the answer is whole.
    """
    from tinychat.engine import Engine
    from tinychat.text import Message

    if logprobs is not None and not (as_json and logprobs >= 0):
        raise SettingsError("--logprobs takes a number from 0 up, and goes together with --json")
    seed = draw_seed() if sampling.seed is None else sampling.seed
    rules = sampling.rules(seed)
    model = open_model(place.shelf(), run)
    said = [Message("user", prompt)] if model.is_chat else prompt
    fitted = model.text.fit(said, rules.max_new_tokens, begin=begin)
    if fitted.dropped_tokens:
        tell(f"the prompt is too long; its first {fitted.dropped_tokens} tokens are left out")
    if sampling.seed is None and not as_json:
        tell(f"seed {seed}")
    with Engine(batch_rows=1) as engine:
        answer = engine.ask(model.text, fitted, rules, serial=True, details=logprobs)
        with interrupts(answer.cancel):
            _show(answer, "" if as_json else begin, silently=as_json)
    completion = answer.completion
    assert completion is not None  # the last piece was given
    if as_json:
        document = _document(model, prompt, begin, rules, answer)
        if logprobs is not None:
            document["tokens"] = [_token(model, each) for each in completion.details]
        print_json(document)
    return STOPPED if completion.finish_reason == "cancelled" else 0


def _show(answer: "Answer", begin: str, *, silently: bool) -> None:
    """Wait for the whole answer, and print it meanwhile."""
    try:
        if not silently:
            put(begin)
        for piece in answer:
            if not silently:
                put(piece)
    finally:
        if not silently:
            print()


def _document(
    model: "OpenedModel", prompt: str, begin: str, rules: "Sampling", answer: "Answer"
) -> dict[str, Any]:
    completion, stats = answer.completion, answer.stats()
    assert completion is not None
    return {
        "run": model.name,
        "step": model.step,
        "checkpoint": str(model.path.absolute()),
        "kind": model.card.kind,
        "prompt": prompt,
        "begin": begin,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": len(completion.prompt.ids),
        "completion_tokens": len(completion.ids),
        "dropped_tokens": completion.prompt.dropped_tokens,
        "seed": rules.seed,
        "temperature": rules.temperature,
        "top_k": rules.top_k,
        "top_p": rules.top_p,
        "min_p": rules.min_p,
        "repetition_penalty": rules.repetition_penalty,
        "repetition_guard": rules.repetition_guard,
        "max_new_tokens": rules.max_new_tokens,
        "stop": list(rules.stop),
        "device": model.text.runtime.device,
        "dtype": model.text.runtime.dtype,
        "seconds": round(stats.seconds, 4),
        "tokens_per_second": stats.tokens_per_second,
        "tokens_per_pass": stats.tokens_per_pass,
    }


def _token(model: "OpenedModel", detail: "TokenDetail") -> dict[str, Any]:
    """One token of the answer, and what could have come in its place."""
    tokenizer = model.text.tokenizer
    ids = [detail.id, *(each.id for each in detail.candidates)]
    text, *others = tokenizer.pieces(ids)
    return {
        "id": detail.id,
        "text": text,
        "logprob": detail.logprob,
        "rank": detail.rank,
        "entropy": detail.entropy,
        "candidates": [
            {
                "id": each.id,
                "text": other,
                "probability": each.probability,
                "share": each.share,
                "removed_by": each.removed_by,
            }
            for each, other in zip(detail.candidates, others, strict=True)
        ],
    }
