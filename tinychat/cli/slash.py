"""The commands of `tinychat chat`: lines that begin with a slash, and what each does.

A command gets the talk it was typed into and the rest of its line, and raises a TinychatError to
refuse. It changes what the next answer is made with; what is asked of models is `chat_loop`'s
charge.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinychat.cli import lookback
from tinychat.cli.terminal import FENCE
from tinychat.config.sampling import PRESETS, draw_seed
from tinychat.errors import SettingsError
from tinychat.words import count, inert, table

if TYPE_CHECKING:
    from tinychat.cli.chat_loop import ChatLoop


@dataclass(frozen=True)
class Command:
    """One of them. `does` is empty for those that `/settings` explains."""

    name: str
    takes: str
    does: str
    obey: "Callable[[ChatLoop, str], None]"


@dataclass(frozen=True)
class Setting:
    """A field of SamplingFlags that a command changes."""

    field: str
    kind: type
    may_be_off: bool
    means: str

    @property
    def name(self) -> str:
        return self.field.replace("_", "-")

    def value(self, text: str) -> Any:
        """What a person typed, as the field's type. Raises SettingsError."""
        if text.lower() in ("none", "off") and self.may_be_off:
            return None
        if self.kind is bool:
            return _switch(text)
        try:
            return self.kind(text)
        except ValueError:
            raise SettingsError(f"{inert(text)!r} is not a number") from None

    def obey(self, chat: "ChatLoop", text: str) -> None:
        """Change it; without a value only tell it."""
        if text:
            flags = replace(chat.flags, **{self.field: self.value(text)})
            flags.rules(0)  # refuses what cannot be
            chat.flags = flags
        chat.remark(f"{self.name} {_told(getattr(chat.flags, self.field))}")


SETTINGS = (
    Setting("repetition_penalty", float, False, "above 1: less likely what was there already"),
    Setting("temperature", float, False, "how freely to choose; 0: always the likeliest"),
    Setting("top_k", int, True, "choose among this many likeliest tokens"),
    Setting("top_p", float, True, "choose among likeliest with this share in all"),
    Setting("min_p", float, True, "choose among those this likely beside the first"),
    Setting("max_new_tokens", int, False, "longest answer, in tokens"),
    Setting("repetition_guard", bool, False, "end an answer that repeats itself"),
)
"""The first five are what a preset sets, in the order in which they are applied."""


def obey(chat: "ChatLoop", line: str) -> None:
    """Do what a line that begins with a slash says. Raises TinychatError if it cannot be done."""
    word, *rest = line.strip().split(None, 1)
    find(word).obey(chat, rest[0] if rest else "")


def find(word: str) -> Command:
    """The command of that name. Raises SettingsError with the nearest one."""
    names = {f"/{command.name}": command for command in COMMANDS}
    if word.lower() in names:
        return names[word.lower()]
    near = get_close_matches(word.lower(), names, 1)
    hint = f"did you mean {near[0]}?" if near else "/help tells what there is"
    raise SettingsError(f"there is no {inert(word)}; {hint}")


def help_text() -> str:
    """What a person can do, in a screenful."""
    rows = [(f"  /{each.name} {each.takes}", each.does) for each in COMMANDS if each.does]
    return "\n".join([*table(rows), f"  {FENCE} begins a text of several lines, {FENCE} ends it"])


def settings_text(chat: "ChatLoop") -> str:
    """Everything that decides the next answer."""
    flags = chat.flags
    follows = "the newest one, always" if chat.follows_newest else ""
    rows = [
        ("/model", inert(chat.model.label), follows),
        ("/preset", flags.preset_name, ", ".join(PRESETS)),
        *((f"/{s.name}", _told(getattr(flags, s.field)), s.means) for s in SETTINGS),
        ("/stop", _texts(flags.stop), "end the answer before any of these texts"),
        ("/seed", str(chat.next_seed), "of the next answer; each takes the next number"),
        ("/system", _text(chat.talk.system), "what the model is told first"),
        ("/begin", _text(chat.begin), "what each answer begins with"),
    ]
    return "\n".join(table([(f"  {name}", value, means) for name, value, means in rows]))


def _help(chat: "ChatLoop", _: str) -> None:
    chat.remark(help_text())


def _settings(chat: "ChatLoop", _: str) -> None:
    chat.remark(settings_text(chat))


def _preset(chat: "ChatLoop", name: str) -> None:
    if name:
        if name.lower() not in PRESETS:
            raise SettingsError(f"there is no preset {inert(name)}; there are {', '.join(PRESETS)}")
        chat.flags = chat.flags.preset(name.lower())
    values = ", ".join(f"{s.name} {_told(getattr(chat.flags, s.field))}" for s in SETTINGS[:5])
    chat.remark(f"{chat.flags.preset_name}: {values}")


def _stop(chat: "ChatLoop", text: str) -> None:
    text = text.replace("\\n", "\n")
    chat.flags = replace(chat.flags, stop=(*chat.flags.stop, text) if text else ())
    chat.remark(f"stop {_texts(chat.flags.stop)}")


def _seed(chat: "ChatLoop", text: str) -> None:
    seed = _whole(text) if text else draw_seed()
    chat.flags.rules(seed)
    chat.next_seed = seed
    chat.remark(f"seed {seed}")


def _system(chat: "ChatLoop", text: str) -> None:
    chat.talk.system = text
    chat.remark("the model is told that first" if text else "the model is told nothing first")


def _begin(chat: "ChatLoop", text: str) -> None:
    chat.begin = text
    chat.remark(f"answers begin with {_text(text)}")


def _retry(chat: "ChatLoop", _: str) -> None:
    chat.ask(chat.talk.last_said, again=True)


def _edit(chat: "ChatLoop", text: str) -> None:
    said = chat.talk.last_said
    if not text:
        raise SettingsError(f"/edit needs the text that is to stand in place of {_text(said)}")
    chat.ask(text, again=True)


def _continue(chat: "ChatLoop", _: str) -> None:
    chat.go_on()


def _version(chat: "ChatLoop", text: str) -> None:
    if text:
        chat.talk.choose(_whole(text))
    versions, last = chat.talk.versions(), chat.talk.last
    place = [node.id for node in versions].index(last.id) + 1
    text = inert(last.text, keep="\n\t")
    chat.remark(f"version {place} of {len(versions)}:\n{text}")


def _model(chat: "ChatLoop", name: str) -> None:
    if name:
        chat.switch(name)
    else:
        chat.remark(lookback.models_text(chat.shelf.checkpoints, chat.model))


def _newest(chat: "ChatLoop", text: str) -> None:
    chat.follow(_switch(text or "on"))


def _stats(chat: "ChatLoop", text: str) -> None:
    chat.shows_stats = _switch(text or "on")
    chat.remark(f"stats {_told(chat.shows_stats)}")


def _inside(chat: "ChatLoop", _: str) -> None:
    chat.remark(lookback.inside_text(chat.talk.behind(chat.talk.last)))


def _raw(chat: "ChatLoop", _: str) -> None:
    last = chat.talk.last
    if last.answer is None:
        raise SettingsError("that answer was written by hand")
    chat.remark(lookback.raw_text(last.answer, chat.talk.behind(last)))


def _save(chat: "ChatLoop", text: str) -> None:
    _save_as(chat, _path(text, "/save"), over=False)


def _save_over(chat: "ChatLoop", text: str) -> None:
    _save_as(chat, _path(text, "/save!"), over=True)


def _load(chat: "ChatLoop", text: str) -> None:
    path = _path(text, "/load")
    chat.talk.load(path)
    chat.remark(f"{inert(str(path))}: {count(len(chat.talk), 'message')}; you go on from there")


def _save_as(chat: "ChatLoop", path: Path, *, over: bool) -> None:
    chat.talk.save(path, over=over)
    chat.remark(f"{inert(str(path))} written")


def _reset(chat: "ChatLoop", _: str) -> None:
    chat.talk.reset()
    chat.remark("forgotten")


def _quit(chat: "ChatLoop", _: str) -> None:
    chat.has_left = True


COMMANDS = (
    Command("retry", "", "answer again; earlier answers stay", _retry),
    Command("version", "N", "go back to an earlier answer", _version),
    Command("edit", "TEXT", "say TEXT in place of what you said last", _edit),
    Command("continue", "", "let the last answer go on", _continue),
    Command("inside", "", "how sure the model was of each token", _inside),
    Command("raw", "", "exactly what it was shown and what it said, as token ids", _raw),
    Command("settings", "", "what the next answer is made with; `/top-k 5` changes one", _settings),
    Command("preset", "NAME", f"{', '.join(PRESETS)}", _preset),
    Command("system", "TEXT", "what the model is told first; alone, nothing", _system),
    Command("begin", "TEXT", "what each answer begins with; alone, nothing", _begin),
    Command("model", "RUN@STEP", "go on with another checkpoint; alone, lists them", _model),
    Command("newest", "on|off", "always the newest checkpoint, while the run trains", _newest),
    Command("stats", "on|off", "a line of numbers under each answer", _stats),
    Command("save", "PATH", "keep the talk as .md or .json; /save! replaces a file", _save),
    Command("save!", "PATH", "", _save_over),
    Command("load", "PATH", "go on with a talk that was kept as .json", _load),
    Command("reset", "", "forget the talk", _reset),
    Command("help", "", "this", _help),
    Command("quit", "", "leave (or Ctrl+D); Ctrl+C stops an answer", _quit),
    Command("exit", "", "", _quit),
    Command("stop", "TEXT", "", _stop),
    Command("seed", "N", "", _seed),
    *(Command(each.name, "VALUE", "", each.obey) for each in SETTINGS),
)  # fmt: skip


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SettingsError(f"{inert(text)!r} is not a number") from None


def _switch(text: str) -> bool:
    if text.lower() not in ("on", "off"):
        raise SettingsError(f"it is on or off, not {inert(text)!r}")
    return text.lower() == "on"


def _path(text: str, command: str) -> Path:
    if not text:
        raise SettingsError(f"{command} needs the path of a file")
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~somebody whose home is not known
        return Path(text)


def _told(value: object) -> str:
    """A setting's value as it would be typed."""
    if value is None:
        return "off"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _text(text: str) -> str:
    return inert(repr(text)) if text else "nothing"


def _texts(texts: tuple[str, ...]) -> str:
    return ", ".join(map(_text, texts)) or "off"


def completions(beginning: str) -> list[str]:
    """Commands that begin like this, for the Tab key."""
    names = (f"/{command.name}" for command in COMMANDS)
    return sorted(name for name in names if name.startswith(beginning))
