"""Text and tokens: reading corpora, the chat format, tokenizers, token files, the small talk.

A file goes from `unpacking` to `records`, `plain` or `turns`, as `formats` decides; `recognition`
finds the shape of records, `shapes` makes items of them, `reading` counts the rest. `corpus` has
the files, `split` their sides; a `tokenizer` is trained on a `tokenizer_sample`; `prepare` writes
`token_files` in a `work` folder, with the ids that a `corpus_encoder` gives; `cache` knows which of
them may go. `built_in` names the corpora that come with tinychat, `old_data` tells what a parent
has learnt from. `chat` knows our format and those of other models, `prompts` what may be asked in a
corpus's manner. No torch here, no numpy. The built-in corpus is a room of its own,
`tinychat.text.smalltalk`.
"""

from tinychat.text.built_in import (
    PERSONA,
    SMALL_TALK,
    data_names,
    is_built_in,
    learns_small_talk,
    sample_prompts,
)
from tinychat.text.cache import UnusedCache, remove_cache, unused_caches
from tinychat.text.chat import (
    ASSISTANT,
    BOS,
    CHAT_TEMPLATE,
    CONTROL_TOKENS,
    END,
    PAD,
    ROLES,
    SYSTEM,
    TINYCHAT,
    USER,
    ChatFormat,
    Conversation,
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
from tinychat.text.encoding import encode_whole
from tinychat.text.old_data import OldData, learnt_by
from tinychat.text.prepare import (
    CacheSize,
    CorpusSummary,
    Prepared,
    SideSummary,
    cache_size,
    prepare,
)
from tinychat.text.prompts import (
    TEXT_PROMPT_TOKENS,
    beginnings,
    first_questions,
    prompts_of_run,
    suggest,
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
from tinychat.text.tokenizer_file import read_tokenizer_file
from tinychat.text.tokenizer_sample import bytes_per_token, train_tokenizer

__all__ = [
    "ASSISTANT",
    "BOS",
    "CHAT_TEMPLATE",
    "CONTROL_TOKENS",
    "END",
    "PAD",
    "PERSONA",
    "ROLES",
    "SMALL_TALK",
    "SYSTEM",
    "TEXT_PROMPT_TOKENS",
    "TINYCHAT",
    "USER",
    "CacheSize",
    "ChatFormat",
    "Conversation",
    "Corpus",
    "CorpusDescription",
    "CorpusSummary",
    "FileReport",
    "Message",
    "OldData",
    "Prepared",
    "Progress",
    "SideSummary",
    "TextStream",
    "TokenFile",
    "Tokenizer",
    "UnusedCache",
    "beginnings",
    "bytes_per_token",
    "cache_size",
    "data_names",
    "describe",
    "encode_conversation",
    "encode_conversations",
    "encode_document",
    "encode_prompt",
    "encode_turns",
    "encode_whole",
    "first_questions",
    "given_tokenizer",
    "is_built_in",
    "learns_small_talk",
    "learnt_by",
    "prepare",
    "prompts_of_run",
    "quality",
    "read_tokenizer_file",
    "remove_cache",
    "sample_prompts",
    "suggest",
    "survey",
    "tinychat_format",
    "train_bpe",
    "train_char",
    "train_tokenizer",
    "unused_caches",
]
