"""Members, alone and together."""

import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from efficient_jax import files
from efficient_jax.commands.evaluate import evaluate
from efficient_jax.evaluation import members as judging
from efficient_jax.inference import predictions, tta
from efficient_jax.training.trained import classifier, load
from efficient_jax.types import UserError
from tests import tiny_run

CONSOLE = Console(file=io.StringIO(), width=200)


def test_stars_stand_for_names(tmp_path):
    for name in ("b2", "b1", "c"):
        (tmp_path / name).mkdir()
    assert judging.named(f"{tmp_path}/b*,{tmp_path}/c") == [f"{tmp_path}/{name}" for name in ("b1", "b2", "c")]
    with pytest.raises(UserError, match="there is no"):
        judging.named(f"{tmp_path}/d*")


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """A run with three snapshots of a stage, and a network of another width; 30 test and 30 validation images."""
    workdir = tmp_path_factory.mktemp("run")
    stages = {
        "net": tiny_run.stage("supervised", updates=9, save_every=3, keep_every=3, log_every=9, ema_decay=0.0),
        "wide": tiny_run.stage("supervised", updates=9, model={"name": "cnn", "width": 5}),
    }
    tiny_run.run(images, workdir, stages, validation=30)
    return workdir


def test_a_finished_stage_has_left_what_its_model_predicts(trained):
    left = judging.member(str(trained / "net"), CONSOLE)
    at_best = judging.load(str(trained / "net"))
    again = judging.by_model("", *at_best, judging.prepared(trained, CONSOLE))
    for split in predictions.FILES:
        one, other = (getattr(each, split) for each in (left, again))
        for name in one._fields:
            mine, its = (getattr(each, name) for each in (one, other))
            if name == "probabilities":  # a product of other shapes may round otherwise
                np.testing.assert_allclose(mine, its, rtol=1e-5)
            else:
                np.testing.assert_array_equal(mine, its)


def test_snapshots_vote_and_make_a_soup(trained, tmp_path):
    """The soup is a stage on disk; its weights are the mean; probabilities of the vote are in a file."""
    names = judging.named(f"{trained / 'net'}@*")
    assert [name.rpartition("@")[2] for name in names] == ["3", "6", "9"]
    out = tmp_path / "out"
    evaluate(members=f"{trained / 'net'}@*", soup="uniform", out=str(out))
    _, variables, about = load(out / "soup", "test")
    parts = [judging.load(name)[0]["params"]["head"]["kernel"] for name in names]
    np.testing.assert_allclose(variables["params"]["head"]["kernel"], np.mean(parts, 0), atol=1e-6)
    assert about["classes"] == ["0", "1", "2"]
    found = json.loads((out / "evaluation.json").read_text())
    assert [*found["members"]] == [*names, "uniform soup of 3", "soft vote of 3"]
    assert len(found["pairs"]) == len(found["selection"]) == 3
    losses = [found["members"][name]["negative_log_likelihood"] for name in names]
    assert found["members"]["soft vote of 3"]["negative_log_likelihood"] <= np.mean(losses)
    voted = predictions.read(out / "predictions.npz", "test")
    every = [judging.member(name, CONSOLE).test.probabilities for name in names]
    np.testing.assert_allclose(voted.probabilities, np.mean(every, 0), atol=1e-6)


def test_views_vote(trained, images, tmp_path):
    """Each view answers; most of them decide, and what is no probability has no likelihood."""
    evaluate(members=str(trained / "net"), tta="d4:hard", out=str(tmp_path))
    (found,) = json.loads((tmp_path / "evaluation.json").read_text())["members"].values()
    stored = predictions.read(tmp_path / "predictions.npz", "test")
    classify = classifier(str(trained / "net"))
    seen = tta.all_views(jnp.asarray(np.load(images)["images"][stored.ids]), tta.VIEWS["d4"])
    said = jnp.stack([classify(np.asarray(view)) for view in seen])
    np.testing.assert_array_equal(stored.probabilities.argmax(1), tta.vote(said))
    assert found["correct"] == (np.asarray(tta.vote(said)) == stored.labels).sum()
    assert (found["negative_log_likelihood"], found["calibration_error"]) == (None, None)
    assert "temperature" not in found


def test_a_greedy_soup_is_no_worse_on_validation_than_its_best_member(trained):
    names = judging.named(f"{trained / 'net'}@*")
    made, _, _, inside = judging.soup(names, "greedy", CONSOLE)

    def right(of):
        return (of.validation.probabilities.argmax(1) == of.validation.labels).sum()

    assert set(inside) <= set(names)
    alone = [judging.soup([name], "uniform", CONSOLE)[0] for name in names]  # with batch statistics of its kind
    assert right(made) >= max(map(right, alone))


def test_images_turned_both_ways(trained):
    """A quarter turn moves pixels and changes none, so the model says of them what it says of turned images."""
    name = str(trained / "net")
    straight, turned = judging.turned(name, [90.0], CONSOLE)
    test = judging.member(name, CONSOLE).test
    classify = classifier(name)
    images = judging.prepared(trained, CONSOLE).source.images[test.ids]
    right = [int((classify(np.rot90(images, k, (1, 2)).copy()).argmax(1) == test.labels).sum()) for k in (0, 1, 3)]
    assert straight == {"degrees": 0.0, "correct": right[0], "n": 30}
    assert turned == {"degrees": 90.0, "correct": (right[1] + right[2]) / 2, "n": 30}


def test_a_file_of_another_program_votes(trained, tmp_path):
    own = judging.member(str(trained / "wide"), CONSOLE)
    predictions.write(tmp_path / "p.csv", own.test._replace(probabilities=np.eye(3, dtype=np.float32)[own.test.labels]))
    evaluate(members=f"{trained / 'wide'},{tmp_path / 'p.csv'}", vote="hard", weights="1,2.5", out=str(tmp_path / "o"))
    found = files.read_json(tmp_path / "o" / "evaluation.json")["members"]
    assert found["hard vote of 2"]["correct"] == 30
    assert {"temperature"} <= set(found[str(trained / "wide")])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"members": "{run}/net,{run}/wide", "soup": "uniform"}, r"^--soup: settings of .*wide' is .*'width': 5"),
        ({"members": "{run}/net@7"}, r"has no checkpoint of update 7; it has 3, 6, 9"),
        ({"members": "{run}/net@last"}, r"wants the number of an update behind the @"),
        ({"members": "{run}/net,{run}/wide", "weights": "1"}, r"^--weights: 1 for 2 members"),
        ({"members": "{run}/net,{run}/wide", "weights": "1,x"}, r"^--weights: '1,x'; want numbers"),
        ({"members": "{run}/net", "vote": "sofd"}, r"^--vote: unknown name 'sofd'; did you mean 'soft'"),
        ({"members": "{run}/net", "soup": "green"}, r"^--soup: unknown name 'green'"),
        ({"members": "{run}/nothing.npz"}, r"no file"),
    ],
)
def test_what_cannot_be_judged_is_said(trained, flags, message):
    with pytest.raises(UserError, match=message):
        evaluate(**{name: value.format(run=trained) for name, value in flags.items()})
