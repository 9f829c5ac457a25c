"""From a folder without labels to the split of a run: what select, label and train tell each other in tables."""

import uuid
from pathlib import Path

import pytest

from efficient_jax.commands import flags
from efficient_jax.commands.label import _order
from efficient_jax.commands.select import select
from efficient_jax.data.dataset import HELD_OUT
from efficient_jax.errors import UserError
from efficient_jax.experiment.config import plan
from efficient_jax.experiment.dataset import load_data
from efficient_jax.explore import features
from efficient_jax.labelling.images import listed
from efficient_jax.labelling.queue import Queue
from efficient_jax.labelling.session import Session, part_events, start
from efficient_jax.labelling.store import Store
from tests.commands.test_select import noise

COLORS = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """40 images of three colors, and one that cannot be read; without a pretrained network."""

    def absent():
        raise UserError("not installed")

    monkeypatch.setattr(features, "lite0_network", absent)
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(40):
        noise(i % 3, i).save(folder / f"{i:02d}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def answered(folder: Path, order: Path, table: Path, unsure: int) -> None:
    """Labels the images of an order as `label` does; the first and the last few of them are no clear cases."""
    images = listed(str(folder), "--images")[0]
    parts = _order(images, str(order))
    store = Store(table, False, set(images.names))
    start(store, COLORS, "anna")
    drawn = [images.names[index] for index, part in parts.items() if part in HELD_OUT]
    store.add(*part_events(store, drawn, "test", "anna"))
    selected = [index for index, part in parts.items() if part not in HELD_OUT]
    work = Session(images, store, Queue([*parts], selected=selected), "anna")
    for number, index in enumerate(parts):
        clear = unsure <= number < len(parts) - unsure
        kind = "label" if clear else "unsure" if number < unsure else "none"
        names = [COLORS[int(images.names[index][:2]) % 3]] if clear else []
        answer = {"id": uuid.uuid4().hex, "index": index, "kind": kind, "labels": names}
        work.call("answer", {"tab": "1", "answers": [answer]})
    store.close()


def test_the_run_tests_on_the_draw_and_learns_from_the_rest(folder, tmp_path, capsys):
    order, table = tmp_path / "to_label.csv", tmp_path / "labels.csv"
    select(images=str(folder), count=7, out=str(order))
    answered(folder, order, table, unsure=1)
    config = flags.parse("train", [f"--images={folder}", f"--labels={table}"])["config"]
    source, split = load_data(plan(config.to_dict()))
    names = {part: {Path(source.names[i]).name for i in rows} for part, rows in split.items()}
    rows = [line.split(",")[:3] for line in order.read_text().splitlines()[1:]]
    tests, selected = ([file for file, _, part in rows if part == of] for of in ("test", "selected"))
    assert (len(tests), len(selected)) == (8, 7)
    assert names["test"] == {*tests[1:]}  # one of which nobody was sure
    assert names["labelled"] == {*selected[:-1]}  # one is of none of the colors
    assert names["unlabelled"] == {f"{i:02d}.png" for i in range(40)} - {*tests, *selected}
    assert {Path(source.names[i]).name for i in source.fixed["selected"]} == names["labelled"]
    assert "7 test images in the table" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UserError, match=r"config\.data\.validation: 3 asked, but 6 of 6 labelled images were selected"):
        load_data(plan(config.to_dict() | {"data": config.data.to_dict() | {"validation": 3}}))
