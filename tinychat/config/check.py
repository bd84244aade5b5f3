"""What several settings must agree on. Each rule yields one sentence; all are told at once."""

from collections.abc import Iterator

from tinychat.config.settings import DataSettings, ModelSettings, OptimSettings, Settings


def find_problems(settings: Settings) -> list[tuple[tuple[str, ...], str]]:
    """All pairs of settings that cannot go together, as (their dotted names, one sentence)."""
    return [
        *_model(settings.model),
        *_optim(settings.optim),
        *_data(settings.data),
        *_run(settings),
    ]


def _model(model: ModelSettings) -> Iterator[tuple[tuple[str, ...], str]]:
    if model.head_dim is None and model.n_embd % model.n_head:
        yield (
            ("model.n_embd", "model.n_head"),
            f"n_embd ({model.n_embd}) must be a multiple of n_head ({model.n_head}), "
            "or give model.head_dim",
        )
    if model.n_head % model.kv_heads:
        yield (
            ("model.n_head", "model.n_kv_head"),
            f"n_head ({model.n_head}) must be a multiple of n_kv_head ({model.kv_heads})",
        )
    if model.position == "rope" and model.head_width % 2:
        yield (
            ("model.n_embd", "model.n_head", "model.head_dim"),
            f"rope needs heads of an even width, not {model.head_width}",
        )


def _optim(optim: OptimSettings) -> Iterator[tuple[tuple[str, ...], str]]:
    if optim.min_learning_rate > optim.learning_rate:
        yield (
            ("optim.min_learning_rate", "optim.learning_rate"),
            f"min_learning_rate ({optim.min_learning_rate:g}) is above "
            f"learning_rate ({optim.learning_rate:g})",
        )


def _data(data: DataSettings) -> Iterator[tuple[tuple[str, ...], str]]:
    if data.text_field is not None and (data.user_field or data.assistant_field):
        yield (
            ("data.text_field", "data.user_field", "data.assistant_field"),
            "text_field makes documents, user_field and assistant_field make conversations; "
            "give one or the other",
        )


def _run(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    if (settings.max_steps is None) == (settings.max_epochs is None):
        yield (("max_steps", "max_epochs"), "give one of max_steps and max_epochs, not both")
    if settings.rows_per_micro_batch > settings.batch_size:
        yield (
            ("micro_batch_size", "batch_size"),
            f"micro_batch_size ({settings.micro_batch_size}) is above "
            f"batch_size ({settings.batch_size})",
        )
    if settings.runtime.attention == "blocks" and settings.model.dropout:
        yield (
            ("runtime.attention", "model.dropout"),
            "attention in blocks knows no dropout; leave out runtime.attention",
        )
    if settings.init_from is not None and settings.tokenizer.path is not None:
        yield (
            ("init_from", "tokenizer.path"),
            "a run that starts from other weights has their tokenizer; leave out tokenizer.path",
        )
    replay, tune = settings.replay, settings.tune
    if settings.init_from is None:
        asked = {
            "replay.share": replay.share,
            "replay.paths": replay.paths,
            "replay.max_val_loss_rise": replay.max_val_loss_rise,
            "tune.feedback": tune.feedback,
        }
        names = tuple(name for name, value in asked.items() if value)
    else:
        names = ()
    if names:
        yield (
            (*names, "init_from"),
            "old data and feedback are for a model that has learnt; name it by init_from",
        )
    if tune.feedback and replay.paths:
        yield (
            ("tune.feedback", "replay.paths"),
            "where feedback is learnt from, the old data is data.paths; leave out replay.paths",
        )
    if tune.follow:
        yield from _following(settings)
    if settings.checkpoint.every_steps is None and settings.checkpoint.every_minutes is None:
        yield (
            ("checkpoint.every_steps", "checkpoint.every_minutes"),
            "a run must be saved by steps or by minutes; give one of the two",
        )


def _following(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """What a step for each judgement needs: to be looked at and saved, so that it can be undone."""
    each = {"eval.every_steps": settings.eval, "checkpoint.every_steps": settings.checkpoint}
    names = tuple(name for name, group in each.items() if group.every_steps != 1)
    if names:
        told = "each step must be evaluated and saved, so that it can be taken back; set"
        yield ((*names, "tune.follow"), f"{told} {' and '.join(names)} to 1")
    if len(settings.tune.feedback) != 1:
        yield (
            ("tune.follow", "tune.feedback"),
            "judgements can be waited for in one file; name just one",
        )
    if settings.max_epochs is not None:
        yield (
            ("tune.follow", "max_epochs"),
            "nobody knows how many judgements will come; give max_steps as the most",
        )
