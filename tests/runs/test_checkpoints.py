"""A checkpoint is all there or not there, and nothing wrong in it goes unseen."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.errors import CheckpointError, FormatError, NoCheckpointError
from tinychat.runs import (
    RunReader,
    list_checkpoints,
    newest_good,
    publish_checkpoint,
    quarantine,
    read_checkpoint,
    sweep,
)

Publish = Callable[..., Path]
Damage = Callable[[Path], object]


def test_what_was_published_is_read_back(run: Path) -> None:
    files = {"model.safetensors": bytes(range(256)) * 9, "state.json": b"{}", "empty.json": b""}
    path = publish_checkpoint(run, 300, files)
    found = read_checkpoint(path)
    assert path.name == "step-00000300"
    assert found.files == files
    assert (found.step, found.unknown) == (300, [])


def test_only_some_files_can_be_read_and_extra_ones_are_named(publish: Publish) -> None:
    path = publish(5)
    (path / "notes.txt").write_text("mine", encoding="utf-8")
    (path / "state.json").write_text("damaged", encoding="utf-8")
    found = read_checkpoint(path, only={"config.json"})
    assert list(found.files) == ["config.json"]
    assert found.unknown == ["notes.txt"]
    with pytest.raises(CheckpointError, match=r"has no a\.json"):
        read_checkpoint(path, only={"a.json"})


def test_equal_files_give_equal_folders(tmp_path: Path) -> None:
    folders = []
    for name, files in (("a", {"x": b"1", "y": b"2"}), ("b", {"y": b"2", "x": b"1"})):
        (tmp_path / name).mkdir()
        folders.append(publish_checkpoint(tmp_path / name, 1, files))
    contents = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "manifest.json", "C:x", "a\\b"])
def test_a_name_that_could_leave_the_folder_is_refused(run: Path, name: str) -> None:
    with pytest.raises(ValueError):
        publish_checkpoint(run, 1, {name: b""})
    assert list_checkpoints(run) == []
    assert sweep(run) == []


def test_publishing_a_step_again_replaces_it(run: Path, publish: Publish) -> None:
    publish(5)
    publish(5, salt="again")
    assert b"again" in read_checkpoint(run / "step-00000005").files["config.json"]
    assert sweep(run) == []


def edit_manifest(path: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    change(manifest)
    text = json.dumps(manifest, indent=2) + "\n"
    (path / "manifest.json").write_text(text, encoding="utf-8")


def swap(path: Path) -> None:
    a, b = path / "model.safetensors", path / "config.json"
    content = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(content)


DAMAGES: dict[str, Damage] = {
    **{
        f"{name} cut to {size}": lambda path, name=name, size=size: os.truncate(path / name, size)
        for name in ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
        for size in (0, 7, 100)
    },
    "one byte lost": lambda path: os.truncate(
        path / "model.safetensors", (path / "model.safetensors").stat().st_size - 1
    ),
    "bytes added": lambda path: (path / "state.json").open("ab").write(b" "),
    "file missing": lambda path: (path / "config.json").unlink(),
    "file renamed": lambda path: (path / "config.json").rename(path / "config.jsn"),
    "file is a folder": lambda path: (
        (path / "config.json").unlink(),
        (path / "config.json").mkdir(),
    ),
    "file is a pipe": lambda path: ((path / "state.json").unlink(), os.mkfifo(path / "state.json")),
    "two files swapped": swap,
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "manifest is a list": lambda path: (path / "manifest.json").write_text("[]"),
    "manifest is deep": lambda path: (path / "manifest.json").write_text("[" * 100_000),
    "manifest is huge": lambda path: (path / "manifest.json").write_text(" " * 2_000_000 + "{}"),
    "manifest without format": lambda path: edit_manifest(path, lambda m: m.pop("format")),
    "manifest of format 0": lambda path: edit_manifest(path, lambda m: m.update(format=0)),
    "manifest of another step": lambda path: edit_manifest(path, lambda m: m.update(step=6)),
    "manifest without files": lambda path: edit_manifest(path, lambda m: m.pop("files")),
    "manifest points outside": lambda path: edit_manifest(
        path, lambda m: m["files"].update({"../../run.json": {"size": 1, "sha256": "0"}})
    ),
    "manifest with odd entry": lambda path: edit_manifest(
        path, lambda m: m["files"].update({"config.json": 7})
    ),
    "manifest with another name": lambda path: edit_manifest(
        path, lambda m: m["files"].update({"State.json": m["files"].pop("state.json")})
    ),
    "manifest without its last newline": lambda path: os.truncate(
        path / "manifest.json", (path / "manifest.json").stat().st_size - 1
    ),
    "manifest in another form": lambda path: (path / "manifest.json").write_text(
        json.dumps(json.loads((path / "manifest.json").read_text()))
    ),
    "manifest names a file twice": lambda path: (path / "manifest.json").write_text(
        (path / "manifest.json").read_text().replace('"config.json"', '"state.json"')
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_seen_and_the_one_before_is_used(
    run: Path, publish: Publish, damage: Damage
) -> None:
    publish(4)
    path = publish(5)
    damage(path)
    with pytest.raises(CheckpointError, match="step-00000005"):
        read_checkpoint(path)
    found, problems = newest_good(run)
    assert found.step == 4
    assert ["step-00000005" in str(problem) for problem in problems] == [True]


def test_files_of_another_step_are_seen(run: Path, publish: Publish) -> None:
    four, five = publish(4), publish(5)
    shutil.copy(four / "model.safetensors", five / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        read_checkpoint(five)
    shutil.copytree(four, run / "step-00000009")
    with pytest.raises(CheckpointError, match="is of step 4"):
        read_checkpoint(run / "step-00000009")


def test_every_flipped_bit_is_seen(publish: Publish) -> None:
    path = publish(5)
    chance = random.Random(1)
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        for _ in range(400):
            flipped = bytearray(whole)
            flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            file.write_bytes(flipped)
            with pytest.raises((CheckpointError, FormatError)):
                read_checkpoint(path)
        file.write_bytes(whole)
    read_checkpoint(path)


def test_a_newer_format_is_refused_and_not_passed_over(run: Path, publish: Publish) -> None:
    publish(4)
    edit_manifest(publish(5), lambda manifest: manifest.update(format=2, files="of another kind"))
    with pytest.raises(FormatError, match="newer tinychat"):
        newest_good(run)


def test_no_file_beside_the_manifest_is_opened(publish: Publish) -> None:
    path = publish(5)
    os.mkfifo(path / "payload.pkl")  # opening it would block for ever
    assert read_checkpoint(path).unknown == ["payload.pkl"]


def test_none_published_and_none_good_are_told_apart(run: Path, publish: Publish) -> None:
    with pytest.raises(NoCheckpointError):
        newest_good(run)
    for step in (4, 5):
        (publish(step) / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="nothing was deleted") as caught:
        newest_good(run)
    assert not isinstance(caught.value, NoCheckpointError)
    assert "step-00000004" in str(caught.value)
    assert list_checkpoints(run) == [4, 5]


def test_a_milestone_is_passed_over_where_an_optimizer_is_needed(
    run: Path, publish: Publish
) -> None:
    publish_checkpoint(run, 5, {"model.safetensors": b"weights"})
    with pytest.raises(CheckpointError, match="holds weights only"):
        newest_good(run)
    publish(4)
    found, damaged = newest_good(run)
    assert (found.step, damaged) == (4, [])
    assert newest_good(run, needs=())[0].step == 5


def test_quarantine_keeps_the_bytes_and_hides_the_name(run: Path, publish: Publish) -> None:
    for number in (1, 2):
        publish(5, salt=str(number))
        moved = quarantine(run, 5)
        assert moved.name == f"bad-step-00000005-{number}"
    assert sweep(run) == []
    assert list_checkpoints(run) == []
    assert f" {2} ".encode() in (moved / "config.json").read_bytes()


def test_only_true_names_are_listed(run: Path, publish: Publish) -> None:
    publish(5)
    for name in ("step-5", "step-000000005", "step-00000006.bak", ".tmp-step-00000007-aa", "x"):
        (run / name).mkdir()
    (run / "step-00000008").write_text("a file", encoding="utf-8")
    assert list_checkpoints(run) == RunReader(run).checkpoints() == [5]


def test_sweep_clears_leftovers_and_nothing_else(run: Path, publish: Publish) -> None:
    publish(5)
    before = sorted(path.name for path in run.iterdir())
    for name in (".tmp-step-00000006-00ff", ".del-step-00000004-00ff"):
        (run / name / "deeper").mkdir(parents=True)
        (run / name / "deeper" / "file").write_text("x", encoding="utf-8")
    (run / ".tmp-status.json-00ff").write_text("{", encoding="utf-8")
    (run / ".del-link").symlink_to(run / "step-00000005")
    assert len(sweep(run)) == 4
    assert sorted(path.name for path in run.iterdir()) == before
    read_checkpoint(run / "step-00000005")


def test_sweep_gives_a_replaced_checkpoint_its_name_back(run: Path, publish: Publish) -> None:
    path = publish(5)
    path.rename(run / ".old-step-00000005-00ff")
    sweep(run)
    assert newest_good(run)[0].step == 5
    shutil.copytree(path, run / ".old-step-00000005-00ff")
    sweep(run)
    assert list_checkpoints(run) == [5]
    assert sweep(run) == []
