"""Text and tokens: reading corpora, the chat format, tokenizers, token files, the small talk.

A path becomes conversations or pieces of documents (`corpus`, `formats`, `reading`), each on the
training or the validation side (`split`); a tokenizer (`tokenizer`) is trained on the former, and
`prepare` writes both sides as token files (`token_files`) that the trainer reads. `chat` is the one
format in which conversations become ids, for training and talking alike. No torch here, no numpy.
The built-in corpus is a room of its own, `tinychat.text.smalltalk`.
"""

from tinychat.text.chat import (
    ASSISTANT,
    BOS,
    CHAT_TEMPLATE,
    CONTROL_TOKENS,
    END,
    PAD,
    ROLES,
    SYSTEM,
    USER,
    ChatFormat,
    Conversation,
    Document,
    Message,
    encode_conversation,
    encode_conversations,
    encode_document,
    encode_prompt,
    encode_turns,
    tinychat_format,
)
from tinychat.text.corpus import Corpus, Progress
from tinychat.text.describe import CorpusDescription, describe
from tinychat.text.encoding import bytes_per_token, encode_whole, train_tokenizer
from tinychat.text.prepare import (
    CacheSize,
    CorpusSummary,
    Prepared,
    SideSummary,
    cache_size,
    prepare,
)
from tinychat.text.quality import quality
from tinychat.text.split import FileReport, survey
from tinychat.text.token_files import TokenFile
from tinychat.text.tokenizer import (
    TextStream,
    Tokenizer,
    given_tokenizer,
    train_bpe,
    train_char,
)

__all__ = [
    "ASSISTANT",
    "BOS",
    "CHAT_TEMPLATE",
    "CONTROL_TOKENS",
    "END",
    "PAD",
    "ROLES",
    "SYSTEM",
    "USER",
    "CacheSize",
    "ChatFormat",
    "Conversation",
    "Corpus",
    "CorpusDescription",
    "CorpusSummary",
    "Document",
    "FileReport",
    "Message",
    "Prepared",
    "Progress",
    "SideSummary",
    "TextStream",
    "TokenFile",
    "Tokenizer",
    "bytes_per_token",
    "cache_size",
    "describe",
    "encode_conversation",
    "encode_conversations",
    "encode_document",
    "encode_prompt",
    "encode_turns",
    "encode_whole",
    "given_tokenizer",
    "prepare",
    "quality",
    "survey",
    "tinychat_format",
    "train_bpe",
    "train_char",
    "train_tokenizer",
]
