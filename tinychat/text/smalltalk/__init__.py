"""The built-in small talk: a conversation corpus that tinychat makes itself from a seeded grammar, so that
the `demo` preset needs no download, with questions kept back whose answers can be checked."""

from tinychat.text.smalltalk.questions import KINDS_APART, Question, held_out_questions
from tinychat.text.smalltalk.talks import training_conversations, validation_conversations
