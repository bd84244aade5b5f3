"""How fast one thread answers, beside transformers and llama.cpp with the same weights.

    python benchmarks/decoding.py [--quick] [--transformers] [--llama-python PATH]

The model has 8 layers of 512, 8 heads, a SwiGLU of 1376, 8192 tokens, in the default layout, and
random weights: speed does not depend on them. All measure in turns, on one core, greedy, in seconds
of CPU that their process takes, so that others on the machine disturb less; medians of the rounds'
ratios, with the least and the greatest. PATH is a Python with llama-cpp-python and gguf.
"""

import argparse
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

from tinychat.config import ModelSettings
from tinychat.engine import Batch, Request, Sampling, decode
from tinychat.model import AnsweringDecoder, Decoder, KVCache, Runtime, cpu_computes_bf16, has_int8
from tinychat.model.device import processor
from tinychat.model.families import hf_config, to_hf
from tinychat.text import tinychat_format

SHAPE = ModelSettings(n_layer=8, n_head=8, n_embd=512, intermediate_size=1376, context_length=1024)
VOCABULARY = 8192


@dataclass(frozen=True)
class Case:
    """What is asked: rows of equal prompts, and tokens after each."""

    prompt: int
    tokens: int
    rows: int = 1


@dataclass(frozen=True)
class Found:
    """Seconds of CPU until the first token, and for the others; the first row's tokens."""

    first: float
    others: float
    tokens: list[int]


Way = Callable[[Case], Found]


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="show that it runs, in seconds")
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
        measure(model, ways, given.quick, given.rounds)


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


def measure(model: Decoder, ways: dict[str, Way], quick: bool, rounds: int) -> None:
    """All cases, each by all ways in turns."""
    parameters = sum(each.numel() for each in model.parameters())
    print(f"{processor('cpu')}, {platform.system()}, torch {torch.__version__}, 1 thread")
    print(f"load at the start {os.getloadavg()[0]:.1f}; {parameters / 1e6:.1f} M parameters")
    rounds = 2 if quick else rounds
    long = 8 if quick else 96
    cases = {
        "one conversation, after a prompt of 64": Case(64, long),
        "8 conversations": Case(64, 4 if quick else 32, rows=8),
        "prompt of 64": Case(64, 1),
        "prompt of 512": Case(512, 1),
    }
    for name, case in cases.items():
        found: dict[str, list[Found]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, run in ways.items():
                found[way].append(run(case))
        tell(name, case, found)
        if case.rows == 1 and case.tokens > 1:
            tell_floor(parameters, found)
    measure_guessing(model, quick, rounds)


def measure_guessing(model: Decoder, quick: bool, rounds: int) -> None:
    """Texts that repeat themselves, with and without guesses of what comes next."""
    words = random.Random(0)
    paragraph = [words.randrange(VOCABULARY) for _ in range(120)]
    line = [words.randrange(VOCABULARY) for _ in range(10)]
    lists: list[int] = []
    for _ in range(24):  # ten words a line, of which two are always others
        line[3], line[7] = words.randrange(VOCABULARY), words.randrange(VOCABULARY)
        lists += line
    prose = [words.randrange(VOCABULARY) for _ in range(240)]
    texts = {"a paragraph copied": 2 * paragraph, "a list by a template": lists, "prose": prose}
    runtime = Runtime("cpu", "bf16" if cpu_computes_bf16() else "fp32", 1)
    with torch.inference_mode():
        scripted = Scripted(model, runtime.torch_dtype)
    begin = 120
    print("\nguesses of the next tokens, in a model that is made to say a text")
    for name, text in texts.items():
        scripted.text = torch.tensor(text)
        rules = Sampling(temperature=0, max_new_tokens=12 if quick else 118, repetition_guard=False)
        request = Request(prompt_ids=text[:begin], sampling=rules, stop_ids=())
        ratios, passes = [], 0.0
        for _ in range(2 if quick else rounds):
            seconds = []
            for guesses in (False, True):
                batch = Batch(scripted, runtime, most_rows=1, guesses=guesses)
                (row,) = batch.admit([request])
                while batch.fill():
                    pass
                began = time.process_time()
                while batch.rows:
                    batch.step(lambda row: False)
                seconds.append(time.process_time() - began)
                assert row.ids == text[: len(row.ids)]
                passes = row.produced / row.passes
            ratios.append(seconds[0] / seconds[1])
        ratios.sort()
        print(
            f"  {name:<22}{statistics.median(ratios):5.2f}x ({ratios[0]:.2f}-{ratios[-1]:.2f}), "
            f"{passes:.1f} tokens a pass"
        )


class Scripted(AnsweringDecoder):
    """Computes what the model says, and says a text."""

    text: torch.Tensor

    def forward(self, ids: torch.Tensor, cache: KVCache | None = None) -> torch.Tensor:
        logits = super().forward(ids, cache)
        assert cache is not None
        end = int(cache.lengths[0]) + 1
        said = self.text[end - ids.shape[1] : end]
        logits[0, torch.arange(len(said)), said] = 1e4
        return logits


def tell(name: str, case: Case, found: dict[str, list[Found]]) -> None:
    """A line for each way: its speed, and how much faster ours are."""
    print(f"\n{name}")
    ours = [way for way in found if way.startswith("tinychat")]
    for way, all_ in found.items():
        if case.tokens == 1:
            seconds = [each.first for each in all_]
            said = f"{1000 * statistics.median(seconds):8.1f} ms to the first token"
        else:
            seconds = [each.others for each in all_]
            made = case.rows * (case.tokens - 1)
            said = f"{made / statistics.median(seconds):8.0f} tokens/s"
        middle = statistics.median(seconds)
        spread = f"{min(seconds) / middle - 1:+.0%} {max(seconds) / middle - 1:+.0%}"
        line = f"  {way:<22}{said} ({spread})"
        if way not in ours:
            for our in ours:
                line += f"   {our.removeprefix('tinychat ')} {ratio(all_, found[our], case)}"
            line += f"   same tokens {same(all_[0].tokens, found[ours[0]][0].tokens):.0%}"
        print(line)


def ratio(theirs: list[Found], ours: list[Found], case: Case) -> str:
    """How many times sooner ours are: median, least and greatest of the rounds."""
    part = "first" if case.tokens == 1 else "others"
    all_ = sorted(getattr(t, part) / getattr(o, part) for t, o in zip(theirs, ours, strict=True))
    return f"{statistics.median(all_):.2f}x ({all_[0]:.2f}-{all_[-1]:.2f})"


def same(one: list[int], other: list[int]) -> float:
    """Share of tokens before the first that differs."""
    pairs = list(zip(one, other, strict=True))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs)) / len(pairs)


def tell_floor(parameters: int, found: dict[str, list[Found]]) -> None:
    """The time to read as many bytes as the weights have, as a share of a token's time."""
    sizes = {"tinychat fp32": 4, "tinychat bf16": 2, "tinychat int8": 1}
    for way, size in sizes.items():
        if way in found:
            floor = reading_seconds(parameters * size)
            all_ = [each.others / (len(each.tokens) - 1) for each in found[way]]
            share = floor / statistics.median(all_)
            print(f"  {way}: reading its weights alone takes {share:.0%} of a token's time")


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
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    theirs = Qwen3ForCausalLM(Qwen3Config(**hf_config(SHAPE, VOCABULARY, tinychat_format())))
    theirs.load_state_dict(to_hf(model.state_dict(), model.settings), strict=False)
    theirs = theirs.to(dtype=dtype).eval()  # pyright: ignore[reportCallIssue]

    def run(case: Case) -> Found:
        ids = torch.tensor([prompt(case.prompt)] * case.rows)
        times: list[float] = []

        class Clock:
            def put(self, value: Any) -> None:
                times.append(time.process_time())

            def end(self) -> None:
                """Nothing is left."""

        rules = GenerationConfig(
            max_new_tokens=case.tokens, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        began = time.process_time()
        with torch.inference_mode():
            streamer = Clock() if case.rows == 1 else None
            out = theirs.generate(ids, generation_config=rules, streamer=streamer)  # type: ignore[arg-type]
        ended = time.process_time()
        first = times[1] if len(times) > 1 else began  # the prompt is the first
        return Found(first - began, ended - first, out[0, case.prompt :].tolist())

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
