"""The wheel holds everything and works from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, ROOT],
        check=True, capture_output=True,
    )  # fmt: skip
    return next(target.glob("*.whl"))


def test_it_holds_every_module_and_data_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for root in (
        ROOT / "tinychat",
        ROOT / "apps" / "tinychat_monitor",
        ROOT / "apps" / "tinychat_ui",
    ):
        for path in root.rglob("*"):
            if path.suffix in (".py", ".toml", ".tcss", ".css", ".js"):
                assert path.relative_to(root.parent).as_posix() in names, path
    assert not [name for name in names if name.startswith(("tests", "checkpoints", "apps"))]


def test_its_three_programs_start_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--target", site, wheel],
        check=True, capture_output=True,
    )  # fmt: skip
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = os.environ | {"PYTHONPATH": str(site), "TINYCHAT_CHECKPOINTS": str(tmp_path / "runs")}
    for words in (["tinychat", "--help"], ["tinychat_monitor", "--help"], ["tinychat_ui", "--help"],
                  ["tinychat", "train", "--dry-run"], ["tinychat", "runs"],
                  ["tinychat_monitor", "--once"]):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-P", "-m", *words], cwd=elsewhere, env=env, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    where = subprocess.run(
        [sys.executable, "-P", "-c", "import tinychat; print(tinychat.__file__)"],
        cwd=elsewhere, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(site))
