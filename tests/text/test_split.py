from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinychat.config import DataSettings
from tinychat.errors import DataError
from tinychat.text import Conversation, Corpus
from tinychat.text.items import Piece
from tinychat.text.split import Survey, sided_items, survey

Write = Callable[..., Path]


def scan(*paths: Path) -> Corpus:
    return Corpus.scan(DataSettings(paths=tuple(map(str, paths))))


def divide(*paths: Path, seed: int = 0, share: float = 0.1) -> tuple[dict[str, list[str]], Survey]:
    """The texts of each side (of conversations: the first question)."""
    corpus = scan(*paths)
    found = survey(corpus, DataSettings(validation_share=share), seed=seed)
    texts: dict[str, list[str]] = {"train": [], "valid": []}
    for side, item in sided_items(corpus, found):
        if isinstance(item, Conversation):
            texts[side].append(item.messages[0].content)
        elif item.first:
            texts[side].append(item.text)
        else:
            texts[side][-1] += item.text
    assert len(texts["train"]) == found.train_documents
    assert len(texts["valid"]) == found.valid_documents
    return texts, found


def text_file(path: Path, documents: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    return path


def pair(question: str) -> dict[str, str]:
    return {"prompt": question, "completion": "answer"}


def test_about_a_tenth_of_many_documents_is_for_validation(tmp_path: Path) -> None:
    texts, found = divide(text_file(tmp_path / "a.txt", [f"story {i}" for i in range(2000)]))
    assert 150 < len(texts["valid"]) < 250
    assert sorted(texts["train"] + texts["valid"]) == sorted(f"story {i}" for i in range(2000))
    assert "10%" in found.rule


def test_the_side_depends_on_content_and_seed_only(tmp_path: Path, write_jsonl: Write) -> None:
    stories = [f"story {i}" for i in range(300)]
    first, _ = divide(text_file(tmp_path / "a.txt", stories))
    backwards, _ = divide(text_file(tmp_path / "b.txt", stories[::-1]))
    as_json, _ = divide(write_jsonl("c.jsonl", [{"text": s} for s in stories]))
    other_seed, _ = divide(tmp_path / "a.txt", seed=1)
    assert sorted(first["valid"]) == sorted(backwards["valid"]) == sorted(as_json["valid"])
    assert first["valid"] != other_seed["valid"]


def test_equal_documents_are_on_one_side(tmp_path: Path) -> None:
    stories = [f"story {i % 60}" for i in range(600)]
    texts, _ = divide(text_file(tmp_path / "a.txt", stories))
    assert not set(texts["train"]) & set(texts["valid"])


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(st.integers(0, 40), min_size=10, max_size=60),
    seed=st.integers(0, 100),
    share=st.floats(0.01, 0.5),
)
def test_content_split_holds_for_any_documents(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], seed: int, share: float
) -> None:
    path = text_file(tmp_path_factory.mktemp("x") / "a.txt", [f"story {n}" for n in numbers])
    try:
        texts, _ = divide(path, seed=seed, share=share)
    except DataError:
        assert len(set(numbers)) < len(numbers)  # only where equal ones fill one side
        return
    assert texts["train"]
    assert texts["valid"]
    assert not set(texts["train"]) & set(texts["valid"])
    assert sorted(texts["train"] + texts["valid"]) == sorted(f"story {n}" for n in numbers)


def test_at_least_one_document_is_for_validation(tmp_path: Path) -> None:
    texts, _ = divide(text_file(tmp_path / "a.txt", [str(i) for i in range(10)]), share=0.0001)
    assert len(texts["valid"]) == 1


def test_documents_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="are the same"):
        divide(text_file(tmp_path / "a.txt", ["same"] * 20))


# --- few documents ----------------------------------------------------------------------------


@pytest.mark.parametrize("length", [10, 11, 999, 1000, 300_001])
def test_one_text_is_cut_at_the_same_character_as_nanogpt_does(tmp_path: Path, length: int) -> None:
    text = ("naïve 日本 text\n" * length)[:length].strip().ljust(length, ".")
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    texts, _ = divide(path)
    assert texts == {"train": [text[: int(length * 0.9)]], "valid": [text[int(length * 0.9) :]]}


def test_few_documents_are_cut_as_one_text(tmp_path: Path) -> None:
    documents = ["a" * 40, "b" * 40, "c" * 20]
    texts, found = divide(text_file(tmp_path / "a.txt", documents), share=0.5)
    assert texts["train"] == ["a" * 40, "b" * 10]
    assert texts["valid"] == ["b" * 30, "c" * 20]
    assert "characters" in found.rule
    at_a_boundary, _ = divide(tmp_path / "a.txt", share=0.2)
    assert at_a_boundary["train"] == ["a" * 40, "b" * 40]
    assert at_a_boundary["valid"] == ["c" * 20]


def test_each_source_is_divided_by_itself(tmp_path: Path) -> None:
    many = text_file(tmp_path / "many.txt", [f"story {i}" for i in range(200)])
    one = text_file(tmp_path / "one.txt", ["x" * 1000])
    texts, found = divide(many, one)
    assert "x" * 900 in texts["train"]
    assert "x" * 100 in texts["valid"]
    assert len(found.splits) == 2


@pytest.mark.parametrize(("count", "valid"), [(2, 1), (3, 1), (9, 1)])
def test_few_conversations_stay_whole(write_jsonl: Write, count: int, valid: int) -> None:
    questions = [f"q{i}" for i in range(count)]
    texts, _ = divide(write_jsonl("a.jsonl", [pair(q) for q in questions]))
    assert texts == {"train": questions[:-valid], "valid": questions[-valid:]}


def test_a_single_conversation_is_refused(write_jsonl: Write) -> None:
    with pytest.raises(DataError, match="single conversation"):
        divide(write_jsonl("a.jsonl", [pair("q")]))


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(DataError, match="holds no text"):
        divide(tmp_path / "a.txt")


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("valid", ["valid", "val", "validation", "VALID", "test"])
def test_files_named_train_and_valid_are_taken_as_they_are(
    write_jsonl: Write, tmp_path: Path, valid: str
) -> None:
    write_jsonl("set/train.jsonl", [pair(f"t{i}") for i in range(30)])
    write_jsonl(f"set/{valid}.jsonl", [pair("v0"), pair("v1")])
    texts, found = divide(tmp_path / "set")
    assert len(texts["train"]) == 30
    assert texts["valid"] == ["v0", "v1"]
    assert "named" in found.rule


def test_folders_and_paths_may_carry_the_names(tmp_path: Path) -> None:
    for side in ("train", "val"):
        for i in range(3):
            text_file(tmp_path / "set" / side / "deep" / f"{i}.txt", [f"{side} {i}"])
    texts, _ = divide(tmp_path / "set")
    assert texts["valid"] == ["val 0", "val 1", "val 2"]
    assert divide(tmp_path / "set" / "train", tmp_path / "set" / "val")[0] == texts


def test_a_test_file_beside_a_validation_file_is_left_out(
    write_jsonl: Write, tmp_path: Path
) -> None:
    for name in ("train", "valid", "test"):
        write_jsonl(f"set/{name}.jsonl", [pair(name)])
    (tmp_path / "set" / "README.md").write_text("about the set")
    texts, _ = divide(tmp_path / "set")
    assert texts == {"train": ["train"], "valid": ["valid"]}
    hints = " ".join(scan(tmp_path / "set").hints)
    assert "test.jsonl is left out" in hints
    assert "README.md is left out" in hints


def test_a_train_file_alone_is_divided(tmp_path: Path) -> None:
    path = text_file(tmp_path / "train.txt", ["x" * 100])
    texts, _ = divide(path)
    assert texts == {"train": ["x" * 90], "valid": ["x" * 10]}
    assert "train but never valid or test" in scan(path).hints[0]
    other = text_file(tmp_path / "wiki.valid.txt", ["x" * 100])
    assert "valid but never train" in scan(other).hints[0]


# --- the corpus -------------------------------------------------------------------------------


def test_a_folder_is_read_in_order_without_hidden_files_and_links(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/.hidden", ".git/x.txt", "c.txt"):
        text_file(tmp_path / "set" / name, [name])
    (tmp_path / "set" / "link.txt").symlink_to(tmp_path / "set" / "b.txt")
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    names = [Path(file.name).relative_to(tmp_path / "set") for file in
             scan(tmp_path / "set").files]  # fmt: skip
    assert [str(name) for name in names] == ["a/z.txt", "b.txt", "c.txt"]


def test_a_file_given_twice_is_read_once(tmp_path: Path) -> None:
    path = text_file(tmp_path / "set" / "a.txt", ["x" * 100])
    corpus = scan(path, tmp_path / "set" / ".." / "set" / "a.txt", tmp_path / "set")
    assert len(corpus.files) == 1
    assert len(corpus.hints) == 2
    survey(corpus, DataSettings(), seed=0)


def test_text_and_conversations_do_not_mix(tmp_path: Path, write_jsonl: Write) -> None:
    text = text_file(tmp_path / "a.txt", ["x"])
    with pytest.raises(DataError, match="one or the other"):
        scan(text, write_jsonl("b.jsonl", [pair("q")]))


def test_paths_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        scan(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no files"):
        scan(tmp_path / "empty")


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    first = text_file(tmp_path / "one" / "a.txt", ["x" * 100])
    second = text_file(tmp_path / "two" / "b.txt", ["x" * 100])
    third = text_file(tmp_path / "three" / "a.txt", ["x" * 99 + "y"])
    fingerprints = [scan(path).fingerprint for path in (first, second, third)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = text_file(tmp_path / "a.txt", ["x" * 100])
    corpus = scan(path)
    path.write_text("y" * 101)
    with pytest.raises(DataError, match="changed while"):
        survey(corpus, DataSettings(), seed=0)


@pytest.mark.parametrize(
    ("good", "bad", "refused"),
    [(100, 1, False), (100, 10, False), (100, 11, True), (1188, 12, False), (1187, 13, True),
     (0, 3, True)],
)  # fmt: skip
def test_many_bad_records_stop_the_reading(
    write_jsonl: Write, good: int, bad: int, refused: bool
) -> None:
    records = [pair(f"q{i}") for i in range(good)] + [{"prompt": "q", "completion": ""}] * bad
    corpus = scan(write_jsonl("a.jsonl", records))
    if refused:
        with pytest.raises(DataError, match=rf"{bad} of the .* records .* empty assistant"):
            survey(corpus, DataSettings(), seed=0)
        return
    found = survey(corpus, DataSettings(), seed=0)
    assert found.files[0].bad_records == bad
    assert len(found.files[0].bad_reasons) == min(bad, 3)


def test_a_large_document_comes_in_pieces_on_one_side(tmp_path: Path) -> None:
    stories = [f"story {i}\n" * 20_000 for i in range(10)]
    path = text_file(tmp_path / "a.txt", stories)
    corpus = scan(path)
    found = survey(corpus, DataSettings(validation_share=0.3), seed=0)
    items = [item for _, item in sided_items(corpus, found)]
    assert len(items) > 20
    assert all(isinstance(item, Piece) for item in items)
    texts, _ = divide(path, share=0.3)
    assert sorted(texts["train"] + texts["valid"]) == sorted(stories)


# --- no more than so many documents -----------------------------------------------------------


@pytest.mark.parametrize("most", [1, 5, 10, 30, 199])
def test_the_first_documents_are_read(tmp_path: Path, most: int) -> None:
    first = text_file(tmp_path / "a.txt", [f"story {i}\n" for i in range(100)])
    second = text_file(tmp_path / "b.txt", [f"tale {i}\n" for i in range(100)])
    corpus = scan(first, second)
    found = survey(corpus, DataSettings(max_documents=most), seed=0)
    items = [item for _, item in sided_items(corpus, found)]
    assert [report.documents for report in found.files] == [min(most, 100), max(most - 100, 0)]
    texts = "".join(item.text for item in items if isinstance(item, Piece)).split()
    stories = [f"story {i}" for i in range(100)] + [f"tale {i}" for i in range(100)]
    assert texts == " ".join(stories[:most]).split()


def test_of_named_sides_so_many_each(tmp_path: Path, write_jsonl: Write) -> None:
    write_jsonl("set/train.jsonl", [pair(f"t{i}") for i in range(30)])
    write_jsonl("set/valid.jsonl", [pair(f"v{i}") for i in range(30)])
    corpus = scan(tmp_path / "set")
    found = survey(corpus, DataSettings(max_documents=4), seed=0)
    assert (found.train_documents, found.valid_documents) == (4, 4)
    assert len(list(sided_items(corpus, found))) == 8


def test_counting_is_told_while_a_file_is_read(tmp_path: Path) -> None:
    path = text_file(tmp_path / "a.txt", [f"story {i} " * 50_000 for i in range(12)])
    told: list[int] = []
    survey(scan(path), DataSettings(), seed=0, progress=lambda _, done, __: told.append(done))
    assert len(told) > 4
    assert told == sorted(told)
    assert told[-1] == path.stat().st_size
