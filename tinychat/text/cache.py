"""Prepared corpora that no run refers to: what may go from the cache, and can be made again."""

import json
import os
import secrets
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tinychat.text.work import TEMPORARY


@dataclass(frozen=True)
class UnusedCache:
    """A folder of the cache that may go."""

    path: Path
    size_bytes: int
    kind: str  # "corpus", or "leftover" of a removal that was interrupted


def unused_caches(cache: Path, fingerprints: Collection[str]) -> list[UnusedCache]:
    """The prepared corpora with none of these fingerprints. Work that is not finished stays."""
    found = []
    for path in sorted(cache.glob("*")):
        if path.name.startswith(TEMPORARY):
            found.append(UnusedCache(path, _size(path), "leftover"))
        elif (fingerprint := _fingerprint(path)) and fingerprint not in fingerprints:
            found.append(UnusedCache(path, _size(path), "corpus"))
    return found


def remove_cache(unused: UnusedCache) -> None:
    """Remove it; killed meanwhile, it leaves a name that nobody takes for a corpus."""
    gone = unused.path
    if not gone.name.startswith(TEMPORARY):
        gone = gone.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        unused.path.rename(gone)
    shutil.rmtree(gone)


def _fingerprint(folder: Path) -> str | None:
    try:
        told = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return told if isinstance(told, str) else None


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:  # removed just now
                continue
    return total
