"""README.md of a checkpoint folder, its model card: what lies there, in words, made from facts.

Names, sentences and samples come from files and models that anybody may have made, so they stand
as code: Markdown obeys nothing in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tinychat.model.checkpoint import ModelCard
from tinychat.model.decoder import count_parameters
from tinychat.model.families import family_of
from tinychat.runs import family_words
from tinychat.words import clip, inert

SAMPLE_CHARACTERS = 400

Rows = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class History:
    """How the weights came about, as rows of tables that are ready to be shown."""

    results: Rows = ()
    data: Rows = ()
    recipe: Rows = ()
    samples: Rows = ()  # (prompt, text)
    sampled_at: int | None = None  # the step of the samples


def readme_page(card: ModelCard, history: History) -> bytes:
    """The page."""
    kind = "chat model" if card.kind == "chat" else "text model"
    parts = [
        f"# {code(card.run)}, step {card.step:,}",
        f"A {kind} that was trained with tinychat. This folder is whole: weights, tokenizer and "
        "settings.",
        _table([*_shape(card), *history.results, ("lineage", code(card.lineage))]),
        _LOADING,
    ]
    if card.ancestry:
        family = family_words(card.ancestry, code)
        parts += ["## Where it comes from", _table([(each.who, each.told) for each in family])]
    if history.data:
        parts += ["## What it learnt from", _table(history.data)]
    if history.recipe:
        parts += ["## How it was trained", _table(history.recipe)]
    if history.samples:
        parts += [f"## What it says (at step {history.sampled_at:,})", _table(history.samples)]
    return ("\n\n".join(parts) + "\n").encode()


def _shape(card: ModelCard) -> Rows:
    shape = card.model
    counts = count_parameters(shape, card.vocab_size)
    return [
        ("run", code(card.run)),
        ("step", f"{card.step:,}"),
        ("parameters", f"{counts['total']:,}"),
        ("shape", f"{shape.n_layer} layers, {shape.n_head} heads, width {shape.n_embd}"),
        ("context", f"{shape.context_length:,} tokens"),
        ("vocabulary", f"{card.vocab_size:,} tokens"),
        ("layout", f"{family_of(shape)} of Hugging Face"),
    ]


def _table(rows: Rows) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {told} |" for name, told in rows)])


_LOADING = """\
With tinychat: `tinychat chat FOLDER` talks with it, `tinychat generate FOLDER --prompt "..."`
writes on. `tinychat verify FOLDER` says whether every byte is as it was written.

With transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```"""


def code(text: str) -> str:
    """Foreign words as a piece of code on one line, also within a table."""
    words = " ".join(inert(clip(text, SAMPLE_CHARACTERS), keep="\n").split())
    harmless = words.replace("`", "'").replace("|", "¦")
    return f"`{harmless}`" if harmless else ""
