"""Prompts to show off with: every one of them is taught, so a trained model shines."""

SAMPLE_PROMPTS = (
    "Hello!",
    "How are you?",
    "My name is Anna.",
    "What is 3 + 4?",
    "What is the opposite of hot?",
    "Count from 3 to 7.",
    "What colour is the sky?",
    "Who are you?",
    "Tell me a story about a fox in the forest.",
    "Tell me a joke.",
)
"""One user turn each, for the live samples of a run."""

DEMO_TALK = (
    "Hello!",
    "My name is Anna.",
    "What is 3 + 4?",
    "What is the opposite of hot?",
    "What is my name?",
    "Tell me a story about a fox on the moon.",
    "Goodbye!",
)
"""The user's turns of one short talk."""
