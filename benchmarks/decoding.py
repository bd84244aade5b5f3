"""How fast one thread answers, beside transformers and llama.cpp with the same weights.

    python benchmarks/decoding.py [--quick] [--transformers] [--llama-python PATH]

The model has 8 layers of 512, 8 heads, a SwiGLU of 1376, 8192 tokens, in the default layout, and
random weights: speed does not depend on them. All measure in turns, on one core, greedy, in seconds
of CPU that their process takes, so that others on the machine disturb less; medians of the rounds'
ratios, with the least and the greatest. PATH is a Python with llama-cpp-python and gguf.
"""

import contextlib
import json
import os
import platform
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from measured import Figure, arguments, save
from tinychat.config import ModelSettings
from tinychat.engine import Batch, Request, Sampling, decode
from tinychat.model import AnsweringDecoder, Decoder, KVCache, Runtime, cpu_computes_bf16, has_int8
from tinychat.model.device import processor
from tinychat.model.families import hf_config, to_hf
from tinychat.text import tinychat_format

SHAPE = ModelSettings(n_layer=8, n_head=8, n_embd=512, intermediate_size=1376, context_length=1024)
VOCABULARY = 8192


@dataclass(frozen=True)
class Found:
    """Seconds of CPU until the first token, and for the others; the first row's tokens."""

    first: float
    others: float
    tokens: list[int]


@dataclass(frozen=True)
class Case:
    """What is asked: rows of equal prompts, and tokens after each."""

    name: str
    prompt: int
    tokens: int
    rows: int = 1

    def rate(self, found: Found) -> float:
        """First tokens a second where only one is asked for, else tokens/s after it."""
        if self.tokens == 1:
            return 1 / found.first
        return self.rows * (self.tokens - 1) / found.others


Way = Callable[[Case], Found]


def main() -> None:
    """Measure, print."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--transformers", action="store_true", help="measure it too")
    parser.add_argument("--llama-python", type=Path, help="a Python with llama-cpp-python, gguf")
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {given.core})
    torch.set_num_threads(1)
    shape = replace(SHAPE, n_layer=2, n_embd=128, intermediate_size=352) if given.quick else SHAPE
    model = build(shape)
    with contextlib.ExitStack() as stack:
        ways = our_ways(model)
        if given.transformers:
            ways["transformers bf16"] = transformers_way(model, torch.bfloat16)
            ways["transformers fp32"] = transformers_way(model, torch.float32)
        if given.llama_python:
            ask = stack.enter_context(llama(given.llama_python, model))
            for kind in ("bf16", "q8_0"):
                ways[f"llama.cpp {kind}"] = lambda case, kind=kind: ask(case, kind)
        figures = measure(model, ways, given.quick, given.rounds)
    figures |= measure_guessing(model, given.quick, 2 if given.quick else given.rounds)
    save(given, figures)


def build(shape: ModelSettings) -> Decoder:
    """A decoder whose every matrix does something."""
    made = Decoder(shape, VOCABULARY)
    made.initialise(0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.02, generator=generator)
    return made.eval()


def measure(model: Decoder, ways: dict[str, Way], quick: bool, rounds: int) -> dict[str, Figure]:
    """All cases, each by all ways in turns."""
    parameters = sum(each.numel() for each in model.parameters())
    print(f"{processor('cpu')}, {platform.system()}, torch {torch.__version__}, 1 thread")
    print(f"load at the start {os.getloadavg()[0]:.1f}; {parameters / 1e6:.1f} M parameters")
    rounds = 2 if quick else rounds
    cases = {
        "one": Case("one conversation, after a prompt of 64", 64, 8 if quick else 96),
        "eight": Case("8 conversations", 64, 4 if quick else 32, rows=8),
        "prompt 64": Case("prompt of 64", 64, 1),
        "prompt 512": Case("prompt of 512", 512, 1),
    }
    figures: dict[str, Figure] = {}
    rates: dict[str, dict[str, list[float]]] = {}
    for name, case in cases.items():
        found: dict[str, list[Found]] = {way: [] for way in ways}
        floor: list[float] = []
        for _ in range(rounds):
            floor.append(reading_seconds(parameters * 2))
            for way, run in ways.items():
                found[way].append(run(case))
        rates[name] = {way: [case.rate(each) for each in all_] for way, all_ in found.items()}
        told = tell(case, found, rates[name])
        figures |= {f"{name}: {what}": figure for what, figure in told.items()}
        if name == "one" and "tinychat bf16" in found:
            least = [(case.tokens - 1) * seconds for seconds in floor]
            needed = [each.others for each in found["tinychat bf16"]]
            share = figures["one: bf16 / bandwidth"] = Figure.ratio(least, needed)
            print(f"  reading the weights of bf16 alone takes {share.median:.0%} of a token's time")
    if best := best_of_llama(rates):
        for way in ("bf16", "int8"):
            if many := rates["eight"].get(f"tinychat {way}"):
                ratio = figures[f"eight: {way} / llama.cpp's best"] = Figure.ratio(many, best)
                print(f"  8 conversations, {way} against llama.cpp's best: {ratio}")
    return figures


def best_of_llama(rates: dict[str, dict[str, list[float]]]) -> list[float]:
    """Its tokens/s for many, each round the best of one after the other and together, any type."""
    theirs = [
        all_
        for case in ("one", "eight")
        for way, all_ in rates[case].items()
        if way.startswith("llama.cpp")
    ]
    return [max(each) for each in zip(*theirs, strict=True)]


def measure_guessing(model: Decoder, quick: bool, rounds: int) -> dict[str, Figure]:
    """Texts that repeat themselves, with and without guesses of what comes next."""
    runtime = Runtime("cpu", "bf16" if cpu_computes_bf16() else "fp32", 1)
    with torch.inference_mode():
        scripted = Scripted(model, runtime.torch_dtype)
    print("\nguesses of the next tokens, in a model that is made to say a text")
    figures: dict[str, Figure] = {}
    for name, (text, begin) in texts().items():
        scripted.text = torch.tensor(text)
        many = 12 if quick else len(text) - begin - 2
        rules = Sampling(temperature=0, max_new_tokens=many, repetition_guard=False)
        request = Request(prompt_ids=text[:begin], sampling=rules, stop_ids=())
        took: dict[bool, list[float]] = {False: [], True: []}
        tokens_a_pass = 0.0
        for _ in range(rounds):
            for guesses, seconds in took.items():
                batch = Batch(scripted, runtime, most_rows=1, guesses=guesses)
                (row,) = batch.admit([request])
                while batch.fill():
                    pass
                began = time.process_time()
                while batch.rows:
                    batch.step(lambda row: False)
                seconds.append(time.process_time() - began)
                assert row.ids == text[: len(row.ids)], "another text with guesses"
                tokens_a_pass = row.produced / row.passes
        ratio = figures[f"guesses: {name}"] = Figure.ratio(took[False], took[True])
        print(f"  {name:<24}{ratio}, {tokens_a_pass:.1f} tokens a pass")
    return figures


def texts() -> dict[str, tuple[list[int], int]]:
    """Token ids, and how many of them are the prompt."""
    words = random.Random(0)

    def some(count: int) -> list[int]:
        return [words.randrange(VOCABULARY) for _ in range(count)]

    paragraph, line, prose = some(120), some(10), some(240)
    lists: dict[int, list[int]] = {1: [], 2: []}
    for fresh, text in lists.items():
        for _ in range(24):
            line[3], line[7] = some(1)[0], some(1)[0] if fresh == 2 else line[7]
            text += line
    return {
        "a paragraph copied": (2 * paragraph, 120),
        "a list, 1 new in 10": (lists[1], 120),
        "a list, 2 new in 10": (lists[2], 120),
        "prose": (prose, 120),
    }


class Scripted(AnsweringDecoder):
    """Computes what the model says, and says a text."""

    text: torch.Tensor

    def forward(
        self, ids: torch.Tensor, cache: KVCache | None = None, last_only: bool = False
    ) -> torch.Tensor:
        logits = super().forward(ids, cache, last_only)
        assert cache is not None
        end = int(cache.lengths[0]) + 1
        said = self.text[end - logits.shape[1] : end]
        logits[0, torch.arange(len(said)), said] = 1e4
        return logits


def tell(
    case: Case, found: dict[str, list[Found]], rates: dict[str, list[float]]
) -> dict[str, Figure]:
    """A line for each way: its speed, and how much faster ours are."""
    print(f"\n{case.name}")
    ours = [way for way in found if way.startswith("tinychat")]
    figures: dict[str, Figure] = {}
    for way, all_ in found.items():
        if case.tokens == 1:
            speed = Figure.of([1000 * each.first for each in all_], " ms to the first token")
        else:
            speed = Figure.of(rates[way], " tokens/s")
        figures[f"{way}: speed"] = speed
        line = f"  {way:<22}{speed}"
        if way not in ours:
            for our in ours:
                name = our.removeprefix("tinychat ")
                ratio = figures[f"{name} / {way}"] = Figure.ratio(rates[our], rates[way])
                line += f"   {name} {ratio}"
            line += f"   same tokens {same(all_[0].tokens, found[ours[0]][0].tokens):.0%}"
        print(line)
    return figures


def same(one: list[int], other: list[int]) -> float:
    """Share of tokens before the first that differs."""
    pairs = list(zip(one, other, strict=True))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs)) / len(pairs)


def reading_seconds(size: int) -> float:
    """Seconds to read that many bytes once, after other reading."""
    buffer = torch.zeros(size // 4)
    buffer.sum()
    seconds = []
    for _ in range(9):
        began = time.process_time()
        buffer.sum()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds)


# the ways


def our_ways(model: Decoder) -> dict[str, Way]:
    """What `chat` and its kin do."""
    ways = {"tinychat fp32": our_way(model, "fp32")}
    if cpu_computes_bf16():
        ways = {"tinychat bf16": our_way(model, "bf16"), **ways}
    if has_int8():
        ways["tinychat int8"] = our_way(model, "bf16" if cpu_computes_bf16() else "fp32", int8=True)
    return ways


def our_way(model: Decoder, dtype: str, *, int8: bool = False) -> Way:
    runtime = Runtime("cpu", dtype, 1)
    with torch.inference_mode():
        form = AnsweringDecoder(model, runtime.torch_dtype, one_row_int8=int8)

    def run(case: Case) -> Found:
        rules = Sampling(temperature=0, max_new_tokens=case.tokens, repetition_guard=False)
        request = Request(prompt_ids=prompt(case.prompt), sampling=rules, stop_ids=())
        began = time.process_time()
        first, tokens = 0.0, []
        for row, event in decode(form, [request] * case.rows, runtime=runtime):
            first = first or time.process_time()
            if row == 0 and isinstance(event, int):
                tokens.append(event)
        return Found(first - began, time.process_time() - first, tokens)

    return run


def transformers_way(model: Decoder, dtype: torch.dtype) -> Way:
    """Its own generation, with its own cache."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import GenerationConfig, LogitsProcessorList, Qwen3Config, Qwen3ForCausalLM

    shape = hf_config(model.settings, VOCABULARY, tinychat_format())
    theirs = Qwen3ForCausalLM(Qwen3Config(**shape))
    theirs.load_state_dict(to_hf(model.state_dict(), model.settings), strict=False)
    theirs = theirs.to(dtype=dtype).eval()  # pyright: ignore[reportCallIssue]
    # else it ends a text that ours and llama.cpp's go on with, whatever a single call asks
    theirs.generation_config.eos_token_id = None  # pyright: ignore[reportOptionalMemberAccess]

    def run(case: Case) -> Found:
        ids = torch.tensor([prompt(case.prompt)] * case.rows)
        times: list[float] = []

        def clock(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            times.append(time.process_time())
            return scores

        rules = GenerationConfig(
            max_new_tokens=case.tokens, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        began = time.process_time()
        at_each: Any = LogitsProcessorList([clock])  # type: ignore[list-item]
        with torch.inference_mode():
            out = theirs.generate(ids, generation_config=rules, logits_processor=at_each)
        ended = time.process_time()
        return Found(times[0] - began, ended - times[0], out[0, case.prompt :].tolist())

    return run


@contextlib.contextmanager
def llama(python: Path, model: Decoder) -> Iterator[Callable[[Case, str], Found]]:
    """llama.cpp in a process of its own, with this model's weights."""
    with tempfile.TemporaryDirectory(prefix="tinychat-decoding-") as folder:
        settings = model.settings
        about = asdict(settings) | {
            "vocab_size": VOCABULARY,
            "n_kv_head": settings.kv_heads,
            "head_dim": settings.head_width,
            "intermediate_size": settings.mlp_width,
        }
        (Path(folder) / "shape.json").write_text(json.dumps(about))
        weights: dict[str, Any] = {
            name: weight.numpy() for name, weight in to_hf(model.state_dict(), settings).items()
        }
        np.savez(Path(folder) / "weights.npz", **weights)
        child = subprocess.Popen(
            [python, Path(__file__).with_name("llama_peer.py"), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None

        def ask(case: Case, kind: str) -> Found:
            assert child.stdin is not None
            assert child.stdout is not None
            asked = {"type": kind, "prompt": prompt(case.prompt), "rows": case.rows}
            child.stdin.write(json.dumps(asked | {"tokens": case.tokens}) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
            if not line:
                raise SystemExit(f"llama.cpp ended with {child.wait()}")
            return Found(**json.loads(line))

        yield ask
        child.stdin.close()
        child.wait()


def prompt(length: int) -> list[int]:
    """That many ids, no two alike."""
    return [(17 + 7919 * i) % VOCABULARY for i in range(length)]


if __name__ == "__main__":
    main()
