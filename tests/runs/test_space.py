"""The peak as a pure function, and what a folder takes."""

from pathlib import Path

from tinychat.runs import CheckpointSizes, free_at, on_disk, plan_peak, taken_by

SIZES = CheckpointSizes(whole=300, weights_only=100)


def test_the_next_checkpoint_is_there_before_an_old_one_goes() -> None:
    peak = plan_peak(SIZES, latest_n=2, milestones=12, pinned=1, most=1000, log_bytes=7)
    assert (peak.whole, peak.weights_only) == (5, 12)
    assert peak.n_bytes == 5 * 300 + 12 * 100 + 7


def test_a_short_run_takes_no_more_than_it_publishes() -> None:
    peak = plan_peak(SIZES, latest_n=2, milestones=12, pinned=0, most=2)
    assert (peak.whole, peak.weights_only) == (2, 0)
    peak = plan_peak(SIZES, latest_n=2, milestones=12, pinned=0, most=7, others=2)
    assert (peak.whole, peak.weights_only) == (4, 6)


def test_one_that_is_thinned_is_there_twice() -> None:
    peak = plan_peak(SIZES, latest_n=2, milestones=12, pinned=0, most=3)
    assert (peak.whole, peak.weights_only) == (3, 1)
    peak = plan_peak(SIZES, latest_n=2, milestones=0, pinned=0, most=3)
    assert (peak.whole, peak.weights_only) == (3, 0)


def test_files_take_whole_blocks(tmp_path: Path) -> None:
    assert [on_disk(n) for n in (0, 1, 4096, 4097)] == [0, 4096, 4096, 8192]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(range(256)) * 40)
    assert taken_by(tmp_path) == on_disk(10240)
    assert taken_by(tmp_path / "nowhere") == 0
    assert free_at(tmp_path / "not" / "yet") > 0
