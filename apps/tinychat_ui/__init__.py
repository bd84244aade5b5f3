"""The web page: chat with any checkpoint of any run, also while it trains.

A picture of the engine (`context`, `answers`), drawn by Gradio and a few components of our own
whose scripts lie beside them. What must outlive a tab lies on disk, in `tinychat.conversations`.
"""
