"""tinychat: from a text file to your own chat model, understood all the way."""

__version__ = "0.1.0"
