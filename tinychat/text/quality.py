"""Whether a vocabulary fits a text: how many bytes a token stands for, and what is too few."""

from tinychat.text.tokenizer import Tokenizer

_SMALL_VOCABULARY = 4096
_FEWEST_BYTES_SMALL = 1.5  # a token, for vocabularies up to that size
_FEWEST_BYTES = 2.0


def quality(tokenizer: Tokenizer, bytes_per_token: float) -> str | None:
    """A warning if tokens stand for too little text, else None. A character is what it is."""
    small = tokenizer.vocab_size <= _SMALL_VOCABULARY
    if tokenizer.kind != "bpe" or bytes_per_token >= (
        _FEWEST_BYTES_SMALL if small else _FEWEST_BYTES
    ):
        return None
    remedy = "a larger tokenizer.vocab_size helps, unless the text is not" if small else (
        "most likely the text is not"
    )  # fmt: skip
    return (
        f"a token stands for only {bytes_per_token:.2f} bytes, so the model sees little text at "
        f"once and learns slowly; {remedy} what the vocabulary was made for"
    )
