"""What stages learn from: streams, and the labels of people and teachers."""

import dataclasses
import io
import re

import jax
import numpy as np
import pytest
from PIL import Image

from efficient_jax.errors import UserError
from efficient_jax.experiment.stage import run_stage
from efficient_jax.experiment.targets import supervise
from efficient_jax.training.labels import on_host
from tests.tiny_run import SHAPE, prepared, run, shades, stage, stored


def vectors(supervision, classes=3):
    """The labels of all images as distributions."""
    return on_host(supervision.labels, classes)


def test_a_teacher_of_another_run_labels_the_pool(images, teacher, tmp_path):
    block = stage("noisy_student", teacher=str(teacher), pseudo_labels={"threshold": 0.0, "balance": False})
    (found,) = run(images, tmp_path, {"student": block})
    # 240 images less 30 of the test and 12 labelled; a person's label is known of 108
    assert found["pseudo_labels"] == {"pool": 198, "kept": 198, "known": 108, "right": 108, "classes_without": 0}


def test_a_threshold_that_nothing_reaches_stops_before_training(images, teacher, tmp_path):
    block = stage("noisy_student", teacher=str(teacher), pseudo_labels={"threshold": 0.999999})
    ready = prepared(images, tmp_path, {"s": block})
    with pytest.raises(UserError) as error:
        run_stage(ready.plan.stages[0], ready)
    message = r"config\.s\.pseudo_labels\.threshold: no image reaches 0\.999999; the highest confidence is 0\.\d+; "
    assert re.fullmatch(message + r"0\.\d\d would keep at least half of the images", str(error.value))
    assert not (tmp_path / "s" / "checkpoints").exists()


def test_an_interrupted_stage_takes_the_predictions_of_the_store(images, teacher, tmp_path):
    """Those that are there, of the same teacher: marked ones come back; with another's hash they are made anew."""
    block = stage("noisy_student", teacher=str(teacher), pseudo_labels={"threshold": 0.0, "balance": False})
    ready = prepared(images, tmp_path, {"s": block}, said := io.StringIO())
    (tmp_path / "s").mkdir()
    first = supervise(ready.plan.stages[0], ready)
    assert "are those of pseudo_labels.csv" not in said.getvalue()
    table, about = tmp_path / "s" / "pseudo_labels.csv", tmp_path / "s" / "pseudo_labels.json"
    again = supervise(ready.plan.stages[0], ready)
    assert f"s: predictions of {teacher} are those of pseudo_labels.csv" in said.getvalue()
    np.testing.assert_array_equal(vectors(again), vectors(first))
    np.testing.assert_array_equal(again.rows["unlabelled"], first.rows["unlabelled"])
    head, *lines = table.read_text().splitlines()
    table.write_text("\n".join([head, *(",".join([*line.split(",")[:-3], "1", "0", "0"]) for line in lines)]) + "\n")
    assert (vectors(supervise(ready.plan.stages[0], ready))[ready.data.split["unlabelled"]] == [1, 0, 0]).all()
    about.write_text(about.read_text().replace('"teacher_hash": "', '"teacher_hash": "0'))
    np.testing.assert_array_equal(vectors(supervise(ready.plan.stages[0], ready)), vectors(first))


def test_pseudo_labels_do_not_depend_on_the_number_of_devices(images, teacher, tmp_path):
    block = stage("noisy_student", teacher=str(teacher), pseudo_labels={"threshold": 0.0})
    found = []
    for devices in (1, 4):
        ready = prepared(images, tmp_path, {"s": block})
        data = dataclasses.replace(ready.data, devices=jax.devices()[:devices])
        ready = ready._replace(data=data, workdir=tmp_path / str(devices))
        (ready.workdir / "s").mkdir(parents=True)
        found.append(supervise(ready.plan.stages[0], ready))
    np.testing.assert_allclose(vectors(found[0]), vectors(found[1]), atol=1e-6)
    np.testing.assert_array_equal(found[0].rows["unlabelled"], found[1].rows["unlabelled"])


RARE = np.repeat([0, 1], [60, 20])


@pytest.fixture
def balanced(tmp_path):
    """A run with 54 and 18 labelled images of its classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (80, *SHAPE), np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=RARE)
    block = stage("supervised", batch={"labelled": 8, "balanced": True})
    return prepared(str(tmp_path / "a.npz"), tmp_path, {"s": block}, labels_per_class=0, test=8)


def test_rare_classes_come_as_often_as_others(balanced):
    rows = supervise(balanced.plan.stages[0], balanced).rows["labelled"]
    np.testing.assert_array_equal(np.bincount(RARE[rows]), [54, 54])
    np.testing.assert_array_equal(np.unique(rows), balanced.data.split["labelled"])


def test_an_index_takes_four_bytes(balanced):
    """Also where rows are repeated: there is one for each image of a stream."""
    rows = supervise(balanced.plan.stages[0], balanced).rows
    assert {array.dtype for array in [*rows.values(), *balanced.data.split.values()]} == {np.dtype(np.int32)}


def test_soft_labels_are_what_is_learned(tmp_path):
    rng = np.random.default_rng(0)
    soft = rng.dirichlet(np.ones(3), 90).astype(np.float32)
    np.savez(tmp_path / "a.npz", images=rng.integers(0, 256, (90, *SHAPE), np.uint8), soft_labels=soft)
    ready = prepared(str(tmp_path / "a.npz"), tmp_path, {"s": stage("supervised")}, test=9)
    ids = ready.data.split["labelled"]
    np.testing.assert_array_equal(np.bincount(soft[ids].argmax(1)), [4, 4, 4])
    np.testing.assert_array_equal(vectors(supervise(ready.plan.stages[0], ready))[ids], soft[ids])


CLASS_MAP = {"0": "dark", "1": "bright", "2": "bright"}


def test_a_class_map_makes_its_labels_those_of_the_student(two, teacher, tmp_path):
    labels = {"threshold": 0.0, "balance": False}
    block = stage("noisy_student", teacher=str(teacher), pseudo_labels=labels, class_map=CLASS_MAP)
    small = stage("distill", teacher=str(teacher), class_map=CLASS_MAP)
    found, _ = run(two, tmp_path, {"student": block, "small": small})
    # 240 images less 30 of the test and 8 labelled; a person's label is known of 112
    assert found["pseudo_labels"] == {"pool": 202, "kept": 202, "known": 112, "right": 112, "classes_without": 0}
    with pytest.raises(UserError, match=r"^config\.s\.class_map: no class of the teacher is mapped to 'dark'"):
        run(two, tmp_path / "wrong", {"s": small | {"class_map": dict.fromkeys("012", "bright")}})


def test_several_teachers_label_with_their_mean(images, teacher, tmp_path):
    labels = {"threshold": 0.0, "balance": False}
    blocks = {"other": stage("supervised", steps=4, model={"name": "mlp", "width": 8})}
    for name, teachers in (("a", (str(teacher),)), ("b", ("other",)), ("both", (str(teacher), "other"))):
        blocks[name] = stage("noisy_student", teachers=teachers, pseudo_labels=labels)
    blocks["small"] = stage("distill", teachers=(str(teacher), "other"))
    run(images, tmp_path, blocks)
    columns = [f"p({number})" for number in range(3)]
    a, b, both = (
        np.array([[float(row[c]) for c in columns] for row in stored(tmp_path / n)]) for n in ("a", "b", "both")
    )
    assert np.abs(a - b).max() > 0.1
    np.testing.assert_allclose(both, (a + b) / 2, atol=1e-6)


@pytest.fixture(scope="module")
def all_known(tmp_path_factory) -> str:
    return shades(tmp_path_factory.mktemp("known") / "images.npz", np.arange(240) % 3)


def test_omitted_classes_are_in_no_stream(all_known, teacher, tmp_path):
    block = stage(
        "noisy_student", teacher=str(teacher), omit=("1",), pseudo_labels={"threshold": 0.0, "balance": False}
    )
    (found,) = run(all_known, tmp_path, {"s": block})
    assert found["labels"] == 8
    assert found["pseudo_labels"]["pool"] == 132  # of 198 without labels
    assert {row["hidden"] for row in stored(tmp_path / "s")} == {"0", "2"}


@pytest.mark.parametrize(
    ("omit", "message"),
    [
        (("3",), r"config\.s\.omit: unknown name '3'; there is: 0, 1, 2"),
        (("0", "1", "2"), r"config\.s\.batch\.labelled: 8 asked, but no image is labelled"),
    ],
)
def test_what_cannot_be_omitted_is_said(all_known, tmp_path, omit, message):
    with pytest.raises(UserError, match=message):
        run(all_known, tmp_path, {"s": stage("supervised", omit=omit)})


def test_what_nobody_has_labelled_cannot_be_omitted(images, teacher, tmp_path):
    with pytest.raises(
        UserError, match=r"^config\.s\.omit: needs labels, but 90 images of the unlabelled stream have none$"
    ):
        run(images, tmp_path, {"s": stage("distill", teacher=str(teacher), omit=("1",))})


def test_generated_images_are_learned_by_their_weight(images, tmp_path):
    """Half as often as a person's; in no other part; with weight 0.0 as if there were none."""
    rows = {}
    for weight in (0.0, 0.5):
        drawn = {"per_class": 20, "components": 2, "weight": weight}
        ready = prepared(images, tmp_path, {"s": stage("supervised")}, generated=drawn)
        found = supervise(ready.plan.stages[0], ready)
        rows[weight] = found.rows["labelled"]
        assert len(ready.data.source.images) == 300
        assert (ready.data.split["generated"] >= 240).all()
        assert all((ids < 240).all() for part, ids in ready.data.split.items() if part != "generated")
    plain = prepared(images, tmp_path, {"s": stage("supervised")})
    np.testing.assert_array_equal(rows[0.0], supervise(plain.plan.stages[0], plain).rows["labelled"])
    added = rows[0.5][rows[0.5] >= 240]
    assert 20 <= len(added) <= 40  # of 60
    np.testing.assert_array_equal(vectors(found)[added].argmax(1), (added - 240) // 20)


def folder_of(arrays, path):
    """Class folders with images: of class 1 those of `arrays`, uint8 [n h w 1]."""
    for number, image in enumerate(arrays):
        (path / "1").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path / f"1/{number}.png")
    return str(path)


def test_images_of_a_folder_are_learned_and_nothing_else(images, tmp_path):
    """By their weight; they are in no other part, and neither mean nor fingerprint of the data knows them."""
    made = np.random.default_rng(1).integers(0, 256, (40, *SHAPE), np.uint8)
    path = folder_of(made, tmp_path / "made")
    plain = prepared(images, tmp_path, {"s": stage("supervised")})
    before = supervise(plain.plan.stages[0], plain).rows["labelled"]
    for weight, least, most in ((0.0, 0, 0), (0.5, 10, 30), (1.0, 40, 40)):
        ready = prepared(images, tmp_path, {"s": stage("supervised")}, generated={"path": path, "weight": weight})
        found = supervise(ready.plan.stages[0], ready)
        added = found.rows["labelled"][found.rows["labelled"] >= 240]
        assert least <= len(added) <= most
        np.testing.assert_array_equal(found.rows["labelled"][: len(before)], before)
        assert (vectors(found)[added].argmax(1) == 1).all()
        for part, ids in plain.data.split.items():
            np.testing.assert_array_equal(ready.data.split[part], ids)
        assert (ready.mean, ready.std) == (plain.mean, plain.std)
    order = [
        int(ready.data.source.name(i).rpartition("/")[2].removesuffix(".png")) for i in ready.data.split["generated"]
    ]
    np.testing.assert_array_equal(ready.data.source.images[ready.data.split["generated"]], made[order])


def test_a_generated_image_that_is_held_out_is_refused(images, tmp_path):
    """Of the test and of the validation part; `duplicates` = "drop" leaves it out."""
    ready = prepared(images, tmp_path, {"s": stage("supervised")}, validation=15)
    held_out = [ready.data.split["test"][3], ready.data.split["validation"][5]]
    made = np.concatenate([ready.data.source.images[held_out], np.zeros((2, *SHAPE), np.uint8)])
    generated = {"path": folder_of(made, tmp_path / "made")}
    given = {"validation": 15, "generated": generated}
    with pytest.raises(UserError) as error:
        prepared(images, tmp_path, {"s": stage("supervised")}, **given)
    path = generated["path"]
    assert str(error.value) == (
        "config.data.generated.path: 2 generated images that equal a test or validation image, pixel for pixel: "
        f"{path}/1/0.png = image {held_out[0]}, {path}/1/1.png = image {held_out[1]}; remove them, or leave them out "
        'with config.data.duplicates="drop"'
    )
    ready = prepared(images, tmp_path, {"s": stage("supervised")}, **given, duplicates="drop")
    assert [ready.data.source.name(i) for i in ready.data.split["generated"]] == [f"{path}/1/2.png", f"{path}/1/3.png"]
    assert any(note.startswith("left out 2 generated images that equal") for note in ready.data.source.notes)


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        ({"per_class": 0}, r"^config\.data\.generated\.per_class: 0 is less than 1"),
        ({"per_class": 5, "weigth": 1.0}, r"no such key; did you mean 'weight'"),
    ],
)
def test_what_cannot_be_generated_is_said(images, tmp_path, drawn, message):
    with pytest.raises(UserError, match=message):
        prepared(images, tmp_path, {"s": stage("supervised")}, generated=drawn)


def test_the_pool_may_be_limited(images, tmp_path):
    ready = prepared(images, tmp_path, {"s": stage("supervised")}, unlabelled=50)
    whole = prepared(images, tmp_path, {"s": stage("supervised")})
    assert len(ready.data.split["unlabelled"]) == 50
    assert set(ready.data.split["unlabelled"]) < set(whole.data.split["unlabelled"])
    with pytest.raises(UserError, match=r"^config\.data\.unlabelled: 500 asked, but 198 images are left"):
        prepared(images, tmp_path, {"s": stage("supervised")}, unlabelled=500)
