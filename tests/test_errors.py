"""A number and its noun agree in everything that a person reads."""

import re

import numpy as np
import pytest
from PIL import Image

from efficient_jax.commands.predict import predict
from efficient_jax.data import decode
from efficient_jax.data.framing import Framing
from efficient_jax.errors import counted

NOUNS = "images|files|rows|lines|labels|classes|boxes|members|trials|arrays|objects|ids|points|columns|groups"
ONE_OF_MANY = re.compile(rf"(?<![\d.,])1 (?:\w+ )?(?:{NOUNS})\b")
COUNTS = [(0, "0 images"), (1, "1 image"), (np.int64(1), "1 image"), (2, "2 images"), (1200, "1,200 images")]


@pytest.mark.parametrize(("number", "said"), COUNTS)
def test_a_number_and_its_noun(number, said):
    assert counted(number, "image") == said


def test_another_plural_and_a_verb():
    assert [counted(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]
    assert [counted(n, "image is", "images are") for n in (1, 2)] == ["1 image is", "2 images are"]


def test_what_is_said_of_one_image(teacher, tmp_path, capsys):
    folder = tmp_path / "one"
    folder.mkdir()
    Image.new("L", (9, 9), 30).save(folder / "a.png")
    (folder / "b.jpg").write_bytes(b"no image")
    predict(members=str(teacher), images=str(folder), out=str(tmp_path / "p.csv"))
    said = capsys.readouterr().out
    assert "1 image: " in said
    assert "1 unreadable image: " in said
    assert not ONE_OF_MANY.search(said)


@pytest.mark.parametrize(
    ("number", "said"), [(1, "1 of 3 images was gray: repeated in three channels"), (2, "2 of 3 images were gray: rep")]
)
def test_the_verb_of_what_was_changed_agrees(number, said):
    stored = [np.full((4, 4), 9, np.uint8)] * number + [np.full((4, 4, 3), 9, np.uint8)] * (3 - number)
    (note,) = decode.decode_all(stored.__getitem__, 3, Framing(4)).notes
    assert note.startswith(said)
