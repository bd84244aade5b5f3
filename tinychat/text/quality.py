"""Whether a vocabulary fits a text: how many bytes a token stands for, and what is too few."""

from tinychat.text.tokenizer import Tokenizer

_SMALL_VOCABULARY = 4096


def quality(tokenizer: Tokenizer, bytes_per_token: float) -> str | None:
    """A warning if tokens stand for too little text, else None. A character is what it is."""
    small = tokenizer.vocab_size <= _SMALL_VOCABULARY
    fewest = 1.5 if small else 2.0
    if tokenizer.kind != "bpe" or bytes_per_token >= fewest:
        return None
    remedy = "most likely the text is not"
    if small:
        remedy = "more text and a larger tokenizer.vocab_size help, unless the text is not"
    return (
        f"a token stands for only {bytes_per_token:.2f} bytes, so the model sees little text at "
        f"once and learns slowly; {remedy} what the vocabulary was made for"
    )
