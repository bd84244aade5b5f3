"""The front door: help pages, what they import, exit codes, and errors as sentences."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import tiny, write_corpora
from tinychat.cli.app import COMMANDS
from tinychat.runs import RunWriter

from .conftest import Tinychat, spawn

HEAVY = ("torch", "numpy", "gradio", "transformers")
PAGES = [[], ["--help"], *([name, "--help"] for _, name in COMMANDS)]


def heavy_modules_after(code: str) -> str:
    """What of HEAVY a clean interpreter has imported once it has run `code`."""
    program = (
        f"import sys\n{code}\nprint([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    )
    return done.stderr.strip().splitlines()[-1]


def test_help_imports_nothing_heavy() -> None:
    code = f"from tinychat.cli.app import run\nassert not any(run(page) for page in {PAGES})"
    assert heavy_modules_after(code) == "[]"


def test_the_monitors_help_imports_nothing_heavy() -> None:
    code = (
        "from tinychat_monitor.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
    )
    assert heavy_modules_after(code) == "[]"


def test_looking_at_runs_imports_nothing_heavy(trained_runs: Path) -> None:
    words = [
        ["runs"],
        ["show", "talk"],
        ["show", "talk", "--json"],
        ["tokenizer", "show", "talk", "x"],
    ]
    code = (
        "from tinychat.cli.app import run\n"
        f"for words in {words}: assert run([*words, '--checkpoints', {str(trained_runs)!r}]) == 0"
    )
    assert heavy_modules_after(code) == "[]"


@pytest.mark.parametrize("width", [80, 120])
def test_help_pages_fit_the_terminal(
    width: int, tinychat: Tinychat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for page in PAGES:
        found = tinychat(*page)
        assert found.code == 0
        for line in found.out.splitlines():
            # an example is never broken: people copy it
            assert len(line) <= width or line.startswith("    tinychat"), line


def test_the_front_page_names_every_command_with_a_sentence(tinychat: Tinychat) -> None:
    lines = tinychat("--help").out.splitlines()
    for _, name in COMMANDS:
        line = next(line for line in lines if line.startswith(f"│ {name} "))
        assert len(line.strip("│ ").split()) > 3, line


def test_settings_stand_in_a_panel_for_each_section(tinychat: Tinychat) -> None:
    page = tinychat("train", "--help").out
    for title in ("Options", "Settings of the run", "model: The shape", "optim: ", "runtime: "):
        assert f"─ {title}" in page
    assert "--optim.learning-rate" in page


def test_every_problem_of_the_settings_is_told_at_once(tinychat: Tinychat, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[optim]\nlerning_rate = 1e-3\n", encoding="utf-8")
    found = tinychat(
        "train", "--config", file, "--checkpoints", tmp_path / "runs", "--model.n-layr", "3",
        "--batch-size", "none", "--optim.schedule", "cosin", "--seed", "1.5", "--presett=demo",
    )  # fmt: skip
    assert found.code == 2
    assert found.out == ""
    assert "Traceback" not in found.err
    told = found.err.splitlines()
    assert len(told) == 6
    for piece in (
        "unknown setting 'model.n_layr'; did you mean 'model.n_layer'?",
        "no flag --presett; did you mean --preset?",
        f"{file}: unknown setting 'optim.lerning_rate'; did you mean 'optim.learning_rate'?",
        "command line: batch_size = ",
        "command line: optim.schedule = \"cosin\"",
        "command line: seed = \"1.5\"",
    ):  # fmt: skip
        assert any(piece in line for line in told), piece
    assert not (tmp_path / "runs").exists(), "refused before any work"


@pytest.mark.parametrize(
    ("words", "code", "piece"),
    [
        (["trian"], 2, "train"),
        (["train", "one", "two"], 2, "one word too many"),
        (["train", "--preset", "dmeo"], 2, "did you mean 'demo'?"),
        (["train", "--config", "no.toml"], 2, "no.toml"),
        (["train", "--data", "no.txt"], 2, "no.txt"),
        (["train", "--name", "../x", "--max-steps", "1"], 2, "cannot be called"),
        (["resume", "nobody"], 2, "nobody"),
        (["train", "--resume", "talk", "--dry-run"], 2, "leave out --dry-run"),
        (["show"], 2, "needs RUN"),
        (["show", "nobody"], 2, "nobody"),
        (["show", "tlak"], 2, "did you mean talk?"),
        (["runs", "--jsn"], 2, "did you mean --json?"),
        (["generate", "talk"], 2, "needs --prompt"),
        (["generate", "talk", "--prompt"], 2, "--prompt"),
        (["generate", "nobody", "--prompt", "x"], 2, "nobody"),
        (["generate", "talk@7", "--prompt", "x"], 2, "has no checkpoint '7'"),
        (["generate", "talk", "--prompt", "x", "--top-k", "many"], 2, "--top-k"),
        (["generate", "talk", "--prompt", "x", "--top-p", "2"], 2, "top_p"),
        (["generate", "talk", "--prompt", "x", "--device", "toaster"], 2, "toaster"),
        (["chat", "talk", "--temperature", "-1"], 2, "temperature"),
        (["eval", "talk", "--data", "no.txt"], 2, "no.txt"),
        (["data", "no.txt"], 2, "no.txt"),
        (["plan", "--data", "no.txt"], 2, "no.txt"),
        (["tokenizer", "train", "no.txt", "--out", "t.json"], 2, "no.txt"),
        (["train", "--tokenizer", "no.json"], 2, "no.json"),
        (["data", "x", "--tokenizer.kind", "words"], 2, "tokenizer.kind"),
        (["tokenizer", "train", "x"], 2, "needs --out"),
        (["tokenizer", "show", "nobody", "x"], 2, "nobody"),
        (["tune", "nobody"], 2, "nobody"),
        (["control", "talk", "pauze"], 2, "did you mean pause?"),
        (["control", "talk", "pause"], 2, "resume talk"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    words: list[str], code: int, piece: str, trained_runs: Path,
    tinychat: Tinychat, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("TINYCHAT_CHECKPOINTS", str(trained_runs))
    monkeypatch.chdir(tmp_path)
    found = tinychat(*words)
    assert (found.code, found.out) == (code, ""), found.err
    assert piece in found.err
    assert "Traceback" not in found.err
    assert found.err.startswith("tinychat: ")


@pytest.mark.parametrize("bad", ["gone", "empty", "short"])
def test_a_run_that_is_refused_for_its_data_leaves_nothing(
    bad: str, tinychat: Tinychat, tmp_path: Path
) -> None:
    text, runs = tmp_path / "text.txt", tmp_path / "there" / "runs"
    if bad != "gone":
        text.write_text("" if bad == "empty" else "Too short.")
    words = ["train", "--data", text, "--name", "x", "--checkpoints", runs, *tiny()]
    found = tinychat(*words)
    assert found.code == (1 if bad == "short" else 2), found.err
    assert not (runs / "x").exists()
    if bad == "short":  # what was prepared may be of use with a smaller context
        assert [path.name for path in runs.iterdir()] == [".cache"]
    else:
        assert not runs.parent.exists()


def test_a_refused_start_takes_nothing_away_that_was_there(
    tinychat: Tinychat, tmp_path: Path
) -> None:
    """As another program's start that is still under way, or a person's own folder."""
    run = tmp_path / "runs" / "x"
    RunWriter(run).create_run()
    found = tinychat("train", "--data", "no.txt", "--name", "x", "--checkpoints", run.parent)
    assert found.code == 2
    assert run.is_dir()


def test_a_folder_where_no_run_can_lie_is_refused_before_work(
    tinychat: Tinychat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, closed = tmp_path / "file", tmp_path / "closed"
    file.touch()
    closed.mkdir()
    # as on a read-only disk, which not even root can write
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and allowed(path, mode))
    for command in ("train", "plan"):
        for root, why in ((file, "is no folder"), (closed / "runs", "closed cannot be written")):
            found = tinychat(command, "--data", "no.txt", "--checkpoints", root)
            assert (found.code, found.out) == (2, "")
            assert why in found.err
            assert "--checkpoints" in found.err
    assert not any(closed.iterdir())


@pytest.mark.parametrize("held_out", [14, 40])
def test_a_held_out_text_of_a_few_tokens_is_enough(
    held_out: int, tinychat: Tinychat, tmp_path: Path
) -> None:
    """Shorter than the samples' prompts are many, each of which begins somewhere else in it."""
    text = "Tom saw the moon. " * 200
    for name, size in (("train", 2000), ("valid", held_out)):
        (tmp_path / f"{name}.txt").write_text(text[:size], encoding="utf-8")
    words = ["train", "--data", tmp_path, "--name", "r", "--checkpoints", tmp_path / "runs"]
    done = tinychat(*words, *tiny(max_steps=1, tokenizer__kind="char", model__context_length=8))
    assert done.code == 0, done.err


def test_a_reader_that_leaves_early_is_no_error(trained_runs: Path) -> None:
    command = (
        f"{sys.executable} -m tinychat show talk --checkpoints {trained_runs} | head -1; "
        "exit ${PIPESTATUS[0]}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"talk")


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"]])
def test_help_that_nobody_reads_is_no_error(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "tinychat", *words], stdout=writing, stderr=subprocess.PIPE,
        check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_without_our_signs_is_no_error(trained_runs: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tinychat", "show", "talk", "--checkpoints", str(trained_runs)],
        capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_command_also_works_as_a_module(trained_runs: Path) -> None:
    found = spawn("runs", "--json", "--checkpoints", trained_runs)
    assert (found.code, found.err) == (0, "")
    assert {row["name"] for row in json.loads(found.out)["runs"]} == {"talk", "story"}


def closed(streams: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, started without some of its standard streams."""
    shell = ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-m", "tinychat", *words]
    return subprocess.run(shell, capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.name == "nt", reason="a shell that closes streams")
@pytest.mark.parametrize("streams", ["<&-", "2>&-", ">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", [["runs"], ["chat", "talk"]])
def test_a_stream_that_nobody_opened_is_no_fault(
    words: list[str], streams: str, trained_runs: Path
) -> None:
    done = closed(streams, *words, "--checkpoints", str(trained_runs))
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    if words == ["runs"] and streams in ("<&-", "2>&-"):
        assert "talk" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="a shell that closes streams")
def test_a_run_needs_no_stream(tmp_path: Path) -> None:
    _, story = write_corpora(tmp_path)
    words = ["--name", "quiet", "--data", str(story), "--checkpoints", str(tmp_path)]
    assert closed("<&- >&- 2>&-", "train", *words, *tiny(max_steps=2)).returncode == 0
    status = json.loads((tmp_path / "quiet" / "status.json").read_text("utf-8"))
    assert (status["state"], status["step"]) == ("finished", 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full disk at hand")
def test_what_cannot_be_written_is_told(trained_runs: Path) -> None:
    command = [sys.executable, "-m", "tinychat", "runs", "--checkpoints", str(trained_runs)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "tinychat: No space left on device\n"
