"""The picture of every operation."""

import numpy as np
from PIL import Image

from efficient_jax.explore import preview
from efficient_jax.report import catalogue
from tests.commands.launch import ROOT

STORED = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((1, 80, 80, 3), np.uint8)


def test_the_committed_picture_has_every_operation_and_is_small():
    path = ROOT / "efficient_jax/augment" / catalogue.NAME
    assert sorted(catalogue.names(path)) == sorted(preview.OPERATIONS)
    assert path.stat().st_size < 300_000


def test_each_form_is_beside_the_other_and_the_names_are_in_the_description(tmp_path):
    """The example is an even one, of a middling change: 0, 40, 80 and 120 levels."""
    strongest = STORED + 20 * np.arange(8, dtype=np.uint8)[:, None, None, None]
    sheet = {form: {"image": image} for form, image in (("as stored", STORED), ("a", STORED + 200), ("b", strongest))}
    operations = {"color": {"one": sheet, "two": sheet}, "others": {"three": {n: sheet[n] for n in ("as stored", "a")}}}
    picture = catalogue.drawn(operations)
    top, left = catalogue.HEADING + catalogue.LINE, catalogue.GAP
    assert (picture[top : top + 80, left : left + 80] == 200 + 4).all()
    assert (picture[top : top + 80, left + 82 : left + 162] == 4 + 80).all()
    path = catalogue.write(tmp_path, operations)
    assert catalogue.names(path) == ["one", "two", "three"]
    with Image.open(path) as image:
        assert image.size == picture.shape[1::-1]
    assert [each.name for each in tmp_path.iterdir()] == ["operations.webp"]
