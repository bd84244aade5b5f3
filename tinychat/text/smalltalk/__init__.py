"""The built-in small talk: a conversation corpus that tinychat makes itself from a seeded grammar,
so that the `demo` preset needs no download, with questions kept back whose answers can be checked.

`words` and `stories` are the tables; `skill` is what one kind of exchange is and what is kept back;
`manners`, `itself`, `knowledge` and `memory` are the kinds; `talk` and `talks` weave them into
conversations; `questions` is the examination; `showcase` are prompts to show off with. `persona` is
a second, small corpus that turns a model of the first into somebody else.
"""

from tinychat.text.smalltalk.persona import (
    PERSONA,
    PERSONA_KINDS,
    PERSONA_PROMPTS,
    persona_questions,
    persona_training_conversations,
    persona_validation_conversations,
)
from tinychat.text.smalltalk.questions import KINDS_APART, Question, held_out_questions
from tinychat.text.smalltalk.showcase import DEMO_TALK, SAMPLE_PROMPTS
from tinychat.text.smalltalk.talks import training_conversations, validation_conversations

__all__ = [
    "DEMO_TALK",
    "KINDS_APART",
    "PERSONA",
    "PERSONA_KINDS",
    "PERSONA_PROMPTS",
    "SAMPLE_PROMPTS",
    "Question",
    "held_out_questions",
    "persona_questions",
    "persona_training_conversations",
    "persona_validation_conversations",
    "training_conversations",
    "validation_conversations",
]
