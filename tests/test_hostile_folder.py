"""Nothing in a folder of models is ever executed: shown by an audit hook, not by prose."""

import hashlib
import json
import pickle  # noqa: TID251 - to build the bombs
import subprocess
import sys
from pathlib import Path

import pytest

from tinychat.cli.app import run as tinychat
from tinychat.runs import RunPaths, list_checkpoints

WATCHER = '''
"""Use a good run, then the hostile one, and write down what the interpreter was asked to do."""
import io, json, os, sys, sysconfig
from pathlib import Path

good, hostile, allowed = sys.argv[1], os.path.realpath(sys.argv[2]), set(json.loads(sys.argv[3]))
homes = {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix}
homes = [os.path.realpath(p) for p in homes]
homes += [os.path.realpath(p) for p in sys.path if p]
watching, seen = False, []

def installed(name):
    return name.startswith("<frozen") or any(os.path.realpath(name).startswith(h) for h in homes)

def hook(event, args):
    if not watching:
        return
    if event in ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn",
                 "os.fork", "os.forkpty", "os.spawn"):
        seen.append([event, str(args)[:200]])
    elif event == "exec":
        name = args[0].co_filename
        if name.startswith("<") and not name.startswith("<frozen"):
            name = sys._getframe(1).f_code.co_filename  # made on the spot: by whom?
        if not installed(name) or os.path.realpath(name).startswith(hostile):
            seen.append([event, name])
    elif event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
        path = os.path.realpath(os.fsdecode(args[0]))
        if path.startswith(hostile + os.sep) and os.path.basename(path) not in allowed:
            seen.append([event, path])

sys.addaudithook(hook)
from tinychat.cli.app import run

def use(checkpoints):
    codes = []
    for words in (["runs"], ["show", "r"], ["eval", "r", "--json"],
                  ["generate", "r", "--prompt", "hello", "--seed", "1", "--max-new-tokens", "5"],
                  ["chat", "r"]):
        sys.stdin = io.TextIOWrapper(io.BytesIO(b"hello\\n"))
        codes.append(run([*words, "--checkpoints", checkpoints]))
    return codes

warm = use(good)
watching = True
codes = use(hostile)
watching = False
Path(sys.argv[4]).write_text(json.dumps({"warm": warm, "codes": codes, "seen": seen}))
'''


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.target, "w")


def test_a_hostile_folder_runs_nothing(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"line {i} says hello to {i * 7}" for i in range(400)), "utf-8")
    good, hostile = tmp_path / "good", tmp_path / "hostile"
    for root in (good, hostile):
        assert (
            tinychat(
                ["train", "--name=r", f"--checkpoints={root}", f"--data={corpus}", "--max-steps=4",
                 "--model.n-layer=1", "--model.n-head=2", "--model.n-embd=16",
                 "--model.context-length=16", "--tokenizer.vocab-size=300", "--batch-size=4",
                 "--runtime.threads=1"]
            )
            == 0
        )  # fmt: skip
    target = tmp_path / "executed"
    names = _salt(hostile / "r", target)
    watcher, report = tmp_path / "watcher.py", tmp_path / "report.json"
    watcher.write_text(WATCHER, "utf-8")
    done = subprocess.run(
        [sys.executable, str(watcher), str(good), str(hostile), json.dumps(names), str(report)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert report.exists(), done.stderr
    told = json.loads(report.read_text("utf-8"))
    assert told["warm"] == [0] * 5, done.stderr
    assert told["codes"] == [0] * 5, done.stderr
    assert told["seen"] == []
    assert not target.exists()


def _salt(run: Path, target: Path) -> list[str]:
    """Put hostile files everywhere, some of them named by the manifest; returns the names that
    may be opened."""
    bomb = pickle.dumps(Bomb(str(target)))
    code = f"open({str(target)!r}, 'w')\n".encode()
    payloads = {
        "pytorch_model.bin": bomb, "optimizer.pt": bomb, "training_args.bin": bomb, "x.pkl": bomb,
        "weights.npy": bomb, ".metadata": bomb, "modeling_tinychat.py": code, "__init__.py": code,
        "sitecustomize.py": code, "tinychat.py": code, "torch.py": code,
        "chat_template.jinja": b"{{ ''.__class__.__mro__[1].__subclasses__() }}",
    }  # fmt: skip
    for name, data in payloads.items():
        (run / name).write_bytes(data)
    names = {"manifest.json", "metrics.jsonl", "samples.jsonl", "events.jsonl", "train.log"}
    names |= {"attempt.json", "run.json", "settings.json", "status.json", "tokenizer.json", "lock"}
    for step in list_checkpoints(run):
        folder = RunPaths(run).checkpoint(step)
        for name, data in payloads.items():
            (folder / name).write_bytes(data)
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        config = json.loads((folder / "config.json").read_text("utf-8"))
        config["auto_map"] = {"AutoModelForCausalLM": "modeling_tinychat.Evil"}
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
        words = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        words["chat_template"] = payloads["chat_template.jinja"].decode()
        (folder / "tokenizer_config.json").write_text(json.dumps(words), "utf-8")
        for name in ("config.json", "tokenizer_config.json", "x.pkl", "modeling_tinychat.py"):
            data = (folder / name).read_bytes()  # the attacker can hash too
            manifest["files"][name] = {
                "size": len(data), "sha256": hashlib.sha256(data).hexdigest()
            }  # fmt: skip
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
        names |= set(manifest["files"]) - set(payloads)
    return sorted(names | {"train.bin", "train.idx", "valid.bin", "valid.idx", "corpus.json"})


def test_the_watcher_sees_a_bomb(tmp_path: Path) -> None:
    """The check can fail: an unpickled bomb leaves both its trace and its event."""
    script = (
        "import sys, pickle; seen = []\n"
        "sys.addaudithook(lambda e, a: seen.append(e))\n"
        "pickle.loads(open(sys.argv[1], 'rb').read())\n"
        "assert 'pickle.find_class' in seen\n"
    )
    bomb = tmp_path / "x.pkl"
    bomb.write_bytes(pickle.dumps(Bomb(str(tmp_path / "executed"))))
    subprocess.run([sys.executable, "-c", script, str(bomb)], check=True)
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("word", [" torch.load(", "import pickle", "np.load(", "trust_remote_code"])
def test_the_product_has_no_unsafe_reader(word: str) -> None:
    root = Path(__file__).parents[1]
    for path in [*(root / "tinychat").rglob("*.py"), *(root / "apps").rglob("*.py")]:
        assert word not in path.read_text("utf-8"), path
