"""What of the cache may go: prepared corpora that no run refers to."""

import json
from pathlib import Path

from tinychat.text import remove_cache, unused_caches


def test_only_what_nobody_refers_to_is_unused(tmp_path: Path) -> None:
    assert unused_caches(tmp_path / "nowhere", set()) == []
    for name, fingerprint in (("aa", "one"), ("bb", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.bin").write_bytes(bytes(1000))
        (tmp_path / name / "corpus.json").write_text(json.dumps({"fingerprint": fingerprint}))
    for name in (".work-cc", "letters", ".tmp-dd"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(bytes(10))
    (tmp_path / "ee").mkdir()
    (tmp_path / "ee" / "corpus.json").write_text("[]")
    found = unused_caches(tmp_path, {"two"})
    assert [(each.path.name, each.kind) for each in found] == [
        (".tmp-dd", "leftover"), ("aa", "corpus"),
    ]  # fmt: skip
    size = (tmp_path / "aa" / "corpus.json").stat().st_size + 1000
    assert [each.size_bytes for each in found] == [10, size]
    for each in found:
        remove_cache(each)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".work-cc", "bb", "ee", "letters"]
