"""A command of which torchrun has started several processes: a person sees rank 0 only."""

from collections.abc import Callable, Sequence

from tinychat.launch import Launch

SHARED = ("train", "resume")


def run_together(
    argv: Sequence[str],
    launch: Launch,
    run: Callable[[Sequence[str]], int],
    tell: Callable[[str], None],
) -> int:
    """Rank 0 runs the command, the others help it. Returns the exit code."""
    if not argv or argv[0] not in SHARED:
        if not launch.rank:
            tell(
                f"torchrun started several processes of `tinychat {' '.join(argv[:1])}`, but only "
                f"{' and '.join(SHARED)} can share their work; start this one without torchrun"
            )
        return 0 if launch.rank else 2  # torchrun ends all as soon as one fails, told or not
    if launch.rank:
        from tinychat.training.assistant import assist

        return assist()
    code = run(argv)
    from tinychat.training.ranks import release

    release(code)  # only now: whatever came of it has been told
    return code
