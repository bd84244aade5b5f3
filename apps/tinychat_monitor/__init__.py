"""The terminal dashboard: a picture of run directories that keeps itself up to date, and a pen.

It holds no state that the run directory lacks: it can crash, be opened twice, or be opened a week
later, and no run notices. What is read, judged and asked is `tinychat.watch`; this draws it.
`keys` is the one table of keys; `app` holds what every screen shares; `screens` and `widgets` are
what is seen; `once` and `plain` say the same without a screen. These two and `__main__` import no
textual, so that `--help` and scripts never wait for it.
"""
