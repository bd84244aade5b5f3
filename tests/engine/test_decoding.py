"""Batched decoding with a cache: the same tokens as the plain loop, alone or in company."""

import random
from collections.abc import Callable, Sequence
from itertools import product

import pytest
import torch

from tinychat.engine import Batch, Finish, Request, Sampling, decode
from tinychat.engine.decoding import PREFILL_TOKENS
from tinychat.model import AnsweringDecoder, Decoder, Runtime
from tinychat.text import ASSISTANT, BOS, END, PAD, SYSTEM, USER

VOCAB = 60
MakeDecoder = Callable[..., Decoder]
FORBIDDEN = [BOS, SYSTEM, USER, ASSISTANT, PAD]


def greedy(max_new_tokens: int) -> Sampling:
    return Sampling(temperature=0.0, max_new_tokens=max_new_tokens)


def prompt_of(length: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(100 * seed + length)
    return torch.randint(PAD + 1, VOCAB, (length,), generator=generator).tolist()


def collect(
    decoder: Decoder | AnsweringDecoder,
    requests: Sequence[Request],
    runtime: Runtime,
    cancelled: Callable[[int], bool] = lambda index: False,
) -> list[tuple[list[int], str]]:
    """Each request's tokens and the reason for its end."""
    tokens: list[list[int]] = [[] for _ in requests]
    reasons = [""] * len(requests)
    events = decode(
        decoder, requests, runtime=runtime, never_sampled=FORBIDDEN, cancelled=cancelled
    )
    for index, event in events:
        assert not reasons[index], "nothing comes after the Finish"
        if isinstance(event, Finish):
            reasons[index] = event.reason
        else:
            tokens[index].append(event)
    assert all(reasons)
    return list(zip(tokens, reasons, strict=True))


def plain_loop(decoder: Decoder, prompt: Sequence[int], count: int) -> list[int]:
    """Greedy decoding without a cache, sliding to the newest half of a full context."""
    context = decoder.settings.context_length
    window, answer = list(prompt), []
    with torch.inference_mode():
        for _ in range(count):
            if len(window) > context:
                window = window[-(context // 2) :]
            logits = decoder(torch.tensor([window]))[0, -1]
            logits[FORBIDDEN] = -torch.inf
            token = int(logits.argmax())
            answer.append(token)
            window.append(token)
    return answer


def test_it_gives_the_tokens_of_the_plain_loop(make_decoder: MakeDecoder, runtime: Runtime) -> None:
    decoder = make_decoder(VOCAB)
    for length in (1, 2, 9, 40):
        request = Request(prompt_ids=prompt_of(length), sampling=greedy(20), stop_ids=())
        [(tokens, reason)] = collect(decoder, [request], runtime)
        assert tokens == plain_loop(decoder, prompt_of(length), 20)
        assert reason == "length"


Counted = tuple[AnsweringDecoder, list[int]]


@pytest.fixture(params=["wandering", "looping"])
def counted(make_decoder: MakeDecoder, request: pytest.FixtureRequest) -> Counted:
    """The fast form, and how many tokens went through it in each pass that gave logits."""
    plain = make_decoder(VOCAB)
    if request.param == "looping":
        silence(plain)
    with torch.inference_mode():
        decoder = AnsweringDecoder(plain, torch.float32)
    seen: list[int] = []
    decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    return decoder, seen


def silence(decoder: Decoder) -> None:
    """Let the next token depend on the newest one alone, so that it must end in a loop."""
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if name.endswith(("attention.output.weight", "mlp.down.weight")):
                parameter.zero_()


@pytest.mark.parametrize(
    "rules",
    [
        greedy(60),
        Sampling(temperature=0.7, top_k=5, max_new_tokens=60, seed=3),
        Sampling(temperature=0, repetition_penalty=1.1, max_new_tokens=60),
        Sampling(temperature=0, max_new_tokens=200, repetition_guard=True),
    ],
)
def test_guesses_change_no_token(counted: Counted, runtime: Runtime, rules: Sampling) -> None:
    """Prompts that repeat themselves, over full contexts too, with what stood behind each token."""
    decoder, seen = counted
    for overflow, length in product(("slide", "stop"), (6, 40, 61)):
        prompt = (prompt_of(5) * 20)[:length]
        request = Request(
            prompt_ids=prompt, sampling=rules, stop_ids=(), overflow=overflow, details=3
        )
        found = []
        for guesses in (False, True):
            batch = Batch(decoder, runtime, FORBIDDEN, most_rows=1, keeps=True, guesses=guesses)
            seen.clear()
            (row,) = batch.admit([request])
            reasons = [
                event.reason
                for _ in range(300)
                for _, event in batch.step(lambda row: False)
                if isinstance(event, Finish)
            ]
            found.append((row.ids, reasons, [each.id for each in row.details], row.produced))
            assert len(reasons) == 1
            assert row.passes == len(seen)
            if not guesses:
                assert len(seen) == row.produced
        assert found[0] == found[1]
        logprobs = [each.logprob for each in row.details]
        assert len(logprobs) == row.produced


def test_guesses_are_forgotten_where_the_window_slides(
    make_decoder: MakeDecoder, runtime: Runtime
) -> None:
    """In a context so short that its second half may begin where the guesses did."""
    rules = Sampling(temperature=0, max_new_tokens=60, repetition_guard=False)
    for context_length in range(6, 14):
        with torch.inference_mode():
            decoder = AnsweringDecoder(
                make_decoder(9, context_length=context_length), torch.float32
            )
        for first, then in product((6, 7, 8), repeat=2):
            request = Request(prompt_ids=[first, then], sampling=rules, stop_ids=(), details=0)
            plain, guessed = [], []
            for guesses, found in ((False, plain), (True, guessed)):
                batch = Batch(decoder, runtime, FORBIDDEN, most_rows=1, guesses=guesses)
                (row,) = batch.admit([request])
                while batch.rows:
                    batch.step(lambda row: False)
                found += [(each.id, each.logprob) for each in row.details]
            assert [id for id, _ in guessed] == [id for id, _ in plain]
            assert [at for _, at in guessed] == pytest.approx([at for _, at in plain], abs=1e-4)


def test_guesses_that_come_true_save_passes(make_decoder: MakeDecoder, runtime: Runtime) -> None:
    silence(plain := make_decoder(VOCAB))
    with torch.inference_mode():
        decoder = AnsweringDecoder(plain, torch.float32)
    rules = Sampling(temperature=0, max_new_tokens=50, repetition_guard=False)
    request = Request(prompt_ids=prompt_of(5), sampling=rules, stop_ids=())
    batch = Batch(decoder, runtime, FORBIDDEN, most_rows=1)
    (row,) = batch.admit([request])
    while batch.rows:
        batch.step(lambda row: False)
    assert row.produced == 50
    assert row.passes < 25


def test_company_ends_the_guessing_and_changes_nothing(counted: Counted, runtime: Runtime) -> None:
    decoder, _ = counted
    rules = Sampling(temperature=0, max_new_tokens=40, repetition_guard=False)
    requests = [
        Request(prompt_ids=prompt_of(length), sampling=rules, stop_ids=()) for length in (5, 9)
    ]
    alone = [collect(decoder, [request], runtime)[0][0] for request in requests]
    for joins_after in range(1, 30, 4):
        batch = Batch(decoder, runtime, FORBIDDEN, most_rows=2, keeps=True)
        (first,) = batch.admit(requests[:1])
        for _ in range(joins_after):
            batch.step(lambda row: False)
        (second,) = batch.admit(requests[1:])
        while batch.rows:
            batch.step(lambda row: False)
        assert [first.ids[5:], second.ids[9:]] == alone


def test_the_window_slides_past_the_context(make_decoder: MakeDecoder, runtime: Runtime) -> None:
    decoder = make_decoder(VOCAB, context_length=16)
    requests = [
        Request(prompt_ids=prompt_of(length), sampling=greedy(70), stop_ids=())
        for length in (3, 16, 11, 3)
    ]
    for request, (tokens, reason) in zip(
        requests, collect(decoder, requests, runtime), strict=True
    ):
        assert tokens == plain_loop(decoder, request.prompt_ids, 70)
        assert reason == "length"


@pytest.mark.parametrize("context_length", [1, 2, 3, 5])
def test_even_the_smallest_contexts_slide(
    make_decoder: MakeDecoder, runtime: Runtime, context_length: int
) -> None:
    decoder = make_decoder(VOCAB, context_length=context_length)
    requests = [
        Request(prompt_ids=prompt_of(n), sampling=greedy(12), stop_ids=()) for n in (1, 2, 9)
    ]
    assert [len(tokens) for tokens, _ in collect(decoder, requests, runtime)] == [12, 12, 12]


def test_without_sliding_a_full_context_ends_the_row(
    make_decoder: MakeDecoder, runtime: Runtime
) -> None:
    decoder = make_decoder(VOCAB, context_length=16)
    requests = [
        Request(prompt_ids=prompt_of(n), sampling=greedy(99), stop_ids=(), overflow="stop")
        for n in (10, 16)
    ]
    (first, reason), (second, _) = collect(decoder, requests, runtime)
    # the last token is guessed from a full context and needs no place in it
    assert first == plain_loop(decoder, prompt_of(10), 7)
    assert second == plain_loop(decoder, prompt_of(16), 1)
    assert reason == "context"


def test_a_prompt_longer_than_the_context_loses_its_oldest_tokens(
    make_decoder: MakeDecoder, runtime: Runtime
) -> None:
    decoder = make_decoder(VOCAB, context_length=16)
    prompt = prompt_of(50)
    for count, kept in ((4, 12), (30, 8)):
        request = Request(prompt_ids=prompt, sampling=greedy(count), stop_ids=())
        [(tokens, _)] = collect(decoder, [request], runtime)
        assert tokens == plain_loop(decoder, prompt[-kept:], count)


def test_each_row_is_the_same_alone_and_in_a_batch(
    make_decoder: MakeDecoder, runtime: Runtime
) -> None:
    decoder = make_decoder(VOCAB, context_length=32)
    rules = [
        greedy(25),
        Sampling(seed=1, max_new_tokens=40),
        Sampling(seed=2, max_new_tokens=3, top_k=None, top_p=0.95),
        Sampling(seed=3, max_new_tokens=30, temperature=1.5, min_p=0.02, repetition_penalty=1.3),
        Sampling(temperature=0.0, repetition_penalty=1.2, max_new_tokens=12),
    ]
    requests = [
        Request(prompt_ids=prompt_of(length, seed), sampling=sampling, stop_ids=(END,))
        for seed, length in enumerate((1, 5, 5, 17, 30, 32, 60))
        for sampling in rules
    ]
    together = collect(decoder, requests, runtime)
    alone = [collect(decoder, [request], runtime)[0] for request in requests]
    assert together == alone
    assert {len(tokens) for tokens, _ in together} >= {25, 40, 3, 30, 12}


def test_seeds_repeat_and_differ(make_decoder: MakeDecoder, runtime: Runtime) -> None:
    decoder = make_decoder(VOCAB)
    requests = [
        Request(
            prompt_ids=prompt_of(4),
            sampling=Sampling(seed=seed, max_new_tokens=30),
            stop_ids=(END,),
        )
        for seed in (5, 6, 5)
    ]
    first, other, again = collect(decoder, requests, runtime)
    assert first == again
    assert first != other


def test_nothing_the_cache_holds_is_computed_again(
    make_decoder: MakeDecoder, runtime: Runtime
) -> None:
    decoder = make_decoder(VOCAB, context_length=64)
    passes: list[tuple[int, ...]] = []
    decoder.embedding.register_forward_hook(
        lambda module, inputs, output: passes.append(tuple(inputs[0].shape))
    )
    requests = [
        Request(prompt_ids=prompt_of(length), sampling=greedy(count), stop_ids=())
        for length, count in ((10, 5), (10, 20), (3, 2), (10, 5))
    ]
    collect(decoder, requests, runtime)
    # prompts but their newest token, equal lengths together; then one pass a token, and rows leave
    assert passes == [(1, 2), (3, 9), *[(4, 1)] * 2, *[(3, 1)] * 3, *[(1, 1)] * 15]


def test_many_long_prompts_take_several_passes_and_change_nothing(
    make_decoder: MakeDecoder, runtime: Runtime
) -> None:
    decoder = make_decoder(VOCAB)
    sizes: list[int] = []
    decoder.embedding.register_forward_hook(
        lambda module, inputs, output: sizes.append(inputs[0].numel())
    )
    requests = [
        Request(prompt_ids=prompt_of(60, seed), sampling=greedy(3), stop_ids=(END,))
        for seed in range(200)
    ]
    together = collect(decoder, requests, runtime)
    assert sum(sizes[:2]) == 200 * 59
    assert max(sizes) <= PREFILL_TOKENS
    for place in (0, 137, 138, 139, 199):
        assert together[place] == collect(decoder, [requests[place]], runtime)[0]


def test_control_tokens_are_never_sampled(make_decoder: MakeDecoder, runtime: Runtime) -> None:
    decoder = make_decoder(8)  # six control tokens and two others
    with torch.no_grad():
        decoder.embedding.weight[FORBIDDEN] *= 100
    requests = [
        Request(prompt_ids=[BOS], sampling=sampling, stop_ids=())
        for sampling in (
            greedy(50),
            Sampling(temperature=2.0, top_k=None, max_new_tokens=200),
            Sampling(temperature=2.0, repetition_penalty=2.0, max_new_tokens=200),
        )
    ]
    seen = {token for tokens, _ in collect(decoder, requests, runtime) for token in tokens}
    assert seen <= {END, 6, 7}
    assert {6, 7} <= seen


def test_the_token_that_ends_a_request_is_not_given_out(
    make_decoder: MakeDecoder, runtime: Runtime
) -> None:
    decoder = make_decoder(VOCAB)
    expected = plain_loop(decoder, prompt_of(5), 12)
    last = expected[8]
    requests = [
        Request(prompt_ids=prompt_of(5), sampling=greedy(12), stop_ids=(END, last)),
        Request(prompt_ids=prompt_of(5), sampling=greedy(12), stop_ids=()),
    ]
    ended, whole = collect(decoder, requests, runtime)
    assert ended == (expected[: expected.index(last)], "end")
    assert whole == (expected, "length")


def test_rows_are_cancelled_one_by_one(make_decoder: MakeDecoder, runtime: Runtime) -> None:
    decoder = make_decoder(VOCAB)
    requests = [
        Request(prompt_ids=prompt_of(n), sampling=greedy(20), stop_ids=()) for n in (4, 5, 6)
    ]
    undisturbed = collect(decoder, requests, runtime)
    asked = [0, 0, 0]

    def cancelled(index: int) -> bool:
        asked[index] += 1
        return index == 1 and asked[index] == 8  # after seven tokens

    first, second, third = collect(decoder, requests, runtime, cancelled)
    assert first == undisturbed[0]
    assert second == (undisturbed[1][0][:7], "cancelled")
    assert third == undisturbed[2]
    assert collect(decoder, requests, runtime, lambda index: True) == [([], "cancelled")] * 3


def test_no_requests_give_no_events(make_decoder: MakeDecoder, runtime: Runtime) -> None:
    assert list(decode(make_decoder(VOCAB), [], runtime=runtime)) == []


def test_a_request_without_a_prompt_is_refused(make_decoder: MakeDecoder, runtime: Runtime) -> None:
    with pytest.raises(ValueError, match="prompt"):
        list(decode(make_decoder(VOCAB), [Request(prompt_ids=[], stop_ids=())], runtime=runtime))


@pytest.mark.parametrize("training", [True, False])
def test_training_goes_on_as_if_nothing_had_been_sampled(
    make_decoder: MakeDecoder, runtime: Runtime, training: bool
) -> None:
    decoder = make_decoder(VOCAB, dropout=0.5).train(training)
    request = Request(prompt_ids=prompt_of(5), sampling=Sampling(max_new_tokens=20), stop_ids=())
    before = torch.get_rng_state(), random.getstate()
    events = decode(decoder, [request], runtime=runtime)
    for _ in range(3):
        next(events)
        assert decoder.training == decoder.blocks[0].training == training
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    del events  # given up in the middle
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    decoder(torch.tensor([prompt_of(5)])).sum().backward()
    assert decoder.embedding.weight.grad is not None


def test_dropout_is_off(make_decoder: MakeDecoder, runtime: Runtime) -> None:
    calm, restless = (make_decoder(VOCAB, dropout=d) for d in (0.0, 0.9))
    request = Request(prompt_ids=prompt_of(5), sampling=greedy(20), stop_ids=())
    expected = collect(calm, [request], runtime)
    assert collect(restless.train(), [request], runtime) == expected


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_decodes_past_the_context(make_decoder: MakeDecoder, dtype: str) -> None:
    decoder = make_decoder(VOCAB, context_length=16)
    runtime = Runtime("cpu", dtype, threads=1)
    batch = Batch(decoder, runtime, most_rows=3)
    batch.admit(
        [
            Request(prompt_ids=prompt_of(n), sampling=Sampling(max_new_tokens=40), stop_ids=())
            for n in (1, 9, 20)
        ]
    )
    assert batch.cache.keys[0].dtype == runtime.torch_dtype
    events = []
    while batch.rows:
        events += batch.step(lambda row: False)
    assert len(events) == 3 * 41
    assert all(t.isfinite().all() for t in (*batch.cache.keys, *batch.cache.values))


def test_a_model_of_nans_still_gives_tokens(make_decoder: MakeDecoder, runtime: Runtime) -> None:
    decoder = make_decoder(VOCAB)
    with torch.no_grad():
        for parameter in decoder.norm.parameters():
            parameter.fill_(torch.nan)
    requests = [
        Request(prompt_ids=prompt_of(3), sampling=sampling, stop_ids=())
        for sampling in (greedy(5), Sampling(max_new_tokens=5))
    ]
    for tokens, _ in collect(decoder, requests, runtime):
        assert len(tokens) == 5
        assert not set(tokens) & set(FORBIDDEN)
