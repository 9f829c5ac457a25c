"""What preview shows is what augmentation does."""

import inspect

import jax
import numpy as np
import pytest

from efficient_jax import augment, keys
from efficient_jax.errors import UserError
from efficient_jax.experiment.config import plan
from efficient_jax.explore import demonstration, preview
from efficient_jax.explore.strengths import DOCUMENTS, GEOMETRY, KINDS, STRENGTHS, Strengths
from tests.experiment.plans import changed

RNG = np.random.default_rng(0)
DATA = {"image": RNG.integers(0, 256, (4, 10, 10, 1), np.uint8), "label": np.eye(4, dtype=np.float32)}


def operations(data, key):
    with preview.drawing(data, key) as drawn:
        return drawn()


@pytest.fixture
def only(monkeypatch):
    """Leaves these operations in the catalogue, and in the table no more than what is given."""

    def leave(*names, table):
        monkeypatch.setattr(preview, "OPERATIONS", {name: preview.OPERATIONS[name] for name in names})
        monkeypatch.setattr(preview, "STRENGTHS", {name: STRENGTHS[name] for name in table})

    return leave


def test_steps_are_the_settings_of_the_table():
    several = Strengths(GEOMETRY, ("x", "y"), (0.1, 0.2), {"fill": 0.5})
    assert several.steps() == {
        "x, y 0.1": {"x": 0.1, "y": 0.1, "fill": 0.5},
        "x, y 0.2": {"x": 0.2, "y": 0.2, "fill": 0.5},
    }
    assert Strengths(GEOMETRY).steps() == {"default": {}}


def test_the_catalogue_has_every_operation_at_its_default_and_its_strongest():
    assert set(preview.OPERATIONS) == set(augment.OPS | augment.MIXES | augment.CHOICES) | {"document"}
    assert all(set(preview.ends(name)) <= {"default", "strongest"} for name in preview.OPERATIONS)
    assert preview.ends("jpeg") == {
        "default": {"quality_min": 30, "quality_max": 95},
        "strongest": {"quality_min": 5, "quality_max": 5},
    }
    # Without a default, and where the default changes nothing, the middle strength stands for it.
    assert preview.ends("brightness") == {"default": {"strength": 0.5}, "strongest": {"strength": 0.9}}
    assert (
        preview.ends("color_jitter")["default"]
        == STRENGTHS["color_jitter"].steps()["brightness, contrast, saturation 0.4"]
    )
    assert preview.ends("cutmix") == {"default": {"alpha": 1.0}}  # the default is the strongest


def test_operations_that_name_others_are_applied_as_a_config_applies_them(key, only):
    only("sequence", table=("sequence",))
    (found,) = operations(DATA | {"image": RNG.integers(0, 256, (4, 10, 10, 3), np.uint8)}, key)["choosing"].values()
    stored, seen = (found[heading]["image"].astype(int) for heading in ("as stored", "default"))
    assert (seen == seen[..., :1]).all()
    luma = 255 - stored @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(seen[..., 0], luma, atol=1)


def test_the_table_gives_every_operation_what_it_needs():
    for name, op in (augment.OPS | augment.MIXES).items():
        parameters = inspect.signature(op).parameters
        needed = {key for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
        for settings in STRENGTHS[name].steps().values() if name in STRENGTHS else [{}]:
            assert needed <= settings.keys() <= parameters.keys(), name


def test_every_kind_has_a_section():
    assert {each.kind for each in STRENGTHS.values()} <= set(KINDS)


def test_every_operation_is_shown_one_that_is_not_in_the_table_as_it_is_by_default(key, only):
    only("flip", "brightness", "mixup", table=("brightness", "mixup"))
    found = operations(DATA, key)
    assert {kind: list(each) for kind, each in found.items()} == {
        "color": ["brightness"],
        "mixing": ["mixup"],
        "others": ["flip"],
    }
    assert list(found["others"]["flip"]) == ["as stored", "default"]
    assert list(found["color"]["brightness"]) == ["as stored", "strength 0.2", "strength 0.5", "strength 0.9"]


def test_colours_are_shown_on_the_data_or_on_images_that_have_some(key, only):
    only("brightness", "saturation", table=("brightness", "saturation"))
    found = operations(DATA, key)["color"]
    np.testing.assert_array_equal(found["brightness"]["as stored"]["image"], DATA["image"])
    assert found["saturation"]["as stored"]["image"].shape[-1] == 3
    assert (found["saturation"]["strength 0.9"]["image"] != found["saturation"]["as stored"]["image"]).any()


def test_an_operation_that_takes_no_boxes_is_shown_on_the_data(key, only):
    only("cutmix", table=("cutmix",))
    (columns,) = operations(DATA, key)["mixing"].values()
    assert "boxes" not in columns["as stored"]
    np.testing.assert_array_equal(columns["as stored"]["image"], DATA["image"])


def test_an_operation_that_fails_on_everything_is_said(key, only, monkeypatch):
    only("cutout", table=())
    monkeypatch.setattr(preview, "STRENGTHS", {"cutout": Strengths(GEOMETRY, ("size",), (0,))})
    with pytest.raises(UserError, match="cutout: size 0"):
        operations(DATA, key)


def test_boxes_of_the_photographs_move_with_the_image(key):
    columns = preview.columns("flip", {"probability 1.0": {"probability": 1.0}}, demonstration.photographs(), key)
    before, after = columns["as stored"], columns["probability 1.0"]
    np.testing.assert_array_equal(after["image"], before["image"][:, :, ::-1])
    np.testing.assert_allclose(after["boxes"][..., 0], demonstration.WIDTH - before["boxes"][..., 2], atol=1e-3)


def test_the_draws_are_the_same_at_every_strength(key):
    steps = Strengths(GEOMETRY, ("x", "y"), (0.1, 0.2)).steps()
    columns = preview.columns("translate", steps, demonstration.photographs(), key)
    stored, weak, strong = (batch["keypoints"] for batch in columns.values())
    np.testing.assert_allclose(strong - stored, 2 * (weak - stored), atol=1e-3)


def test_draws_are_those_of_the_pipeline(key):
    """Version v of image i is what a batch with it at position v * n + i would hold."""
    pipeline = plan(changed("first.augment", {"ops": ("rotate", "mixup"), "mixup": {"alpha": 1.0}})).stages[0].augment
    seen = preview.draws(pipeline, DATA, key, versions=3)["image"]
    assert seen.shape == (4, 3, 10, 10, 1)
    assert seen.dtype == np.uint8
    batch = {name: np.concatenate([values] * 3) for name, values in DATA.items()}
    whole = jax.jit(pipeline)(keys.by_position(key, 0, 12), batch)["image"]
    np.testing.assert_allclose(seen[2, 1], np.round(255 * whole[4 + 2]), atol=1)
    assert len({version.tobytes() for version in seen[0]}) == 3


def test_photographs_hold_the_shapes_that_their_targets_say():
    for i in range(4):
        each = {name: values[i] for name, values in demonstration.photographs().items()}
        for number, ((left, top, right, bottom), shape) in enumerate(
            zip(each["boxes"].astype(int), each["box_mask"], strict=True)
        ):
            assert (each["image"][shape] == demonstration.COLORS[number]).all()
            assert (each["mask"][shape] == number + 1).all()
            window = np.zeros_like(shape)
            window[top:bottom, left:right] = True
            assert (shape <= window).all()
            sides = (shape[top], shape[bottom - 1], shape[:, left], shape[:, right - 1])
            assert all(side.any() for side in sides)
        assert (each["mask"] > 0).sum() == each["box_mask"].sum()  # they do not overlap
        for x, y in each["keypoints"].astype(int):
            assert each["mask"][y, x] > 0


def test_pages_hold_type_inside_their_boxes():
    pages = demonstration.page()
    ink = pages["image"].min(-1) < 128
    for page, boxes in zip(ink, pages["boxes"].astype(int), strict=True):
        for left, top, right, bottom in boxes:
            assert page[top:bottom, left:right].any()
            page[top:bottom, left:right] = False
        assert not page.any()


def test_documents_are_shown_on_a_page():
    assert all(STRENGTHS[name].kind == DOCUMENTS for name in ("fading", "blot", "texture", "document_scan"))
