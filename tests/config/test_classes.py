"""Every setting and every circumstance is in one class, and none gets there by a pattern."""

import dataclasses
from collections import Counter

import pytest

from tinychat.config.classes import ACCEPT_NEW_DATA, CIRCUMSTANCES, SETTINGS, names_of, rule_of
from tinychat.config.load import Layer, read_preset, resolve, setting_names
from tinychat.config.names import nest
from tinychat.config.resume import change_setting, continue_with, deciding, flat, with_deciding
from tinychat.errors import SettingsError
from tinychat.runs import AttemptRecord, RunRecord

# What an attempt's record says beside the circumstances it ran under.
TOLD = {
    "from_step", "reason", "started_at", "argv", "settings", "autotune", "resume_class",
    "changed", "format", "takes_over",
}  # fmt: skip


def test_every_setting_stands_in_exactly_one_rule() -> None:
    counts = Counter(name for rule in SETTINGS for name in rule.names)
    assert set(counts) == set(setting_names()), "classify new settings in config/classes.py"
    assert set(counts.values()) == {1}


def test_every_circumstance_of_an_attempt_stands_in_exactly_one_rule() -> None:
    counts = Counter(name for rule in CIRCUMSTANCES for name in rule.names)
    recorded = {field.name for field in dataclasses.fields(AttemptRecord)} - TOLD
    assert set(counts) == recorded | {"tokenizer_sha256"}, "classify it in config/classes.py"
    assert "tokenizer_sha256" in {field.name for field in dataclasses.fields(RunRecord)}
    assert set(counts.values()) == {1}


def test_a_name_without_a_rule_is_an_error() -> None:
    for name in ("eval.new_thing", "runtime.new_thing", "model.n_layers", ""):
        with pytest.raises(KeyError, match="no resume class"):
            rule_of(name)


def test_classes_are_what_a_person_expects() -> None:
    for name in ("log.every_steps", "sample.prompts", "checkpoint.keep_last"):
        assert rule_of(name).while_training, name
    assert not rule_of("data.paths").while_training
    for name in ("runtime.threads", "micro_batch_size", "max_steps"):
        assert rule_of(name).resume_class == "B", name
    for rule in (*SETTINGS, *CIRCUMSTANCES):
        assert (rule.resume_class == "C") == bool(rule.instead), rule
        assert rule.resume_class == "A" or not rule.while_training
        assert rule.why
        assert not rule.why.endswith(".")


@pytest.mark.parametrize("name", names_of("C", SETTINGS))
def test_each_of_class_c_is_refused_with_both_values_and_what_to_do(name: str) -> None:
    before = resolve(read_preset("demo"))
    value = _another(flat(before)[name], name)
    layer = Layer("command line", nest({name: value}))
    try:
        new = flat(resolve(read_preset("demo"), layer))[name]
    except SettingsError:
        pytest.skip("no other value goes with the demo's other settings")
    with pytest.raises(SettingsError) as caught:
        continue_with(before, layer)
    (sentence,) = caught.value.problems
    assert f"{name} is {flat(before)[name]!r} in this run" in sentence
    assert f"cannot become {new!r}" in sentence
    assert rule_of(name).instead in sentence
    with pytest.raises(SettingsError):
        change_setting(before, name, value)


def test_a_flag_allows_what_it_is_for_and_nothing_else() -> None:
    before = resolve(read_preset("demo"))
    reading = Layer("command line", nest({"data.text_field": "story"}))
    _, told = continue_with(before, reading, (ACCEPT_NEW_DATA,))
    assert told == ("data.text_field None -> story",)
    with pytest.raises(SettingsError, match="seed is 0"):
        continue_with(before, Layer("command line", {"seed": 3}), (ACCEPT_NEW_DATA,))


def test_files_that_moved_are_no_other_data() -> None:
    before = resolve(read_preset("demo"))
    moved = Layer("command line", nest({"data.paths": ["/elsewhere/my.txt"]}))
    after, told = continue_with(before, moved)
    assert told == ()
    assert after.settings.data.paths == ("/elsewhere/my.txt",)
    with pytest.raises(SettingsError, match="cannot change while the run trains"):
        change_setting(before, "data.paths", ["/elsewhere/my.txt"])


def test_the_settings_of_another_attempt_come_back() -> None:
    before = resolve(read_preset("demo"))
    changes = Layer("command line", nest({"max_steps": 9000, "runtime.threads": 3}))
    after, _ = continue_with(before, changes)
    assert with_deciding(after, deciding(before)).settings == before.settings
    unknown = deciding(before) | {"optim.of_a_newer_tinychat": 1}
    assert with_deciding(after, unknown).settings == before.settings


def _another(value: object, name: str) -> object:
    """Some other value of a setting's type."""
    words = {
        "model.norm": "layer", "model.position": "learned", "model.mlp": "gelu",
        "tokenizer.kind": "char", "tokenizer.path": "t.json", "data.format": "text",
        "data.take": "chosen", "data.loss": "all", "optim.optimizer": "adamw",
        "optim.schedule": "cosine", "init_from": "elsewhere", "optim.max_grad_norm": "none",
        "model.head_dim": 16, "model.n_kv_head": 3, "model.n_head": 3,
        "model.intermediate_size": 64, "data.max_documents": 10,
    }  # fmt: skip
    if name in words:
        return words[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 192
    return value / 2 + 0.003 if isinstance(value, float) else "words"
