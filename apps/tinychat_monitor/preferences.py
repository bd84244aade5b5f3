"""What the monitor remembers of a person between two sessions: the theme, nothing else."""

import json
from pathlib import Path

import platformdirs

_FILE = "monitor.json"


def remembered_theme() -> str | None:
    """The theme of last time; None if there is none, or the file cannot be read."""
    try:
        kept = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = kept.get("theme") if isinstance(kept, dict) else None
    return name if isinstance(name, str) else None


def remember_theme(name: str) -> None:
    """Keep a theme for next time; where nothing can be written, nothing is remembered."""
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps({"theme": name}) + "\n", encoding="utf-8")
        aside.replace(path)
    except OSError:
        pass


def _path() -> Path:
    return platformdirs.user_config_path("tinychat") / _FILE
