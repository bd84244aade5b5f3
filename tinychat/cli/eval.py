"""`tinychat eval`: what a checkpoint makes of text it has not learnt from, in exact numbers."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tinychat.cli.flags import READING_FLAGS, GivenFlags, Reading, data_settings
from tinychat.cli.models import PLACE, Place, Run, open_model
from tinychat.cli.output import Waiting, print_json, tell
from tinychat.errors import SettingsError, TinychatError
from tinychat.runs import checkpoint_label
from tinychat.words import inert, number, table

if TYPE_CHECKING:  # they import torch
    from tinychat.config import DataSettings, Settings, TokenizerSettings
    from tinychat.engine import OpenedModel
    from tinychat.text import Prepared, TokenFile, Tokenizer
    from tinychat.training import Evaluation

_TOKENS_AT_ONCE = 8192  # in one forward pass


def eval_command(
    run: Run,
    /,
    *,
    data: list[str] | None = None,
    place: Place = PLACE,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    reading: Reading = READING_FLAGS,
    given: GivenFlags,
) -> int:
    """Measure a checkpoint on the run's validation split, or on data of your own.

    Tells val_loss in nats per token, perplexity, and bits per byte, which alone can be compared
    between tokenizers. A run that mixes old data in is measured on that too. A run on the built-in
    small talk or persona is also asked the questions that were held back from it, greedily; an
    answer counts if it is right to the letter. With --int8 it also tells how much val_loss is worse
    with weights of eight bits.

        tinychat eval demo
        tinychat eval demo@300 --data poems.txt --json

    Parameters
    ----------
    data
        Files or folders to measure on instead, whole and as they are.
    as_json
        Print one JSON document instead.
    """
    wanted = data_settings(given, data or ())
    if given.values and not data:
        raise SettingsError("flags that say how files are read go together with --data")
    model = open_model(place.shelf(exact=True), run)
    with Waiting() as waiting:
        document = (
            _on_data(model, wanted, place.int8, waiting)
            if data
            else _on_validation(model, place.int8, waiting)
        )
    if as_json:
        print_json(document)
    else:
        _print(document)
    return 0


def _on_validation(model: "OpenedModel", int8: bool, waiting: Waiting) -> dict[str, Any]:
    """The run's own validation split; for the built-in corpus the held-out questions too."""
    from tinychat.config.load import from_json
    from tinychat.runs import RunReader

    if model.step is None:
        raise SettingsError(
            f"{model.run} was not trained here and has no validation split; give --data to measure "
            "it on"
        )
    reader = RunReader(model.run)
    settings = from_json(reader.settings).settings
    prepared = _prepared(model, settings, waiting)
    if prepared.fingerprint != reader.run.data_fingerprint:
        raise SettingsError(
            f"the data of {model.run.name} has changed since the run began, so its validation "
            "split is another one now; give the data to measure on with --data"
        )
    form = prepared.form
    at_once = settings.rows_per_micro_batch
    evaluations = _evaluate(model, prepared.valid, form, at_once, int8, waiting)
    document = _document(model, *evaluations, "validation split of the run")
    old_paths = settings.replay.paths if settings.reads_old_data else ()
    if settings.reads_old_data:
        document["replay_val_loss"] = _on_old_data(model, settings, waiting)
    return document | _examined(model, (settings.data.paths, old_paths), waiting)


def _on_old_data(model: "OpenedModel", settings: "Settings", waiting: Waiting) -> float | None:
    """val_loss on what the run mixes in; None, and a remark, where that is gone."""
    from tinychat.training import prepare_old_data

    run = model.run.absolute()
    try:
        old = prepare_old_data(run, settings, model.text.tokenizer, waiting)
    except TinychatError as error:
        tell(inert(str(error)))
        return None
    if old is None:
        return None
    rows = settings.rows_per_micro_batch
    return _evaluate(model, old.valid, old.form, rows, False, waiting)[0].val_loss


def _examined(
    model: "OpenedModel", learnt: Sequence[Sequence[str]], waiting: Waiting
) -> dict[str, Any]:
    """The answers to the questions that built-in corpora keep back, where the run has learnt of
    one: from its data, or from old data (empty: it has none)."""
    from tinychat.cli.examination import examine, examine_persona
    from tinychat.text import PERSONA, learns_small_talk

    own, old = learnt
    found: dict[str, Any] = {}
    if PERSONA in (*own, *old):
        found["answers_in_character"] = examine_persona(model, waiting)
    if learns_small_talk(own) or (old and learns_small_talk(old)):
        found["answers_right"] = examine(model, waiting)
    return found


def _prepared(model: "OpenedModel", settings: "Settings", waiting: Waiting) -> "Prepared":
    """The run's corpus in the model's tokens; what the training left in the cache is found."""
    from tinychat.text import prepare

    cache = model.run.absolute().parent / ".cache"

    def prepared_with(tokenizer: "Tokenizer | TokenizerSettings") -> "Prepared":
        return prepare(settings.data, tokenizer, seed=settings.seed, cache=cache, progress=waiting)

    own = model.text.tokenizer
    named = settings.init_from or settings.tokenizer.path  # so it was not trained on the corpus
    found = prepared_with(own if named else settings.tokenizer)
    return found if found.tokenizer.sha256 == own.sha256 else prepared_with(own)


def _on_data(
    model: "OpenedModel", data: "DataSettings", int8: bool, waiting: Waiting
) -> dict[str, Any]:
    """Everything in `data.paths`, tokenized with the model's tokenizer."""
    from tinychat.cli.terminal import cleared_up
    from tinychat.text import Corpus, encode_whole

    corpus = Corpus.scan(data, waiting, undivided=True)
    if corpus.form == "chat" and not model.text.tokenizer.format.opening:
        raise SettingsError(
            f"{model.label} has learnt texts and knows no turns, so conversations cannot measure "
            "it; give it plain text"
        )
    at_once = max(1, _TOKENS_AT_ONCE // model.card.model.context_length)
    with cleared_up(), tempfile.TemporaryDirectory(prefix="tinychat-eval-") as folder:
        file, reports = encode_whole(
            corpus,
            model.text.tokenizer,
            Path(folder),
            loss="all" if model.card.loss == "all" else "answers",
            max_documents=data.max_documents,
            progress=waiting,
        )
        for remark in (*corpus.hints, *(told for report in reports for told in report.remarks)):
            tell(inert(remark))
        evaluations = _evaluate(model, file, corpus.form, at_once, int8, waiting)
    return _document(model, *evaluations, ", ".join(data.paths))


def _evaluate(
    model: "OpenedModel",
    file: "TokenFile",
    form: str,
    batch_size: int,
    int8: bool,
    waiting: Waiting,
) -> "tuple[Evaluation, Evaluation | None]":
    """What the model makes of a token file, and what it makes of it in int8 if that is asked."""
    from tinychat.model import Decoder, int8_imitation
    from tinychat.training import evaluate, make_rows

    decoder, runtime = model.text.decoder, model.text.runtime
    assert isinstance(decoder, Decoder)  # the shelf is an exact one
    if int8 and runtime.device != "cpu":
        raise SettingsError("weights of eight bits answer on a CPU only; add --device cpu")
    rows = make_rows(file, form, model.card.model.context_length)
    batches = -(-rows.count // batch_size)
    token_bytes = model.text.tokenizer.token_bytes()
    beat = _counted(waiting, "evaluating", batches)
    plain = evaluate(decoder, rows, token_bytes, runtime, batch_size, beat)
    if not int8:
        return plain, None
    beat = _counted(waiting, "evaluating in int8", batches)
    imitation = int8_imitation(decoder)
    exact = replace(runtime, dtype="fp32")  # its products say themselves what they round
    return plain, evaluate(imitation, rows, token_bytes, exact, batch_size, beat)


def _counted(waiting: Waiting, stage: str, total: int) -> Callable[[], None]:
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        waiting(stage, min(done, total), total)

    return one_more


def _document(
    model: "OpenedModel", evaluation: "Evaluation", int8: "Evaluation | None", on: str
) -> dict[str, Any]:
    worse = None if int8 is None else int8.val_loss - evaluation.val_loss
    return {
        "run": model.name,
        "step": model.step,
        "checkpoint": str(model.path.absolute()),
        "data": on,
        "val_loss": evaluation.val_loss,
        **({} if int8 is None else {"int8": {"val_loss": int8.val_loss, "worse": worse}}),
        "perplexity": evaluation.perplexity,
        "bits_per_byte": evaluation.bits_per_byte,
        "target_tokens": evaluation.target_tokens,
        "target_bytes": evaluation.target_bytes,
        "device": model.text.runtime.device,
        "dtype": model.text.runtime.dtype,
    }


def _print(document: dict[str, Any]) -> None:
    bits, step = document["bits_per_byte"], document["step"]
    rows = [
        ("checkpoint", checkpoint_label(document["run"], step)),
        ("measured on", f"{document['data']}, {number(document['target_tokens'])} tokens to guess"),
        ("val_loss", f"{document['val_loss']:.4f} nats per token"),
        *_int8(document.get("int8")),
        *_old_data(document),
        ("perplexity", f"{document['perplexity']:.2f}"),
        ("bits per byte", "–" if bits is None else f"{bits:.4f}"),
    ]
    if "answers_in_character" in document:
        rows += _shares("answers in character", document["answers_in_character"])
    if "answers_right" in document:
        rows += _answers(document["answers_right"])
    for line in table([(name, inert(words)) for name, words in rows]):
        print(line)


def _int8(found: dict[str, Any] | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    return [("  in int8", f"{found['val_loss']:.4f}, {found['worse']:+.4f}")]


def _old_data(document: dict[str, Any]) -> list[tuple[str, str]]:
    found = document.get("replay_val_loss")
    return [] if found is None else [("on the old data", f"{found:.4f} nats per token")]


def _answers(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        *_shares("answers right", found),
        ("unseen sums", _share(found["unseen_sums"])),
        ("unseen counting", _share(found["unseen_counting"])),
    ]


def _shares(name: str, found: dict[str, Any]) -> list[tuple[str, str]]:
    """The share of all, then of each kind."""
    kinds = [(f"  {kind}", _share(score)) for kind, score in found["kinds"].items()]
    return [(name, _share(found)), *kinds]


def _share(score: dict[str, Any]) -> str:
    return f"{score['share']:.1%} ({number(score['right'])} of {number(score['asked'])})"
