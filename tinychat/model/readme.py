"""README.md of a checkpoint folder: what lies there, in words, made from facts.

Names and sentences come from files that anybody may have written, so they stand as code: Markdown
obeys nothing in them.
"""

from tinychat.model.checkpoint import ModelCard
from tinychat.model.decoder import count_parameters
from tinychat.model.families import family_of
from tinychat.words import inert


def readme_page(
    card: ModelCard, *, val_loss: float | None, best_step: int | None, best_val_loss: float | None
) -> bytes:
    """The page. Losses are nats per token; None where nothing was measured."""
    shape = card.model
    counts = count_parameters(shape, card.vocab_size)
    kind = "chat model" if card.kind == "chat" else "text model"
    rows = [
        ("run", code(card.run)),
        ("step", f"{card.step:,}"),
        ("parameters", f"{counts['total']:,}"),
        ("shape", f"{shape.n_layer} layers, {shape.n_head} heads, width {shape.n_embd}"),
        ("context", f"{shape.context_length:,} tokens"),
        ("vocabulary", f"{card.vocab_size:,} tokens"),
        ("layout", f"{family_of(shape)} of Hugging Face"),
    ]
    if val_loss is not None:
        rows.append(("validation loss", f"{val_loss:.4f} nats per token"))
    if best_val_loss is not None and best_step != card.step:
        best = f"{best_val_loss:.4f} nats per token, at step {best_step:,}"
        rows.append(("best of the run so far", best))
    rows.append(("lineage", code(card.lineage)))
    table = "\n".join(f"| {name} | {told} |" for name, told in rows)
    return f"""# {code(card.run)}, step {card.step:,}

A {kind} that was trained with tinychat. This folder is whole: weights, tokenizer and settings.

| | |
|---|---|
{table}

With tinychat: `tinychat chat FOLDER` talks with it, `tinychat generate FOLDER --prompt "..."`
writes on. `tinychat verify FOLDER` says whether every byte is as it was written.

With transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```
""".encode()


def code(text: str) -> str:
    """Foreign words as a piece of code on one line, also within a table."""
    words = " ".join(inert(text, keep="\n").split())
    harmless = words.replace("`", "'").replace("|", "¦")
    return f"`{harmless}`" if harmless else ""
