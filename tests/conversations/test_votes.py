"""Votes between two answers, and their tally."""

from pathlib import Path

import pytest

from tinychat.conversations import Side, Votes
from tinychat.errors import ConversationError


def vote(votes: Votes, verdict: str, a: str, b: str, *, blind: bool = False) -> str:
    sides = [Side(label=label, settings={"top_k": 40}, text=f"from {label}") for label in (a, b)]
    return votes.add(verdict, prompt="Hi", seed=7, a=sides[0], b=sides[1], blind=blind)  # pyright: ignore


def test_a_tally_counts_for_labels_whichever_side_they_stood_on(
    votes: Votes, checkpoints: Path
) -> None:
    vote(votes, "a", "demo@100", "demo@300", blind=True)
    vote(votes, "a", "demo@300", "demo@100", blind=True)
    vote(votes, "b", "demo@100", "demo@300")
    vote(votes, "tie", "demo@300", "demo@100")
    vote(votes, "both bad", "demo@100", "demo@300")
    vote(votes, "a", "other@1", "demo@100")
    for view in (votes, Votes(checkpoints)):
        tally = view.tally("demo@100", "demo@300")
        assert (tally.a_wins, tally.b_wins, tally.ties, tally.both_bad) == (1, 2, 1, 1)
        assert (tally.blind, tally.total) == (2, 5)
        assert view.tally("demo@300", "demo@100").a_wins == 2
        assert list(view.tallies()) == [("demo@100", "demo@300"), ("demo@100", "other@1")]


def test_two_answers_of_one_model_are_told_apart_by_their_side(votes: Votes) -> None:
    for verdict in ("a", "b", "b"):
        vote(votes, verdict, "demo@1", "demo@1")
    tally = votes.tally("demo@1", "demo@1")
    assert (tally.a_wins, tally.b_wins) == (1, 2)


def test_a_vote_can_be_undone_once(votes: Votes) -> None:
    vote(votes, "a", "x", "y")
    second = vote(votes, "a", "x", "y")
    votes.undo(second)
    assert votes.tally("x", "y").total == 1
    with pytest.raises(ConversationError, match="undone already"):
        votes.undo(second)


def test_what_makes_no_sense_is_refused(votes: Votes, checkpoints: Path) -> None:
    for verdict, label in (("c", "x"), ("a", "\ud800")):
        with pytest.raises(ConversationError):
            vote(votes, verdict, label, "y")
    assert not checkpoints.exists()


def test_lines_that_are_no_votes_are_passed_over_and_counted(
    votes: Votes, checkpoints: Path
) -> None:
    vote(votes, "a", "x", "y")
    path = checkpoints / ".chats" / "votes.jsonl"
    good = path.read_bytes()
    bad = [good.replace(b'"vote"', b'"note"'), good.replace(b'"x"', b"7"), b'{"format":1}\n']
    path.write_bytes(b"".join(bad) + good + b'{"format":1,"undo":"nobody"}\n')
    again = Votes(checkpoints)
    assert again.tally("x", "y").total == 1
    assert again.skipped == len(bad)
