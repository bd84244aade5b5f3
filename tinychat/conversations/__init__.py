"""What the chat keeps on disk: conversations, ratings of answers, votes between models, and which
taught models were accepted.

What is said of answers becomes examples to learn from, as does preference data from elsewhere.
All of it lies under `<checkpoints>/.chats/`, in files that only grow: one JSON object a line, one
write a line, flushed before it is acknowledged. A line that a crash has torn spoils no other;
undoing appends a line, deleting moves a file aside. Threads and processes may share a folder.
Texts, ids and settings are kept so completely that an answer can be repeated, or taught from.
Standard library and orjson only: it knows no model.
"""

from tinychat.conversations.answers import CUT_OFF, FAILED, Answer, Messages, Mode, Role
from tinychat.conversations.examples import (
    Example,
    Objective,
    Prompt,
    Reply,
    examples_from_bytes,
    examples_to_bytes,
)
from tinychat.conversations.export import export_name, to_json, to_markdown
from tinychat.conversations.feedback import (
    DOWN_REASONS,
    EXCERPT,
    Counts,
    DownReason,
    Entry,
    Feedback,
    Mark,
    verdict_words,
)
from tinychat.conversations.judgements import (
    EMPTY,
    EQUAL,
    NOT_REVIEWED,
    Judgement,
    Judgements,
    LeaveOut,
    LeftOut,
    Method,
    examples_of,
    for_chat,
    left_out_words,
    unused_of,
    why_nothing,
)
from tinychat.conversations.learnt import not_learnt_yet
from tinychat.conversations.reading import feedback_file, read_feedback
from tinychat.conversations.row_file import whole_text
from tinychat.conversations.store import FEEDBACK, Conversations, Found, Summary
from tinychat.conversations.teaching import Taught, Teaching
from tinychat.conversations.tree import Conversation, Node
from tinychat.conversations.trl import FORMS, Form, method_of, to_trl, trl_to_bytes
from tinychat.conversations.votes import Side, Tally, Verdict, Votes, blind_swap, tally_words

__all__ = [
    "CUT_OFF",
    "DOWN_REASONS",
    "EMPTY",
    "EQUAL",
    "EXCERPT",
    "FAILED",
    "FEEDBACK",
    "FORMS",
    "NOT_REVIEWED",
    "Answer",
    "Conversation",
    "Conversations",
    "Counts",
    "DownReason",
    "Entry",
    "Example",
    "Feedback",
    "Form",
    "Found",
    "Judgement",
    "Judgements",
    "LeaveOut",
    "LeftOut",
    "Mark",
    "Messages",
    "Method",
    "Mode",
    "Node",
    "Objective",
    "Prompt",
    "Reply",
    "Role",
    "Side",
    "Summary",
    "Tally",
    "Taught",
    "Teaching",
    "Verdict",
    "Votes",
    "blind_swap",
    "examples_from_bytes",
    "examples_of",
    "examples_to_bytes",
    "export_name",
    "feedback_file",
    "for_chat",
    "left_out_words",
    "method_of",
    "not_learnt_yet",
    "read_feedback",
    "tally_words",
    "to_json",
    "to_markdown",
    "to_trl",
    "trl_to_bytes",
    "unused_of",
    "verdict_words",
    "whole_text",
    "why_nothing",
]
