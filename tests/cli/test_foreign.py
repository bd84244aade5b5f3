"""Model folders from elsewhere: asked, measured and trained on as runs of ours are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import tiny, write_corpora
from tests.text.test_imported import gpt2_like, llama3_like, qwen_like
from tinychat.cli.app import run as tinychat

HOSTILE_TEMPLATE = "{{ cycler.__init__.__globals__.os.system('touch /tmp/tinychat-was-here') }}"
SHAPES: dict[str, dict[str, Any]] = {
    "qwen3": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16},
    "llama": {"num_attention_heads": 2, "num_key_value_heads": 2},
    "arcee": {"num_attention_heads": 2, "num_key_value_heads": 1},
    "gpt_neox": {"num_attention_heads": 2, "use_parallel_residual": False, "rotary_pct": 1.0},
    "gpt2": {"n_head": 2},
}
VOCABULARIES = {"gpt2": gpt2_like, "qwen3": qwen_like, "llama": llama3_like}


def write_folder(folder: Path, family: str, *, chat: bool = False, tied: bool = True) -> Path:
    """A model of random weights with its tokenizer, as transformers saves them."""
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    backend = VOCABULARIES.get(family, gpt2_like)()
    names = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    if family == "llama":
        names = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    if chat:
        tokenizer.chat_template = HOSTILE_TEMPLATE
    small = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48}
    small["max_position_embeddings"] = 96
    if family == "gpt2":
        small = {"n_embd": 32, "n_layer": 2, "n_positions": 96}
    config = AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer) + 3,  # padded, as many are
        tie_word_embeddings=tied,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        **small,
        **SHAPES[family],
    )
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder of each family, written once."""
    root = tmp_path_factory.mktemp("foreign")

    def folder(family: str) -> Path:
        path = root / family
        return path if path.exists() else write_folder(path, family)

    return folder


def greedy_of_transformers(folder: Path, prompt: str, count: int) -> str:
    """Greedy tokens, special ones and padding rows left out as we leave them out."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    never = [i for i in tokenizer.all_special_ids if i != tokenizer.eos_token_id]
    never += range(len(tokenizer), model.config.vocab_size)
    answer: list[int] = []
    with torch.no_grad():
        for _ in range(count):
            logits = model(ids).logits[0, -1]
            logits[never] = -torch.inf
            token = int(logits.argmax())
            if token == tokenizer.eos_token_id:
                break
            answer.append(token)
            ids = torch.cat([ids, torch.tensor([[token]])], 1)
    return tokenizer.decode(answer)


@pytest.mark.parametrize("family", SHAPES)
def test_it_generates_what_transformers_does(
    family: str, folders: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = "Once upon a time"
    words = ["generate", str(folders(family)), "--prompt", prompt, "--temperature", "0"]
    assert tinychat([*words, "--max-new-tokens", "20", "--dtype", "fp32", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["text"] == greedy_of_transformers(folders(family), prompt, 20)
    assert (said["run"], said["step"], said["kind"]) == (family, None, "base")


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_it_is_measured_on_texts(
    family: str,
    folders: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, story = write_corpora(tmp_path)
    assert tinychat(["eval", str(folders(family)), "--data", str(story), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["val_loss"] > 1
    assert found["bits_per_byte"] > 1
    assert tinychat(["eval", str(folders(family)), "--json"]) == 2
    assert "--data" in capsys.readouterr().err


def test_a_model_of_texts_cannot_be_measured_on_conversations(
    folders: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talks, _ = write_corpora(tmp_path)
    assert tinychat(["eval", str(folders("gpt2")), "--data", str(talks)]) == 2
    assert "texts" in capsys.readouterr().err


def test_a_known_chat_format_is_spoken_and_no_template_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "qwen", "qwen3", chat=True)
    assert (folder / "chat_template.jinja").read_text(encoding="utf-8") == HOSTILE_TEMPLATE
    mark = Path("/tmp/tinychat-was-here")
    mark.unlink(missing_ok=True)
    words = ["generate", str(folder), "--prompt", "Hi", "--max-new-tokens", "3", "--json"]
    assert tinychat(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["kind"] == "chat"
    asked = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert said["prompt_tokens"] == len(qwen_like().encode(asked).ids)
    import io

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Hello!\nAnd you?\n")))
    assert tinychat(["chat", str(folder), "--max-new-tokens", "3"]) == 0
    talks, _ = write_corpora(tmp_path)
    assert tinychat(["eval", str(folder), "--data", str(talks), "--json"]) == 0
    assert not mark.exists()


@pytest.mark.parametrize("family", SHAPES)
def test_a_run_starts_from_it_resumes_and_needs_it_no_longer(
    family: str, folders: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = shutil.copytree(folders(family), tmp_path / "parent")
    talks, _ = write_corpora(tmp_path)
    runs = tmp_path / "runs"
    flags = [f for f in tiny(max_steps=4, checkpoint__every_steps=2, eval__every_steps=4)
             if not f.startswith(("--model.", "--tokenizer."))]  # fmt: skip
    words = ["train", "--name", "child", "--init-from", str(folder), "--data", str(talks)]
    words += ["--checkpoints", str(runs), "--model.context-length", "64", *flags]
    assert tinychat(words) == 0, capsys.readouterr().err
    shutil.rmtree(folder)
    capsys.readouterr()
    resume = ["resume", "child", "--checkpoints", str(runs), "--max-steps", "6", "--from", "latest"]
    assert tinychat(resume) == 0, capsys.readouterr().err
    newest = runs / "child" / "step-00000006"
    model = AutoModelForCausalLM.from_pretrained(newest)
    tokenizer = AutoTokenizer.from_pretrained(newest)
    assert model.config.model_type == family
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.convert_ids_to_tokens(model.config.eos_token_id) == "<|end|>"
    template = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True
    )
    names = tokenizer.convert_ids_to_tokens(template["input_ids"])
    assert [n for n in names if n.startswith("<|")] == ["<|bos|>", "<|user|>", "<|assistant|>"]
    capsys.readouterr()
    assert tinychat(["eval", "child", "--checkpoints", str(runs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["val_loss"] > 0


def test_its_weights_are_what_the_run_starts_from(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    """Step 0 of a child guesses as its parent does: the old rows and all other weights are kept."""
    from tinychat.model import load_model, read_foreign

    parent = read_foreign(folders("gpt2"))
    _, story = write_corpora(tmp_path)
    flags = [f for f in tiny(max_steps=1) if not f.startswith(("--model.", "--tokenizer."))]
    words = ["train", "--name", "child", "--init-from", str(folders("gpt2")), "--data", str(story)]
    words += ["--model.context-length", "32", "--checkpoints", str(tmp_path / "runs"), *flags]
    assert tinychat(words) == 0
    child = load_model(tmp_path / "runs" / "child" / "step-00000000")
    ids = torch.tensor([child.tokenizer.encode("Once upon a time there was")])
    size = child.tokenizer.vocab_size - 6
    with torch.no_grad():
        theirs, ours = parent(ids)[..., :size], child.decoder(ids)[..., :size]
    assert torch.allclose(theirs, ours, atol=1e-5)
    fresh, padding = child.decoder.embedding.weight[size:], parent.embedding.weight[size:]
    assert fresh.shape[0] == 6
    assert not any(torch.equal(fresh[i], padding[i]) for i in range(len(padding)))
    assert child.decoder.embedding.weight.shape[0] == child.tokenizer.vocab_size


def test_a_copy_of_a_childs_checkpoint_is_a_folder_like_any_other(
    folders: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its control tokens have been learnt and are kept; in its place it must be whole."""
    from tinychat.model import load_model
    from tinychat.runs import RunPaths

    _, story = write_corpora(tmp_path)
    runs = tmp_path / "runs"
    flags = [f for f in tiny(max_steps=2) if not f.startswith(("--model.", "--tokenizer."))]
    flags += ["--data", str(story), "--model.context-length", "32", "--checkpoints", str(runs)]
    words = ["train", "--name", "child", "--init-from", str(folders("gpt2")), *flags]
    assert tinychat(words) == 0
    checkpoint = RunPaths(runs / "child").checkpoint(2)
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    assert tinychat(["train", "--name", "grandchild", "--init-from", str(copy), *flags]) == 0
    begun = load_model(RunPaths(runs / "grandchild").checkpoint(0)).decoder
    for name, tensor in load_model(checkpoint).decoder.state_dict().items():
        assert torch.equal(begun.state_dict()[name], tensor)
    (checkpoint / "manifest.json").unlink()
    for parent in ("child@2", str(checkpoint)):
        capsys.readouterr()
        words = ["train", "--name", "orphan", "--init-from", parent, *flags]
        assert tinychat(words) == 1
        assert "manifest" in capsys.readouterr().err


def test_a_vocabulary_alone_can_be_learnt_with(
    folders: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run needs the file once; a flag that asks for another vocabulary is a contradiction."""
    file = shutil.copy(folders("gpt2") / "tokenizer.json", tmp_path / "vocabulary.json")
    talks, _ = write_corpora(tmp_path)
    flags = [f for f in tiny(max_steps=4) if not f.startswith("--tokenizer.")]
    words = ["train", "--name", "mine", "--data", str(talks), "--tokenizer.path", str(file)]
    words += ["--checkpoints", str(tmp_path / "runs"), *flags]
    assert tinychat([*words, "--tokenizer.vocab-size", "999"]) == 2
    assert "tokenizer.vocab_size is 326" in capsys.readouterr().err
    assert tinychat(["data", str(talks), "--tokenizer.path", str(file), "--json"]) == 0
    size = json.loads(capsys.readouterr().out)["vocab_size"]
    assert size == gpt2_like().get_vocab_size() + 6
    assert tinychat(words) == 0
    Path(file).unlink()
    resume = ["resume", "mine", "--checkpoints", str(tmp_path / "runs"), "--max-steps", "6"]
    assert tinychat([*resume, "--from", "latest"]) == 0
    capsys.readouterr()
    assert tinychat(["eval", "mine", "--checkpoints", str(tmp_path / "runs"), "--json"]) == 0
    shown = ["tokenizer", "show", "mine", "Tom's cat", "--checkpoints", str(tmp_path / "runs")]
    capsys.readouterr()
    assert tinychat([*shown, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["vocab_size"] == size
    assert tinychat(["tokenizer", "show", str(folders("llama")), "Tom's cat"]) == 0


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("no tokenizer", "tokenizer.json"),
        ("pickle", "pickle"),
        ("padding", "padding"),
        ("scaled rope", "rope"),
        ("cut weights", "model.safetensors"),
    ],
)
def test_what_cannot_be_read_exactly_is_refused_in_a_sentence(
    harm: str,
    said: str,
    folders: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(folders("llama"), tmp_path / "harmed")
    weights, tokenizer = folder / "model.safetensors", folder / "tokenizer.json"
    match harm:
        case "no tokenizer":
            tokenizer.unlink()
        case "pickle":
            weights.rename(folder / "pytorch_model.bin")
        case "padding":
            text = tokenizer.read_text(encoding="utf-8")
            padded = text.replace('"padding": null', '"padding": {"strategy": {"Fixed": 9}}')
            assert padded != text
            tokenizer.write_text(padded, encoding="utf-8")
        case "scaled rope":
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            config["rope_scaling"] = {"rope_type": "linear", "factor": 2.0}
            (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        case "cut weights":
            weights.write_bytes(weights.read_bytes()[:-8])
    for command in (["generate", str(folder), "--prompt", "x"], ["chat", str(folder)]):
        assert tinychat(command) in (1, 2)
        shown = capsys.readouterr().err
        assert said in shown
        assert "Traceback" not in shown
