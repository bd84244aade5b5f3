"""Seeds go round: after the last one comes the first."""

from .conftest import Tinychat


def test_the_seed_after_the_last_is_the_first(piped: Tinychat) -> None:
    found = piped("talk", "Hello!\n/settings\nHello!\n/settings\n", "--seed", 2**63 - 1)
    assert found.code == 0, found.err
    seeds = [line.split()[1] for line in found.err.splitlines() if line.split()[:1] == ["/seed"]]
    assert seeds == ["0", "1"]
