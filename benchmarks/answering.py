"""How much more many clients get from one engine than one does, side by side on this machine.

    python benchmarks/answering.py [--clients 8] [--tokens 128] [--layers 4] [--width 192] [--quick]

A model with weights as it begins with: speed does not depend on them. Each round measures one
client and all of them, in turn. Also tells how long a stop takes until the engine is idle.
"""

import time

from measured import Figure, arguments, save
from tinychat.config import ModelSettings, RuntimeSettings
from tinychat.engine import Engine, Sampling, TextModel
from tinychat.model import Decoder, choose_runtime, for_answering
from tinychat.text import train_bpe

_TEXT = ["The cat sat on the mat. The dog sat on the log. What is your name? My name is Tom. "]
_STOPS = 20


def main() -> None:
    """Measure, print."""
    parser = arguments(__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128, help="in each answer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--vocabulary", type=int, default=1024, help="rows of embedding and head")
    given = parser.parse_args()
    if given.quick:
        given.tokens, given.rounds, given.layers, given.width = 16, 1, 1, 64
    model = build(given.layers, given.width, given.vocabulary)
    parameters = sum(p.numel() for p in model.decoder.parameters())
    runtime = model.runtime
    print(
        f"{parameters / 1e6:.1f} M parameters, {runtime.dtype} on {runtime.device}, "
        f"{runtime.threads} threads"
    )
    with Engine(batch_rows=given.clients) as engine:
        speed(engine, model, 1, 8)  # what is done once
        ones, many = [], []
        for _ in range(given.rounds):
            ones.append(speed(engine, model, 1, given.tokens))
            many.append(speed(engine, model, given.clients, given.tokens))
        stops = [1000 * stop(engine, model) for _ in range(2 if given.quick else _STOPS)]
    figures = {
        "one client": Figure.of(ones, " tokens/s"),
        "all clients": Figure.of(many, " tokens/s"),
        "all / one": Figure.ratio(many, ones),
        "stop until idle": Figure.of(stops, " ms"),
    }
    for name, figure in figures.items():
        print(f"{name:18} {figure}")
    save(given, figures)


def build(layers: int, width: int, vocabulary: int) -> TextModel:
    """A model of that shape on the best device here."""
    tokenizer = train_bpe(_TEXT, 300)
    settings = ModelSettings(
        n_layer=layers, n_head=max(1, width // 32), n_embd=width, context_length=512
    )
    decoder = Decoder(settings, vocabulary)
    decoder.initialise(0)
    parameters = sum(each.numel() for each in decoder.parameters())
    runtime = for_answering(choose_runtime(RuntimeSettings()), RuntimeSettings(), parameters)
    runtime.apply()
    return TextModel(decoder.to(runtime.torch_device).eval(), tokenizer, runtime)


def speed(engine: Engine, model: TextModel, clients: int, tokens: int) -> float:
    """Tokens a second of that many answers at once, all together."""
    rules = Sampling(max_new_tokens=tokens, repetition_guard=False)
    began = time.monotonic()
    prompt = model.fit(_TEXT[0], tokens)
    answers = [engine.ask(model, prompt, rules) for _ in range(clients)]
    for answer in answers:
        "".join(answer)
    made = sum(answer.stats().new_tokens for answer in answers)
    return made / (time.monotonic() - began)


def stop(engine: Engine, model: TextModel) -> float:
    """Seconds from a stop in mid-answer until the engine is idle."""
    rules = Sampling(max_new_tokens=10**6, repetition_guard=False)
    answer = engine.ask(model, model.fit(_TEXT[0], 1), rules)
    while answer.stats().new_tokens < 10:
        time.sleep(0.001)
    began = time.monotonic()
    answer.cancel()
    while engine.running:
        time.sleep(0.0005)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
