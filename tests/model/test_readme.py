"""README.md of a checkpoint: facts, and nothing in it that Markdown or a terminal would obey."""

from dataclasses import replace

from tinychat.config import ModelSettings
from tinychat.model import History, ModelCard, readme_page

CARD = ModelCard(
    model=ModelSettings(n_layer=2, n_head=2, n_embd=32, context_length=64), vocab_size=300,
    kind="chat", loss="answers", step=1200, run="mine", data_fingerprint="f",
    lineage="bit-exact from step 0",
)  # fmt: skip


def page(card: ModelCard, history: History = History()) -> str:  # noqa: B008 frozen
    return readme_page(card, history).decode()


def test_it_says_what_is_known() -> None:
    told = page(CARD, History(results=[("validation loss", "1.25 nats per token")]))
    for words in ("# `mine`, step 1,200", "A chat model", "2 layers, 2 heads, width 32"):
        assert words in told
    assert "| validation loss | 1.25 nats per token |" in told
    assert "| lineage | `bit-exact from step 0` |" in told
    assert "nats" not in page(CARD)
    assert "## " not in page(CARD)
    sampled = History(samples=[("`Hi`", "`Hello`")], sampled_at=50)
    assert "## What it says (at step 50)" in page(CARD, sampled)
    assert "| `Hi` | `Hello` |" in page(CARD, sampled)


def test_hostile_names_are_obeyed_by_nobody() -> None:
    evil = "`|<script>x</script>\n# [a](javascript:1) ![](http://e.example/)\x1b[31m\u202e|"
    told = page(replace(CARD, run=evil, lineage=evil))
    assert "\x1b" not in told
    assert "\u202e" not in told
    lines = [line for line in told.splitlines() if "script" in line]
    assert len(lines) == 3, "title, run, lineage: one line each"
    for line in lines:
        before, inside, after = line.split("`")
        assert "script" in inside
        assert "script" not in before + after
        assert "|" not in inside
