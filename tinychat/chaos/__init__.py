"""Proof on the user's own machine that nothing is lost: real runs are killed, their disks refuse,
fill up and lose power, their files are damaged, and each is compared with a run that nobody hurt.

One module an experiment, each a function from a `Ground` to an `Trial`; `matrix` runs them all.
"""
