"""A tensor file from an attacker: refused in one sentence, or exactly what its header says."""

import json
import os
import random
import re
import resource
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from tinychat.errors import CheckpointError
from tinychat.model.tensor_file import (
    FLOATS,
    HEADER_BYTES,
    check_entries,
    check_header,
    open_tensor_file,
    show,
)

TENSORS = {
    "blocks.0.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "blocks.1.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4) - 7,
    "head.weight": torch.arange(10, dtype=torch.float32).reshape(5, 2),
    "norm.bias": torch.tensor([0.5, 1.5, -2.5]),
}
SHAPES = {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}
SOUND = save(TENSORS, {"format": "pt"})
LENGTH = int.from_bytes(SOUND[:8], "little")
BODY = SOUND[8 + LENGTH :]

Header = dict[str, Any]
Mutation = Callable[[random.Random], bytes]


def header_of() -> Header:
    return json.loads(SOUND[8 : 8 + LENGTH])


def packed(header: bytes, body: bytes = BODY) -> bytes:
    return len(header).to_bytes(8, "little") + header + body


def rewritten(change: Callable[[Header, random.Random], None]) -> Mutation:
    """A file whose header was changed as JSON."""

    def mutate(rng: random.Random) -> bytes:
        header = header_of()
        change(header, rng)
        return packed(json.dumps(header).encode())

    return mutate


def any_tensor(header: Header, rng: random.Random) -> Header:
    return header[rng.choice(sorted(TENSORS))]


def flip_bits(rng: random.Random) -> bytes:
    data = bytearray(SOUND)
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(8 + LENGTH)] ^= 1 << rng.randrange(8)
    return bytes(data)


def truncate(rng: random.Random) -> bytes:
    return SOUND[: rng.randrange(len(SOUND))]


def append(rng: random.Random) -> bytes:
    return SOUND + rng.randbytes(rng.randint(1, 64))


def inflate_length(rng: random.Random) -> bytes:
    wrong = rng.choice([LENGTH + rng.randint(1, 300), 2**20 + 1, 2**31, 2**63, 2**64 - 1, 0, 1])
    return wrong.to_bytes(8, "little") + SOUND[8:]


def duplicate_key(rng: random.Random) -> bytes:
    header = header_of()
    name = rng.choice(sorted(TENSORS))
    again = f'"{name}":{json.dumps(header[name])}'
    if rng.random() < 0.5:  # inside one tensor
        text = json.dumps(header).replace('"dtype"', '"dtype": "F64", "dtype"', 1)
    else:
        text = json.dumps(header)[:-1] + "," + again + "}"
    return packed(text.encode())


def shift_offsets(header: Header, rng: random.Random) -> None:
    offsets = any_tensor(header, rng)["data_offsets"]
    by = rng.choice([-4, 4, 8, 48, -48, 2**40])
    offsets[0] += by
    offsets[1] += by


def overlap(header: Header, rng: random.Random) -> None:
    header["blocks.0.weight"]["data_offsets"] = header["blocks.1.weight"]["data_offsets"]


def swap_places(header: Header, rng: random.Random) -> None:
    """Two tensors of one shape change places: sound, and must be read as it says."""
    first, second = header["blocks.0.weight"], header["blocks.1.weight"]
    first["data_offsets"], second["data_offsets"] = second["data_offsets"], first["data_offsets"]


def wrong_dtype(header: Header, rng: random.Random) -> None:
    any_tensor(header, rng)["dtype"] = rng.choice(
        [
            "F64",
            "F16",
            "BF16",
            "I32",
            "F8_E4M3",
            "f32",
            "",
            None,
            1,
            ["F32"],
            {"F32": 1},
            "x" * 9999,
        ]
    )


def wrong_shape(header: Header, rng: random.Random) -> None:
    tensor = any_tensor(header, rng)
    tensor["shape"] = rng.choice(
        [
            [2**40, 2**40], [2**62], [0], [0, 2**61], [], [-3, -4], [12], [4, 3], [1, 3, 4],
            [3.0, 4], [True, 12], ["3", 4], None, 12, {"3": 4}, [[3, 4]], [1] * 5000, [2**64],
            [10**300],
        ]
    )  # fmt: skip


def wrong_offsets(header: Header, rng: random.Random) -> None:
    any_tensor(header, rng)["data_offsets"] = rng.choice(
        [
            [48, 0], [-48, 0], [0], [0, 48, 48], [0.0, 48.0], [False, 48], None, "0,48",
            [None, None],
            [2**63, 2**63 + 48], [0, 2**64], [10**400, 10**400 + 48], {}, [[0], [48]], [0, 0],
        ]
    )  # fmt: skip


def extra(header: Header, rng: random.Random) -> None:
    end = len(BODY)
    header[rng.choice(["extra", "", "\x1b[2J", "a" * 5000, "\ud800", "../x", "__proto__"])] = {
        "dtype": "F32", "shape": [0], "data_offsets": [end, end],
    }  # fmt: skip


def missing(header: Header, rng: random.Random) -> None:
    del header[rng.choice(sorted(TENSORS))]


def odd_fields(header: Header, rng: random.Random) -> None:
    tensor = any_tensor(header, rng)
    if rng.random() < 0.5:
        del tensor[rng.choice(sorted(tensor))]
    else:
        tensor[rng.choice(["extra", "Shape", ""])] = rng.choice([1, None, [1]])


def odd_metadata(header: Header, rng: random.Random) -> None:
    header["__metadata__"] = rng.choice([None, 1, [], "pt", {"format": 1}, {"a": {"b": "c"}}, True])


def odd_tensor(header: Header, rng: random.Random) -> None:
    header[rng.choice(sorted(TENSORS))] = rng.choice([None, 1, [], "x", True, {}, [[]], 1e308])


TEXT = SOUND[8 : 8 + LENGTH].decode()
NUMBER = "9" * 6000
RAW = [
    *("[" * deep for deep in (100, 5_000, 400_000)),
    *("[" * deep + "]" * deep for deep in (100, 5_000, 400_000)),
    *('{"a":' * deep for deep in (100, 5_000, 200_000)),
    *('{"a":' + "[" * deep + "]" * deep + "}" for deep in (3, 100, 900, 5_000, 400_000)),
    *(
        TEXT.replace("[3,4]", f"[3,{number}]", 1)
        for number in (NUMBER, f"-{NUMBER}", f"0.{NUMBER}", "NaN", "-Infinity", "1e999", "4e0")
    ),
    TEXT.replace("[0,", f"[{NUMBER},", 1),
    "", " " + TEXT, "\ufeff" + TEXT, TEXT + "x", TEXT + " " * 7, TEXT + "\n{}", "null", "{",
    "\0" * 99,
]  # fmt: skip
HEAVY = [
    "{" + ",".join(f'"{i}":{{}}' for i in range(60_000)) + "}",
    "{" + ",".join('"a":[]' for _ in range(100_000)) + "}",
    '{"a":[' + "[]," * 300_000 + "[]]}",
    '{"a":[' + "0," * 500_000 + "0]}",
    '{"' + "a" * 1_000_000 + '":1}',
    '{"a":{"dtype":"' + "F" * 1_000_000 + '","shape":[],"data_offsets":[0,0]}}',
    "{" + ",".join(
        f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(15_000)
    ) + "}",
]  # fmt: skip


def raw_header(rng: random.Random) -> bytes:
    """Text that is no such header, or no JSON at all."""
    return packed(rng.choice(RAW).encode())


def other_encoding(rng: random.Random) -> bytes:
    return packed(TEXT.encode(rng.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp500"])))


MUTATIONS: list[Mutation] = [
    flip_bits, flip_bits, flip_bits, truncate, append, inflate_length, duplicate_key, raw_header,
    raw_header, other_encoding,
    *map(rewritten, [shift_offsets, overlap, swap_places, wrong_dtype, wrong_shape, wrong_offsets,
                     extra, missing, odd_fields, odd_metadata, odd_tensor]),
]  # fmt: skip


def test_our_own_bytes_pass() -> None:
    check_header(SOUND, SHAPES)
    check_header(memoryview(SOUND), SHAPES)


def test_a_thousand_hostile_files(tmp_path: Path) -> None:
    """Each is refused by our own error, or read as the reference parser reads it."""
    rng = random.Random(7)
    path = tmp_path / "model.safetensors"
    accepted = 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(1000):
        data = MUTATIONS[number % len(MUTATIONS)](rng)
        path.write_bytes(data)
        told = outcome(lambda data=data: check_header(data, SHAPES))
        read = outcome(lambda: read_all(path))
        assert (told is None) == isinstance(read, dict), (told, read)
        if told is None:
            accepted += 1
            reference = load(data)
            assert reference.keys() == read.keys()
            assert all(torch.equal(reference[name], read[name]) for name in reference)
        else:
            assert told.isprintable()
            assert len(told) < 400
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    assert grown < 100 * (2**20 if sys.platform == "darwin" else 2**10)  # 100 MB
    assert 20 < accepted < 200  # some changes do no harm, as spaces or names swapping places


@pytest.mark.parametrize("header", HEAVY, ids=lambda header: header[:12])
def test_the_heaviest_headers_take_bounded_memory(header: str) -> None:
    """1 MB of JSON in Python's objects, which is what HEADER_BYTES is for."""
    data = packed(header.encode(), b"")
    assert len(data) <= HEADER_BYTES
    tracemalloc.start()
    try:
        assert isinstance(outcome(lambda: check_header(data, SHAPES)), str)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def outcome(check: Callable[[], Any]) -> Any:
    """What it returns, or the sentence of its refusal; any other error is a failed test."""
    try:
        return check()
    except CheckpointError as refusal:
        return str(refusal)


def read_all(path: Path) -> dict[str, torch.Tensor]:
    with open_tensor_file(path) as file:
        check_entries(file.entries, SHAPES, dtypes=("F32",), where="model.safetensors")
        return {name: file.read(name) for name in SHAPES}


def test_a_long_header_is_not_parsed() -> None:
    one = '"{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    header = ("{" + ",".join(one.format(i) for i in range(100_000)) + "}").encode()
    assert len(header) > HEADER_BYTES
    data = packed(header, b"")
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="a header of"):
            check_header(data, SHAPES)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_header_that_promises_terabytes_takes_no_memory(tmp_path: Path) -> None:
    size = 2**42
    header = {"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    path = tmp_path / "model.safetensors"
    path.write_bytes(packed(json.dumps(header).encode(), b"\0" * 16))
    with (
        pytest.raises(CheckpointError, match="the file at 16"),
        open_tensor_file(path),
    ):
        pass


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_becomes_fp32(dtype: torch.dtype, tmp_path: Path) -> None:
    stored = {name: tensor.to(dtype) for name, tensor in TENSORS.items()}
    path = tmp_path / "model.safetensors"
    path.write_bytes(save(stored))
    with open_tensor_file(path) as file:
        check_entries(file.entries, SHAPES, dtypes=FLOATS)
        for name, tensor in stored.items():
            assert file.read(name).dtype == torch.float32
            assert torch.equal(file.read(name), tensor.float())
    if dtype != torch.float32:  # our own are always fp32
        with pytest.raises(CheckpointError, match="not as F32"):
            check_header(path.read_bytes(), SHAPES)


def test_ignored_tensors_may_be_there_in_their_shape_only() -> None:
    data = save({**TENSORS, "mask": torch.ones(2, 2, dtype=torch.bool)})
    check_header(data, SHAPES, {"mask": (2, 2), "other": ()})
    with pytest.raises(CheckpointError, match="'mask', which has no place"):
        check_header(data, SHAPES)
    with pytest.raises(CheckpointError, match=re.escape("'mask' is (2, 2)")):
        check_header(data, SHAPES, {"mask": (3, 2)})


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none"):
        with pytest.raises(CheckpointError, match="is not a file"), open_tensor_file(path):
            pass


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"w": torch.zeros(100_000)}))
    with open_tensor_file(path) as file:
        os.truncate(path, 200_000)
        with pytest.raises(CheckpointError, match="cut short while"):
            file.read("w")


def test_what_stands_in_a_sentence_is_short_and_plain() -> None:
    for value in (
        "\x1b[2J" * 99,
        10**5000,
        {"a": [-(10**5000)]},
        {"a": [[[[[["x" * 999]]]]]]},
        "\u202eabc",
        "\ud800",
    ):
        assert show(value).isprintable()
        assert show(value).isascii()
        assert len(show(value)) < 150
