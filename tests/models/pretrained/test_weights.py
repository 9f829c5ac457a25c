import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from efficient_jax import models
from efficient_jax.errors import UserError
from efficient_jax.models import positions, pretrained, vit
from efficient_jax.models.pretrained import names, weights
from tests.models import seeded

GOLDENS = Path(__file__).parents[1] / "goldens"
ROUND = {  # a network of every kind of parameter, as torch has it
    "conv1.weight": (4, 3, 5, 5),
    "bn1.weight": (4,),
    "bn1.bias": (4,),
    "bn1.running_mean": (4,),
    "bn1.running_var": (4,),
    "bn1.num_batches_tracked": (),
    "layer1.0.conv1.weight": (4, 4, 3, 3),
    "fc.weight": (7, 4),
    "fc.bias": (7,),
}


def torch_state(**others):
    return seeded.weights(ROUND | others)


def variables(classes=7, channels=3):
    zeros = np.zeros
    return {
        "params": {
            "conv1": {"kernel": zeros((5, 5, channels, 4))},
            "bn1": {"scale": zeros(4), "bias": zeros(4)},
            "layer1": {"0": {"conv1": {"kernel": zeros((3, 3, 4, 4))}}},
            "head": {"kernel": zeros((4, classes)), "bias": zeros(classes)},
        },
        "batch_stats": {"bn1": {"mean": zeros(4), "var": zeros(4)}},
    }


def test_every_parameter_has_its_place_and_layout():
    state = torch_state()
    found, report = pretrained.load(state, variables())
    params, stats = found["params"], found["batch_stats"]["bn1"]
    kernel = params["conv1"]["kernel"]
    assert kernel[1, 2, 0, 3] == state["conv1.weight"][3, 0, 1, 2]
    assert params["layer1"]["0"]["conv1"]["kernel"][0, 1, 2, 3] == state["layer1.0.conv1.weight"][3, 2, 0, 1]
    np.testing.assert_array_equal(params["head"]["kernel"], state["fc.weight"].T)
    np.testing.assert_array_equal(params["bn1"]["scale"], state["bn1.weight"])
    np.testing.assert_array_equal(params["bn1"]["bias"], state["bn1.bias"])
    np.testing.assert_array_equal(stats["mean"], state["bn1.running_mean"])
    np.testing.assert_array_equal(stats["var"], state["bn1.running_var"])
    assert jax.tree.structure(found) == jax.tree.structure(variables())
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    assert str(report) == "loaded 8 arrays"


def test_shapes_are_enough():
    shapes = jax.eval_shape(variables)
    found, _ = pretrained.load(torch_state(), shapes)
    assert found["params"]["conv1"]["kernel"].shape == (5, 5, 3, 4)


def test_another_number_of_classes_keeps_the_new_head():
    found, report = pretrained.load(torch_state(), variables(classes=3))
    assert not found["params"]["head"]["kernel"].any()
    assert found["params"]["conv1"]["kernel"].all()
    assert str(report).splitlines() == [
        "loaded 6 arrays",
        "new: head.weight, head.bias (3 classes here, 7 in the file)",
        "not used: head.weight, head.bias",
    ]


def test_the_head_is_left_on_request():
    found, report = pretrained.load(torch_state(), variables(), head=False)
    assert not found["params"]["head"]["kernel"].any()
    assert report.new == report.left == ("head.weight", "head.bias")


def test_a_file_without_a_head():
    state = {name: value for name, value in torch_state().items() if not name.startswith("fc.")}
    _, report = pretrained.load(state, variables())
    assert report.new == ("head.weight", "head.bias")
    assert "no head in the file" in str(report)


def test_a_network_for_grey_images_answers_as_for_three_equal_channels(key):
    found, report = pretrained.load(torch_state(), variables(channels=1))
    grey = jax.random.normal(key, (1, 6, 6, 1))
    kernel = torch_state()["conv1.weight"].transpose(2, 3, 1, 0)
    of_three = models.convolution.conv_plain(jnp.repeat(grey, 3, -1), kernel, 1, ((0, 0), (0, 0)))
    of_one = models.convolution.conv_plain(grey, found["params"]["conv1"]["kernel"], 1, ((0, 0), (0, 0)))
    np.testing.assert_allclose(of_one, of_three, atol=1e-5)
    assert "conv1.weight: 3 input channels summed to 1" in str(report)


def test_a_network_of_gray_images_answers_for_three_equal_channels_as_for_one(key):
    state = torch_state(**{"conv1.weight": (4, 1, 5, 5)})
    found, report = pretrained.load(state, variables())
    gray = jax.random.normal(key, (1, 6, 6, 1))
    kernel = state["conv1.weight"].transpose(2, 3, 1, 0)
    of_one = models.convolution.conv_plain(gray, kernel, 1, ((0, 0), (0, 0)))
    three = jnp.repeat(gray, 3, -1)
    of_three = models.convolution.conv_plain(three, found["params"]["conv1"]["kernel"], 1, ((0, 0), (0, 0)))
    np.testing.assert_allclose(of_three, of_one, atol=1e-5)
    assert "conv1.weight: 1 input channel repeated to 3, divided by 3" in str(report)


def test_a_head_for_other_features_is_not_used():
    """DINOv2's classifier in Transformers takes the class token and the mean of the patches."""
    _, report = pretrained.load(torch_state(**{"fc.weight": (7, 8)}), variables())
    assert report.new == ("head.weight", "head.bias")
    assert report.why == "the head takes 4 features here, 8 in the file"


def test_what_follows_the_features_may_be_left_out():
    state = torch_state(**{"pooler.dense.weight": (4, 4), "projection.weight": (2, 4)})
    _, report = pretrained.load(state, variables())
    assert report.left == ("pooler.dense.weight", "projection.weight")


PREFIXES = [
    "module.",
    "state_dict.",
    "model.",
    "state_dict.module.",
    "_orig_mod.",
    "_orig_mod.module.",
    "backbone.",
    "net.",
]
PREFIXES += ["model_state_dict.", "0.", "network.trunk."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_is_cut_and_said(prefix):
    wrapped = {prefix + name: value for name, value in torch_state().items()} | {"optimizer.state.0": np.ones(3)}
    found, report = pretrained.load(wrapped, variables())
    np.testing.assert_array_equal(found["params"]["head"]["kernel"], torch_state()["fc.weight"].T)
    assert len(report.loaded) == 8
    assert str(report) == f"loaded 8 arrays from below {prefix!r}"


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0", "vit_small_patch16_224", "resnet50"])
def test_names_that_belong_to_the_network_are_no_prefix(name):
    """Without its classifier, all names of a DenseNet begin with "features."."""
    arrays = {
        key: np.broadcast_to(np.float32(0.0), shape)
        for key, shape in golden_shapes(name).items()
        if not key.startswith(("classifier", "fc", "head"))
    }
    assert names.unwrap(arrays).prefix == ""
    assert names.unwrap(arrays).state == arrays
    assert names.unwrap({f"teacher.backbone.{key}": array for key, array in arrays.items()}).state == arrays


@pytest.mark.parametrize(
    ("last", "average"),
    [
        ("model.", "model_ema."),
        ("state_dict.", "state_dict_ema."),
        ("state_dict.module.", "state_dict_ema.module."),
        ("model.", "ema."),
        ("model.", "ema_model.module."),
        ("state_dict.model.", "state_dict.ema_model."),
        ("model_state_dict.", "ema_state_dict."),
        ("model.", "swa_model.module."),
        ("student.module.backbone.", "teacher.backbone."),
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_the_moving_average_comes_before_the_last_weights(last, average, first):
    both = [
        {f"{last}{name}": value for name, value in torch_state().items()},
        {f"{average}{name}": value * 0 for name, value in torch_state().items()},
    ]
    found, report = pretrained.load(both[first] | both[1 - first], variables())
    assert not found["params"]["conv1"]["kernel"].any()
    assert str(report) == f"loaded 8 arrays from below {average!r}, a moving average, not from {last!r}"


@pytest.mark.parametrize("prefix", ["schema.", "remap.ema2.", "shadows."])
def test_a_name_that_only_looks_like_an_average_is_none(prefix):
    _, report = pretrained.load({prefix + name: value for name, value in torch_state().items()}, variables())
    assert str(report) == f"loaded 8 arrays from below {prefix!r}"


def test_a_head_beside_the_backbone_is_not_below_it():
    state = {name if name.startswith("fc.") else f"backbone.{name}": value for name, value in torch_state().items()}
    _, report = pretrained.load(state, variables())
    assert "new: head.weight, head.bias (no head below 'backbone.' in the file)" in str(report)


def test_half_precision_becomes_float32():
    state = {name: value.astype(jnp.bfloat16) for name, value in torch_state().items()}
    found, _ = pretrained.load(state, variables())
    assert found["params"]["head"]["bias"].dtype == jnp.float32
    np.testing.assert_array_equal(found["params"]["head"]["bias"], state["fc.bias"].astype(np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer1.1.conv1.weight": (4, 4, 3, 3)}, "1 left over: layer1.1.conv1.weight"),
        ({"conv1.weight": (4, 3, 7, 7)}, "1 of another shape: conv1.weight 7x7x3x4, not 5x5x3x4"),
        ({"conv1.weight": (4, 2, 5, 5)}, "1 of another shape: conv1.weight 5x5x2x4, not 5x5x3x4"),
        ({"layer1.0.conv1.weight": None}, "1 missing: layer1.0.conv1.weight"),
        ({f"extra.{i}": (1,) for i in range(9)}, "9 left over: extra.0, extra.1, extra.2, extra.3 and 5 more"),
    ],
)
def test_what_nothing_explains_is_refused(change, message):
    state = seeded.weights({name: shape for name, shape in (ROUND | change).items() if shape is not None})
    with pytest.raises(UserError, match=f"^config.a.init: the weights do not fit the model: {re.escape(message)}"):
        pretrained.load(state, variables(), where="config.a.init")


def golden_shapes(name):
    return json.loads(str(np.load(GOLDENS / f"{name}.npz")["shapes"]))


@pytest.mark.parametrize(
    ("name", "described"),
    [
        ("resnet18", "resnet18"),
        ("resnet50", "resnet50"),
        ("densenet121", "densenet121"),
        ("efficientnet_b0", "efficientnet of 16 blocks"),
        ("vit_small_patch16_224", "vit of 12 blocks"),
    ],
)
def test_an_architecture_is_told_by_its_names(name, described):
    assert names.describe(golden_shapes(name)) == described


def test_both_architectures_are_named_where_they_differ():
    module = models.ResNet(10, depth=18)
    ours = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
    with pytest.raises(
        UserError, match=r"another shape: .* left over: .* look like resnet50, the model like resnet18$"
    ):
        pretrained.load(seeded.weights(golden_shapes("resnet50")), ours)


class TestPositions:
    @pytest.fixture(autouse=True)
    def tiny(self, monkeypatch):
        monkeypatch.setitem(vit.SIZES, "read", (6, 1, 3))

    def load(self, grid, sides, image=None):
        module = models.ViT(5, "read/4")
        ours = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, *sides, 3)), train=False))
        flat = {weights.timm_name(path): leaf.shape for path, leaf in flatten_dict(ours).items()}
        torch_shapes = {
            name: s[::-1] if len(s) == 2 else (s[3], s[2], s[0], s[1]) if len(s) == 4 else s for name, s in flat.items()
        }
        state = seeded.weights(torch_shapes | {"pos_embed": (1, 1 + grid[0] * grid[1], 6)})
        found, report = pretrained.load(state, ours, image=image)
        return state["pos_embed"], found["params"]["pos_embed"], report

    def test_the_same_grid_stays(self):
        theirs, found, report = self.load((3, 3), (12, 12))
        np.testing.assert_array_equal(found, theirs)
        assert not report.reshaped

    @pytest.mark.parametrize(("sides", "image"), [((16, 16), None), ((8, 12), (8, 12)), ((4, 36), (4, 36))])
    def test_another_grid_is_resampled(self, sides, image):
        theirs, found, report = self.load((3, 3), sides, image)
        grid = (sides[0] // 4, sides[1] // 4)
        np.testing.assert_array_equal(found, positions.resample_pos_embed(jnp.array(theirs), grid, 1))
        assert report.reshaped == (f"pos_embed: 3x3 patches resampled to {grid[0]}x{grid[1]}",)

    def test_a_table_that_is_no_square_is_the_models_own(self):
        theirs, found, _ = self.load((2, 3), (8, 12), (8, 12))
        np.testing.assert_array_equal(found, theirs)

    @pytest.mark.parametrize("shape", [(1, 10, 8), (1, 1, 6), (10, 8)])
    def test_a_table_of_another_model_is_refused(self, monkeypatch, shape):
        whole = seeded.weights
        monkeypatch.setattr(seeded, "weights", lambda shapes: whole(shapes | {"pos_embed": shape}))
        with pytest.raises(UserError, match="1 of another shape: pos_embed"):
            self.load((3, 3), (12, 12))

    def test_a_grid_that_must_be_said_is_asked_for(self):
        with pytest.raises(UserError, match="6 patches do not form a 2x2 grid; give the size of its images"):
            self.load((3, 3), (8, 12))
