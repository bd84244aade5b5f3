"""The terminal dashboard: a picture of the run directory that keeps itself up to date.

For now two honest pages, the list of runs and one run's details, and `--once` for the same as plain
text or JSON. It only reads: it can crash, be opened twice, or be opened a week later, and no run
notices. `watch` reads runs, `words` and `format` put what was read into words, `once` prints them,
`app` shows them live. Nothing here but `app` and its screens imports textual.
"""
