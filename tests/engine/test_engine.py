"""The one thread: equal text alone and in company, what is kept, cancelling, deadlines, queue."""

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from tests.conftest import until
from tinychat.engine import Answer, Engine, Sampling, TextModel
from tinychat.errors import EngineBusyError, EngineError
from tinychat.model import Decoder
from tinychat.text import Message

PATIENCE_SECONDS = 60.0
TALK = [Message("user", "What is your name?")]
TEXTS = ["The cat", "", "Grüße aus Köln! 😀", "What is your name?", "猫", "The dog sat on the log."]
ENDLESS = Sampling(max_new_tokens=10**6, repetition_guard=False)  # a text slides for ever


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


def ask(engine: Engine, model: TextModel, text: str, sampling: Sampling, **how: object) -> Answer:
    if sampling is ENDLESS:  # else it is a matter of luck and speed when the model says the end
        model.never_sampled.append(model.tokenizer.format.end)
    return engine.ask(model, model.fit(text, 60), sampling, **how)  # type: ignore[arg-type]


def passes(model: TextModel) -> list[tuple[int, ...]]:
    """The shapes of all forward passes from now on."""
    seen: list[tuple[int, ...]] = []
    model.decoder.embedding.register_forward_hook(
        lambda module, inputs, output: seen.append(tuple(inputs[0].shape))
    )
    return seen


def test_many_at_once_say_what_each_says_alone(engine: Engine, model: TextModel) -> None:
    rules = [Sampling(temperature=1.2, seed=seed, max_new_tokens=40) for seed in range(4)]
    asked = [(text, sampling) for text in TEXTS for sampling in rules]
    answers = [ask(engine, model, text, sampling) for text, sampling in asked]
    for (text, sampling), answer in zip(asked, answers, strict=True):
        pieces = list(answer)
        assert all(pieces), "no empty pieces"
        alone = model.complete([text], sampling)[0]
        assert "".join(pieces) == alone.text
        assert answer.completion is not None
        assert answer.completion.ids == alone.ids
        assert answer.completion.finish_reason == alone.finish_reason


def test_eight_at_once_compute_what_each_computes_alone(engine: Engine, model: TextModel) -> None:
    asked = [(text * n, Sampling(seed=n, max_new_tokens=12)) for n in (1, 2) for text in TEXTS[2:]]
    assert len(asked) == engine.batch_rows == 8
    crowd = [ask(engine, model, text, sampling, details=model.decoder.vocab_size)
             for text, sampling in asked]  # fmt: skip
    for (text, sampling), answer in zip(asked, crowd, strict=True):
        alone = ask(engine, model, text, sampling, details=model.decoder.vocab_size, serial=True)
        "".join(answer), "".join(alone)
        for here, there in zip(answer.details(), alone.details(), strict=True):
            ours = {each.id: each for each in here.candidates if each.probability}
            assert here.logprob == pytest.approx(there.logprob, abs=1e-4)
            gaps = [
                abs(math.log(ours[each.id].probability / each.probability))
                for each in there.candidates
                if each.probability
            ]
            assert max(gaps) < 1e-4
            if here.id != there.id:  # a choice that hung on a rounding
                assert abs(here.candidates[0].share - here.candidates[1].share) < 1e-4
                break


def test_serial_requests_are_decoded_alone(engine: Engine, model: TextModel) -> None:
    seen = passes(model)
    sampling = Sampling(seed=5, max_new_tokens=30)
    first = "".join(ask(engine, model, "The cat", sampling, serial=True))
    calm = seen.copy()
    assert {rows for rows, _ in calm} == {1}
    crowd = [ask(engine, model, text, sampling) for text in TEXTS]
    seen.clear()
    again = ask(engine, model, "The cat", sampling, serial=True)
    behind = ask(engine, model, "The cat", sampling)
    assert "".join(again) == first
    for answer in (*crowd, behind):
        "".join(answer)
    # the same passes as when nothing else went on, in one piece
    assert any(seen[i : i + len(calm)] == calm for i in range(len(seen)))


def test_the_next_turn_finds_the_conversation_in_the_cache(
    engine: Engine, make_decoder: Callable[..., Decoder], model: TextModel
) -> None:
    model = TextModel(
        make_decoder(model.tokenizer.vocab_size, context_length=512), model.tokenizer, model.runtime
    )
    seen = passes(model)
    sampling = Sampling(temperature=0.0, max_new_tokens=20, repetition_guard=False)
    talk, held = list(TALK), 0
    for turn in range(4):
        prompt = model.fit(talk, 20)
        answer = engine.ask(model, prompt, sampling)
        text = "".join(answer)
        assert text == model.complete([talk], sampling)[0].text
        if turn:
            assert answer.stats().kept_tokens >= held - 1, "what the turn before held"
        held = len(prompt.ids)
        talk += [Message("assistant", text), Message("user", "And the dog?")]
    # another talk comes between, and both are still there
    other = model.fit([Message("user", "The dog sat on the log.")], 20)
    "".join(engine.ask(model, other, sampling))
    seen.clear()
    for prompt in (model.fit(talk[:-2], 20), other):
        again = engine.ask(model, prompt, sampling)
        "".join(again)
        assert again.stats().kept_tokens == len(prompt.ids) - 1
    assert {length for _, length in seen} == {1}, "no prompt was read again"


def test_what_was_kept_changes_no_answer(engine: Engine, model: TextModel) -> None:
    talks = [
        [Message("user", text), Message("assistant", "Yes."), Message("user", more)]
        for text in TEXTS[2:]
        for more in ("Why?", "Why not?", "The")
    ]
    sampling = Sampling(seed=3, max_new_tokens=12)
    expected = [completion.text for completion in model.complete(talks, sampling)]
    answers = []
    for _ in range(2):
        answers = [engine.ask(model, model.fit(talk, 12), sampling) for talk in talks]
        assert ["".join(answer) for answer in answers] == expected
    assert any(answer.stats().kept_tokens for answer in answers)


def test_several_models_take_turns(
    engine: Engine, model: TextModel, make_decoder: Callable[..., Decoder]
) -> None:
    small = make_decoder(model.tokenizer.vocab_size, context_length=32)
    other = TextModel(small, model.tokenizer, model.runtime)
    endless = ask(engine, model, "The cat", ENDLESS)
    until(lambda: endless.stats().new_tokens > 3)
    said = "".join(ask(engine, other, "The cat", Sampling(max_new_tokens=30)))
    assert said == other.complete(["The cat"], Sampling(max_new_tokens=30))[0].text
    assert not endless.is_over
    endless.cancel()
    until(lambda: endless.is_over)


def test_cancelling_keeps_what_came(engine: Engine, model: TextModel) -> None:
    answer = ask(engine, model, "The cat", ENDLESS)
    pieces = [next(answer) for _ in range(5)]
    assert answer.completion is None
    answer.cancel()
    pieces += list(answer)
    assert answer.completion is not None
    assert answer.completion.finish_reason == "cancelled"
    assert "".join(pieces) == answer.completion.text
    assert answer.stats().new_tokens == len(answer.completion.ids)
    until(lambda: engine.running == 0)


def test_what_waits_can_be_cancelled_and_never_begins(model: TextModel) -> None:
    with Engine(batch_rows=1) as engine:
        first = ask(engine, model, "The cat", ENDLESS)
        until(lambda: engine.running == 1)
        second = ask(engine, model, "The dog", ENDLESS)
        assert engine.waiting == 1
        second.cancel()
        assert second.take(PATIENCE_SECONDS) is None
        assert second.completion is not None
        assert second.completion.finish_reason == "cancelled"
        assert second.completion.ids == ()
        assert not first.is_over
        first.cancel()


def test_cancelling_amid_a_prompt(make_decoder: Callable[..., Decoder], model: TextModel) -> None:
    decoder = make_decoder(model.tokenizer.vocab_size, context_length=4096)
    long = TextModel(decoder, model.tokenizer, model.runtime)
    reading, go_on = threading.Event(), threading.Event()

    def first_piece(module: object, inputs: tuple[torch.Tensor], output: object) -> None:
        reading.set()
        assert go_on.wait(PATIENCE_SECONDS)

    decoder.embedding.register_forward_hook(first_piece)
    with Engine() as engine:
        answer = engine.ask(long, long.fit("The cat sat on the mat. " * 300, 60), ENDLESS)
        assert reading.wait(PATIENCE_SECONDS)
        seen = passes(long)
        answer.cancel()
        go_on.set()
        assert answer.take(PATIENCE_SECONDS) is None
        assert seen == [], "not another piece of the prompt was read"


def test_a_long_prompt_does_not_hold_up_the_others(
    make_decoder: Callable[..., Decoder], model: TextModel
) -> None:
    decoder = make_decoder(model.tokenizer.vocab_size, context_length=4096)
    long = TextModel(decoder, model.tokenizer, model.runtime)
    with Engine() as engine:
        talking = ask(engine, long, "The cat", ENDLESS)
        until(lambda: talking.stats().new_tokens > 3)
        seen = passes(long)
        reader = engine.ask(
            long, long.fit("The cat sat on the mat. " * 300, 60), Sampling(max_new_tokens=2)
        )
        "".join(reader)
        talking.cancel()
        pieces = [place for place, (_, length) in enumerate(seen) if length > 1]
        assert len(pieces) > 5
        assert {other - one for one, other in pairwise(pieces)} == {2}


def test_a_deadline_ends_an_answer_and_a_wait(model: TextModel) -> None:
    with Engine(batch_rows=1) as engine:
        answer = ask(engine, model, "The cat", ENDLESS, deadline_seconds=0.2)
        late = ask(engine, model, "The cat", ENDLESS, deadline_seconds=0.0)
        assert "".join(answer)
        assert answer.completion is not None
        assert answer.completion.finish_reason == "deadline"
        assert "".join(late) == ""
        assert late.completion is not None
        assert late.completion.finish_reason == "deadline"


def test_a_full_queue_refuses_at_once(model: TextModel) -> None:
    with Engine(batch_rows=2, max_waiting=3) as engine:
        going = [ask(engine, model, "The cat", ENDLESS) for _ in range(2)]
        until(lambda: engine.running == 2)
        waiting = [ask(engine, model, "The cat", ENDLESS) for _ in range(3)]
        with pytest.raises(EngineBusyError, match="3 requests wait"):
            ask(engine, model, "The cat", ENDLESS)
        for answer in (*going, *waiting):
            answer.cancel()
        until(lambda: engine.waiting == 0)
        assert "".join(ask(engine, model, "The cat", Sampling(max_new_tokens=3)))


def test_what_stood_behind_each_token(engine: Engine, model: TextModel) -> None:
    sampling = Sampling(seed=2, top_k=3, max_new_tokens=25)
    answer = ask(engine, model, "The cat", sampling, details=6)
    plain = ask(engine, model, "The cat", sampling)
    text = "".join(answer)
    assert text == "".join(plain)
    assert plain.details() == []
    assert answer.completion is not None
    details = answer.completion.details
    assert [detail.id for detail in details] == list(answer.completion.ids)
    ids = list(answer.prompt.ids)
    for detail in details:
        with torch.no_grad():
            logits = model.decoder(torch.tensor([ids]))[0, -1]
        logits[model.never_sampled] = -torch.inf
        expected = torch.log_softmax(logits, 0)
        assert detail.logprob == pytest.approx(float(expected[detail.id]), abs=1e-4)
        assert detail.entropy == pytest.approx(
            float(torch.special.entr(expected.exp()).sum()), 1e-3
        )
        likeliest = expected.topk(6).indices.tolist()
        assert [each.id for each in detail.candidates][:6] == likeliest
        assert detail.rank == likeliest.index(detail.id) + 1
        assert [each.share > 0 for each in detail.candidates] == [True] * 3 + [False] * 3
        assert [each.removed_by for each in detail.candidates] == [None] * 3 + ["top_k"] * 3
        assert sum(each.share for each in detail.candidates) == pytest.approx(1)
        ids.append(detail.id)


def test_a_failure_is_told_and_the_next_answer_works(
    make_decoder: Callable[..., Decoder], model: TextModel
) -> None:
    decoder = make_decoder(model.tokenizer.vocab_size)
    broken = TextModel(decoder, model.tokenizer, model.runtime)

    def fail(module: object, inputs: object, output: object) -> None:
        raise torch.OutOfMemoryError

    with Engine() as engine:
        handle = decoder.norm.register_forward_hook(fail)
        answer = ask(engine, broken, "The cat", ENDLESS)
        with pytest.raises(EngineError, match="not enough memory"):
            answer.take(PATIENCE_SECONDS)
        assert answer.is_over
        handle.remove()
        assert "".join(ask(engine, broken, "The cat", Sampling(max_new_tokens=3)))
        assert engine.running == 0


def test_ids_that_no_model_has_end_nobody_else(engine: Engine, model: TextModel) -> None:
    going = ask(engine, model, "The cat", ENDLESS)
    until(lambda: going.stats().new_tokens > 3)
    prompt = replace(model.fit("The cat", 5), ids=(1, 2, model.decoder.vocab_size))
    with pytest.raises(EngineError, match="no row for"):
        engine.ask(model, prompt, Sampling()).take(PATIENCE_SECONDS)
    before = going.stats().new_tokens
    until(lambda: going.stats().new_tokens > before)
    going.cancel()


def test_closing_ends_everything(model: TextModel) -> None:
    engine = Engine(batch_rows=1)
    answers = [ask(engine, model, "The cat", ENDLESS) for _ in range(3)]
    until(lambda: engine.running == 1)
    engine.close()
    for answer in answers:
        "".join(answer)
        assert answer.completion is not None
        assert answer.completion.finish_reason == "cancelled"
    with pytest.raises(EngineError, match="closed"):
        ask(engine, model, "The cat", ENDLESS)
    assert not [each for each in threading.enumerate() if each.name == "engine" and each.is_alive()]


def test_whoever_listens_hears_of_every_piece(engine: Engine, model: TextModel) -> None:
    heard = threading.Semaphore(0)
    answer = ask(engine, model, "The cat", Sampling(max_new_tokens=20), on_change=heard.release)
    pieces = []
    while (piece := answer.take()) is not None:
        pieces.append(piece)
        if not piece:
            assert heard.acquire(timeout=PATIENCE_SECONDS)
    assert answer.completion is not None
    assert "".join(pieces) == answer.completion.text


def test_nobody_is_left_in_memory(model: TextModel, make_decoder: Callable[..., Decoder]) -> None:
    with Engine() as engine:
        other = TextModel(make_decoder(model.tokenizer.vocab_size), model.tokenizer, model.runtime)
        "".join(ask(engine, other, "The cat", Sampling(max_new_tokens=3)))
        assert len(engine._batches) == 1
        del other
        until(lambda: len(engine._batches) == 0)
