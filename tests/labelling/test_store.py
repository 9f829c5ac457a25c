"""What is on disk: the log loses nothing, the table follows from it."""

import csv
import errno
import json
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from PIL import Image

from efficient_jax.data.sources import SOURCES
from efficient_jax.errors import UserError
from efficient_jax.labelling.answers import Event
from efficient_jax.labelling.store import Store
from tests.commands.launch import begin
from tests.labelling.test_answers import FILES, played, steps

# "dog" becomes the first column; the second answer names it last.
NOT_IN_ORDER = [("label", "a", "anna", "1", labels) for labels in (("dog",), ("cat", "dog"))]
NAMES = ("plain.jpg", " space first.jpg", "in side/ä ö.jpg", "🐈 cat.jpg", 'quote",;|.jpg', "-1")


def answer(number, file="a", kind="label", labels=("cat",), who="anna", time="", tab="1"):
    return Event(str(number), time or f"time {number}", who, tab, kind, file, labels if kind == "label" else ())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def opened(path: Path, several=False) -> Store:
    store = Store(path, several)
    store.close()
    return store


def test_the_table_says_what_was_answered(tmp_path):
    store = Store(tmp_path / "labels.csv", False)
    for number, (kind, file) in enumerate(
        (("label", "b"), ("none", "c"), ("unsure", "d"), ("skip", "e"), ("label", "a"))
    ):
        store.add(answer(number, file, kind))
    store.add(answer(9, "d", labels=("dog",), who="ben"))
    store.close()
    keys = ("file", "label", "answer", "who", "time", "said")
    assert [tuple(row[key] for key in keys) for row in rows(tmp_path / "labels.csv")] == [
        ("a", "cat", "label", "anna", "time 4", "anna: cat"),
        ("b", "cat", "label", "anna", "time 0", "anna: cat"),
        ("c", "", "none", "anna", "time 1", "anna: none"),
        ("d", "dog", "label", "ben", "time 9", "anna: unsure; ben: dog"),
    ]


@pytest.mark.parametrize("several", [False, True])
def test_the_source_table_reads_it(several, tmp_path):
    for name in NAMES[:-1]:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / name)
    store = Store(tmp_path / "labels.csv", several)
    store.add(Event("c", "t", "anna", "", "class", labels=("cat", "dog")))
    given = [("cat",), ("dog",), ("cat", "dog") if several else ("dog",)]
    store.add(*(answer(i, NAMES[i], labels=labels) for i, labels in enumerate(given)))
    store.add(answer(3, NAMES[3], "none"), answer(4, NAMES[4], "unsure"))
    store.close()
    settings = {"labels": ("cat", "dog")} if several else {}
    source = SOURCES["table"](path=str(tmp_path / "labels.csv"), folder=str(tmp_path / "images"), size=8, **settings)
    found = {
        Path(name).relative_to(tmp_path / "images").as_posix(): label
        for name, label in zip(source.names, source.labels.tolist(), strict=True)
    }
    if several:
        assert found == dict(zip(NAMES, ([1, 0], [0, 1], [1, 1], [0, 0], [-1, -1]), strict=False))
    else:
        assert found == dict(zip(NAMES, (0, 1, 1, -1, -1), strict=False))


@example(steps=NOT_IN_ORDER)
@given(steps=steps)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_what_is_read_again_is_what_was_written(steps, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "labels.csv"
    expected, standing = played(steps)
    store = Store(path, True)
    for number, step in enumerate(steps):
        if isinstance(step, str):
            if last := store.answers.last(step, lambda _: False):
                store.add(Event(str(number), "", "", step, "undo", of=last.id))
        else:
            kind, file, who, tab, labels = step
            store.add(answer(number, file, kind, labels, who, tab=tab))
    before = path.read_text()
    store.close()
    again = opened(path, True)
    assert list(again.answers.standing.values()) == standing
    assert {file: again.answers.outcomes.get(file) for file in FILES} == {f: expected.outcomes.get(f) for f in FILES}
    assert path.read_text() == before


def test_a_log_that_is_cut_anywhere_is_that_of_before(tmp_path):
    path = tmp_path / "labels.csv"
    store = Store(path, False)
    for number in range(3):
        store.add(answer(number, f"{number}", labels=("ö",)))
    store.close()
    whole = path.with_suffix(".jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for size in sorted(
        {*range(0, len(whole), 40), *(end + d for end in ends for d in (-2, -1, 0, 1))} - {len(whole) + 1}
    ):
        path.unlink(missing_ok=True)
        path.with_suffix(".jsonl").write_bytes(whole[:size])
        store = Store(path, False)
        complete = max((whole[:size] + b"\n" * (whole[size : size + 1] == b"\n")).count(b"\n") - 1, 0)
        assert [row["file"] for row in rows(path)] == [str(i) for i in range(complete)]
        store.add(answer(9, "z"))
        store.close()
        assert [row["file"] for row in rows(path)] == [*(str(i) for i in range(complete)), "z"]


KILLED = """
import sys
from pathlib import Path
from efficient_jax.labelling.answers import Event
from efficient_jax.labelling.store import Store
who = sys.argv[2]
store = Store(Path(sys.argv[1]), False)
for number in range(10_000):
    store.add(Event(f"{who} {number}", f"{who} {number}", who, who, "label", f"{who} {number}.jpg", ("cat",)))
    print(f"{who} {number}.jpg", flush=True)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    """Two processes write into one log and are killed in the middle, twice."""
    path, acknowledged = tmp_path / "labels.csv", set()
    for turn in range(2):
        command = [sys.executable, "-c", KILLED, str(path)]
        processes = [begin(*command, f"{who}{turn}") for who in ("anna", "ben")]
        for process in processes:
            for _ in range(5 + 3 * turn):
                acknowledged.add(process.stdout.readline().strip())
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
            acknowledged |= {
                line.strip() for line in process.communicate()[0].splitlines(keepends=True) if line.endswith("\n")
            }
        opened(path)
        assert acknowledged <= {row["file"] for row in rows(path)}
        assert {row["label"] for row in rows(path)} == {"cat"}
    assert len(acknowledged) > 20


def test_the_table_of_a_process_that_was_killed_before_it_was_replaced_is_not_taken_for_an_edit(tmp_path):
    path = tmp_path / "labels.csv"
    store = Store(path, False)
    store.add(answer(1, labels=("cat",)))
    first = path.read_bytes()
    store.add(answer(2, labels=("dog",)))
    second = path.read_bytes()
    store.add(Event("3", "time 3", "anna", "1", "undo", of="2"))
    third = path.read_bytes()
    store.add(Event("4", "time 4", "anna", "1", "undo", of="1"))
    store.close()
    for stale in (first, second, third):
        path.write_bytes(stale)
        opened(path)
        assert rows(path) == []


def test_what_somebody_has_written_into_the_table_is_kept(tmp_path):
    path = tmp_path / "labels.csv"
    store = Store(path, False)
    store.add(*(answer(i, f"{i}") for i in range(3)))
    store.close()
    text = path.read_text().replace("0,cat", "0,dog").replace("1,cat", "1,") + "new,bird,,,,,\n"
    path.write_text(text)
    opened(path)
    assert [(row["file"], row["label"], row["who"]) for row in rows(path)] == [
        ("0", "dog", "labels.csv"),
        ("2", "cat", "anna"),
        ("new", "bird", "labels.csv"),
    ]


def test_a_table_of_another_program_is_added_to_and_kept_beside(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file;group;label\na.jpg;1;cat\nb.jpg;2;\n")
    opened(path)
    assert [(row["file"], row["label"]) for row in rows(path)] == [("a.jpg", "cat")]
    assert path.with_suffix(".before.csv").read_text() == "file;group;label\na.jpg;1;cat\nb.jpg;2;\n"
    before = path.read_text()
    opened(path)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("log", "content", "message"),
    [
        ("", "image,class\na,b\n", "has the columns image, class"),
        ('{"version": 2}\n', "", "no log of this version"),
        ("something else\n", "", "no log of the labelling page"),
        ('{"version": 1, "several": true}\n', "", "several labels for an image; add --several"),
        (
            '{"version": 1, "several": false}\n{"kind": "new", "id": "1", "time": "", "who": "", "tab": ""}\n',
            "",
            "newer version",
        ),
        ('{"version": 1, "several": false}\n{"text": 1}\n', "", "is no answer"),
    ],
)
def test_other_files_are_not_written_to(log, content, message, tmp_path):
    path = tmp_path / "labels.csv"
    for file, text in ((path, content), (path.with_suffix(".jsonl"), log)):
        if text:
            file.write_text(text)
    with pytest.raises(UserError, match=message):
        Store(path, False)
    assert not content or path.read_text() == content
    assert not log or path.with_suffix(".jsonl").read_text() == log


def test_a_full_disk_changes_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path / "labels.csv", False)
    store.add(answer(1))
    before, write = store.log.read_bytes(), os.write

    def full(descriptor, content):
        write(descriptor, content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            store.add(answer(2))
    assert store.log.read_bytes() == before
    assert list(store.answers.outcomes) == ["a"]
    store.add(answer(3, "b"))
    assert [row["file"] for row in rows(store.table)] == ["a", "b"]
    store.close()


def test_threads_and_stores_of_one_log_lose_nothing(tmp_path):
    stores = [Store(tmp_path / "labels.csv", False) for _ in range(2)]

    def work(part):
        for number in range(10):
            stores[part % 2].add(answer(f"{part} {number}", f"{part} {number}", who=str(part)))

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.catch_up()
        assert len(store.answers.outcomes) == 40
        store.close()
    assert len(rows(tmp_path / "labels.csv")) == 40


def test_the_log_says_who_when_and_what(tmp_path):
    store = Store(tmp_path / "labels.csv", False)
    store.add(answer(1, "ä.jpg"))
    store.close()
    _, line = store.log.read_text().splitlines()
    assert json.loads(line) == {
        "id": "1",
        "time": "time 1",
        "who": "anna",
        "tab": "1",
        "kind": "label",
        "file": "ä.jpg",
        "labels": ["cat"],
    }
