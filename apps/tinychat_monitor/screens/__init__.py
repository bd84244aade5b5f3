"""The screens: the list of runs, one run, several compared, a new one, and what asks a question."""
