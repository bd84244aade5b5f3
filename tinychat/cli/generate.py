"""`tinychat generate`: one prompt, one answer, on stdout as it comes."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tinychat.cli.output import print_json, tell
from tinychat.cli.sampling import SAMPLING, Device, Dtype, Rules, draw_seed
from tinychat.words import inert

if TYPE_CHECKING:  # they import torch
    from tinychat.cli.models import OpenedModel
    from tinychat.engine import Answer, Sampling


def generate_command(
    run: str,
    /,
    *,
    prompt: Annotated[str, Parameter(allow_leading_hyphen=True)],
    sampling: Rules = SAMPLING,
    device: Device = "auto",
    dtype: Dtype = "auto",
    checkpoints: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Answer one prompt, on stdout as it comes.

    A chat model answers the prompt as a user's turn; a base model continues it as a text. Without
    RUN@STEP the run's best checkpoint speaks, or its newest where none is known to be best.

        tinychat generate demo --prompt "What is 3 + 4?"
        tinychat generate demo@300 --prompt "Tell me a story." --temperature 0.5 --seed 7

    Parameters
    ----------
    run
        A run, its folder, a checkpoint (demo@300, demo@latest), or a Hugging Face model folder.
    prompt
        What to say to the model.
    device
        Where to compute (auto: cuda, else mps, else cpu).
    dtype
        Precision (auto: bf16 on cuda that has it, else fp32).
    checkpoints
        Folder where runs live (else $TINYCHAT_CHECKPOINTS, else ./checkpoints).
    as_json
        Print one JSON document once the answer is whole.
    """
    from tinychat.cli.models import open_run
    from tinychat.config import RuntimeSettings
    from tinychat.runs import default_checkpoints

    seed = draw_seed() if sampling.seed is None else sampling.seed
    rules = sampling.rules(seed)
    settings = RuntimeSettings(device=device, dtype=dtype)
    model = open_run(run, checkpoints or default_checkpoints(), settings)
    answer = _ask(model, prompt, rules)
    if answer.prompt.dropped_tokens:
        tell(
            f"the prompt is too long; its first {answer.prompt.dropped_tokens} tokens are left out"
        )
    if as_json:
        print_json(_document(model, prompt, rules, answer))
        return 0
    if sampling.seed is None:
        tell(f"seed {seed}")
    try:
        for piece in answer:
            print(inert(piece, keep="\n\t"), end="", flush=True)
    finally:
        print()
    return 0


def _ask(model: "OpenedModel", prompt: str, rules: "Sampling") -> "Answer":
    from tinychat.text import Message

    engine = model.engine()
    if model.card.kind == "chat":
        return engine.stream_chat([Message("user", prompt)], rules)
    return engine.stream_text(prompt, rules)


def _document(
    model: "OpenedModel", prompt: str, rules: "Sampling", answer: "Answer"
) -> dict[str, Any]:
    began = time.monotonic()
    text = "".join(answer)
    seconds = time.monotonic() - began
    completion = answer.completion
    assert completion is not None  # the last piece was given
    return {
        "run": model.run.absolute().name,
        "step": model.step,
        "checkpoint": str(model.path.absolute()),
        "kind": model.card.kind,
        "prompt": prompt,
        "text": text,
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
        "max_new_tokens": rules.max_new_tokens,
        "stop": list(rules.stop),
        "device": model.runtime.device,
        "dtype": model.runtime.dtype,
        "seconds": round(seconds, 4),
    }
