"""The web chat. For now one honest page: which runs there are, and how to talk to them today."""
