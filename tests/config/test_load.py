"""Strict loading of settings, their sources, and what may change at a resume."""

import json
from pathlib import Path

import pytest

from tinychat.config import Settings
from tinychat.config.load import (
    FLAGS,
    Layer,
    from_json,
    preset_names,
    read_preset,
    read_toml,
    resolve,
    setting_names,
)
from tinychat.config.names import nest
from tinychat.config.resume import change_setting, continue_with
from tinychat.errors import SettingsError
from tinychat.model import count_parameters


def flags(**values: object) -> Layer:
    return Layer(FLAGS, nest({k.replace("__", "."): v for k, v in values.items()}), text=True)


def test_later_layers_win_and_every_value_knows_its_source(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("batch_size = 4\n[optim]\nlearning_rate = 1e-2\n", encoding="utf-8")
    resolved = resolve(read_preset("demo"), read_toml(file), flags(optim__learning_rate="3e-4"))
    assert resolved.settings.optim.learning_rate == 3e-4
    assert resolved.sources["optim.learning_rate"] == "command line"
    assert resolved.settings.batch_size == 4
    assert resolved.sources["batch_size"] == str(file)
    assert resolved.sources["model.n_layer"] == "preset demo"
    assert resolved.sources["optim.eps"] == "default"
    assert set(resolved.sources) == set(setting_names())


def test_all_problems_are_told_at_once_with_source_value_and_nearest_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'max_steps = "ten"\nbatchsize = 3\n[model]\nn_layer = true\nnorm = "batch"\n'
        "[optim]\nlerning_rate = 1e-3\nbeta1 = 1.5\n",
        encoding="utf-8",
    )
    with pytest.raises(SettingsError) as caught:
        resolve(read_toml(file), flags(model__n_head="x", seed="1.5", rumtime__device="cpu"))
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 9
    for piece in (
        f"{file}: max_steps", '"ten"', "did you mean 'batch_size'", "model.n_layer = true",
        "'rms' or 'layer'", "did you mean 'optim.learning_rate'", "optim.beta1 = 1.5",
        "command line: model.n_head", "command line: seed", "rumtime",
    ):  # fmt: skip
        assert piece in told, piece


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"model__n_embd": "100", "model__n_head": "3"}, "multiple of n_head"),
        ({"model__n_head": "4", "model__n_kv_head": "3"}, "multiple of n_kv_head"),
        ({"optim__min_learning_rate": "1"}, "above learning_rate"),
        ({"batch_size": "2", "micro_batch_size": "4"}, "micro_batch_size"),
        ({"checkpoint__every_steps": "none", "checkpoint__every_minutes": "none"}, "by minutes"),
        ({"max_steps": "10", "max_epochs": "1"}, "not both"),
    ],
)
def test_impossible_pairs_are_refused(values: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        resolve(read_preset("demo"), flags(**values))


def test_a_length_in_one_measure_replaces_the_other_from_below() -> None:
    resolved = resolve(read_preset("demo"), flags(max_epochs="2.5"))
    assert resolved.settings.max_steps is None
    assert resolved.settings.max_epochs == 2.5


def test_none_is_off() -> None:
    resolved = resolve(read_preset("demo"), flags(sample__top_k="none", eval__every_steps="none"))
    assert resolved.settings.sample.top_k is None
    assert resolved.settings.eval.every_steps is None
    with pytest.raises(SettingsError):
        resolve(read_preset("demo"), flags(batch_size="none"))


def test_settings_json_reads_back_word_for_word() -> None:
    resolved = resolve(read_preset("demo"), flags(sample__prompts=("a b", "c"), max_epochs="1"))
    again = from_json(json.loads(json.dumps(resolved.to_json())))
    assert again == resolved


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_says_its_true_size(name: str) -> None:
    """The first line of a preset names its parameters; the built model has to agree within 5%."""
    from importlib import resources

    text = (resources.files("tinychat.config") / "presets" / f"{name}.toml").read_text("utf-8")
    claimed = float(text.split(" M parameters")[0].removeprefix("# ")) * 1e6
    settings = resolve(read_preset(name)).settings
    built = count_parameters(settings.model, settings.tokenizer.vocab_size)["total"]
    assert abs(built - claimed) / claimed < 0.05


def test_every_setting_has_one_sentence_of_help() -> None:
    import dataclasses

    from docstring_parser import parse_from_object

    sections = [
        Settings,
        *(type(getattr(Settings(), f.name)) for f in dataclasses.fields(Settings)),
    ]
    for cls in sections:
        if not dataclasses.is_dataclass(cls):
            continue
        told = {p.arg_name: p.description for p in parse_from_object(cls).params}
        for field in dataclasses.fields(cls):
            if not dataclasses.is_dataclass(field.default_factory):
                assert told.get(field.name, "").strip().endswith("."), (
                    f"{cls.__name__}.{field.name}"
                )


def test_what_would_make_another_run_is_refused_by_name() -> None:
    before = resolve(read_preset("demo"))
    with pytest.raises(SettingsError) as caught:
        continue_with(before, flags(seed="5", model__n_layer="9"))
    assert len(caught.value.problems) == 2
    after, changed = continue_with(before, flags(max_steps="2000", sample__every_steps="10"))
    assert changed == ("max_steps 1400 -> 2000",)
    assert after.settings.sample.every_steps == 10
    assert after.sources["max_steps"] == "command line"
    assert after.sources["model.n_layer"] == "preset demo"


def test_while_training_only_what_decides_no_bit_may_change() -> None:
    before = resolve(read_preset("demo"))
    assert change_setting(before, "sample.every_steps", 25).settings.sample.every_steps == 25
    assert change_setting(before, "eval.every_steps", "100").settings.eval.every_steps == 100
    for name, value in (("optim.learning_rate", 1e-5), ("runtime.threads", 3), ("nonsense", 1)):
        with pytest.raises(SettingsError):
            change_setting(before, name, value)
