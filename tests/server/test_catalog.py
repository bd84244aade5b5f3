"""Which names a folder of runs gives."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tinychat.config import RuntimeSettings
from tinychat.engine import Shelf
from tinychat.errors import RunNotFoundError
from tinychat.server import Catalog


def names(catalog: Catalog) -> list[str]:
    return [each.id for each in catalog.all()]


def test_every_name_opens_what_it_says(trained_runs: Path) -> None:
    catalog = Catalog(trained_runs)
    shelf = Shelf(trained_runs, RuntimeSettings(device="cpu", dtype="fp32", threads=1))
    assert names(catalog)[:6] == [
        "story", "story@best", "story@latest", "story@0", "story@10", "story@20",
    ]  # fmt: skip
    for each in catalog.all():
        assert catalog.find(each.id) == each
        opened = shelf.open(each.opens)
        run, _, which = each.id.partition("@")
        assert opened.label.startswith(f"{run}@")
        assert not which.isdecimal() or opened.step == int(which)


def test_one_run_by_name_or_folder(trained_runs: Path, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, RuntimeSettings(device="cpu", dtype="fp32", threads=1))
    for catalog in (Catalog(trained_runs, "talk"), Catalog(tmp_path, str(trained_runs / "talk"))):
        assert catalog.runs() == ["talk"]
        assert catalog.find("story") is None
        assert {shelf.open(each.opens).run.name for each in catalog.all()} == {"talk"}


def test_one_checkpoint_by_name_or_folder(trained_runs: Path) -> None:
    shelf = Shelf(trained_runs, RuntimeSettings(device="cpu", dtype="fp32", threads=1))
    for run in ("story@10", str(trained_runs / "story" / "step-00000010")):
        catalog = Catalog(trained_runs, run)
        assert names(catalog) == ["story", "story@10"]
        assert {shelf.open(each.opens).step for each in catalog.all()} == {10}


def test_a_model_folder_from_elsewhere(trained_runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(trained_runs / "story" / "step-00000020", folder)
    catalog = Catalog(trained_runs, str(folder))
    assert names(catalog) == ["mine"]
    shelf = Shelf(trained_runs, RuntimeSettings(device="cpu", dtype="fp32", threads=1))
    assert shelf.open(catalog.all()[0].opens).path == folder


def test_what_is_no_run_has_no_name(tmp_path: Path, copy_of: Callable[[str], Path]) -> None:
    run = copy_of("talk")
    (run.parent / ".chats").mkdir()
    (run.parent / "notes").mkdir()
    catalog = Catalog(run.parent)
    assert catalog.runs() == ["talk"]
    for checkpoint in run.glob("step-*"):
        shutil.rmtree(checkpoint)
    assert names(catalog) == []
    with pytest.raises(RunNotFoundError):
        Catalog(run.parent, "nothing")
