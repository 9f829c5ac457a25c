"""The table of published weights fits the models, and says what their publishers say."""

import pytest

from efficient_jax.models import MODELS, SUPPLIED, cost
from efficient_jax.models.pretrained import FAMILIES, PACKAGED, ZOO
from efficient_jax.settings import bind

PARAMETERS = {  # millions, as published: in the papers, or in timm's table of results
    "vit_small_patch14_dinov2.lvd142m": 22.06,
    "vit_base_patch14_reg4_dinov2.lvd142m": 86.58,
    "vit_large_patch14_reg4_dinov2.lvd142m": 304.37,
    "vit_small_patch16_dinov3.lvd1689m": 21.59,
    "vit_base_patch16_dinov3.lvd1689m": 85.64,
    "vit_giant_patch14_dinov2.lvd142m": 1136.48,
    "vit_huge_plus_patch16_dinov3.lvd1689m": 840.51,
    "vit_base_patch16_siglip_224.webli": 92.88,
    "vit_so400m_patch14_siglip_224.webli": 427.68,
    "deit_tiny_patch16_224.fb_in1k": 5.72,
    "deit_base_distilled_patch16_224.fb_in1k": 87.34,
    "deit3_medium_patch16_224.fb_in1k": 38.85,
    "convnext_tiny.fb_in1k": 28.59,
    "convnext_small.fb_in1k": 50.22,
    "convnext_base.fb_in1k": 88.59,
    "convnextv2_atto.fcmae_ft_in1k": 3.71,
    "convnextv2_tiny.fcmae_ft_in1k": 28.64,
    "convnextv2_base.fcmae_ft_in1k": 88.72,
    "resnet50.tv_in1k": 25.56,
    "densenet121.tv_in1k": 7.98,
    "tf_efficientnet_b0.ns_jft_in1k": 5.29,
}
GMACS = {  # billions of multiply-adds, as published by timm
    "vit_small_patch14_dinov2.lvd142m": 46.76,
    "vit_base_patch16_siglip_224.webli": 17.73,
    "deit_tiny_patch16_224.fb_in1k": 1.26,
    "convnext_tiny.fb_in1k": 4.47,
    "convnextv2_atto.fcmae_ft_in1k": 0.55,
    "resnet50.tv_in1k": 4.11,
}


@pytest.mark.parametrize("name", sorted(ZOO))
def test_an_entry_has_settings_of_its_model(name):
    entry = ZOO[name]
    bind(MODELS[entry.model], entry.settings, name, SUPPLIED)
    assert entry.model in FAMILIES
    patch = int(str(entry.settings.get("variant", "")).partition("/")[2] or 1)
    assert not entry.preprocessing.size[0] % patch


def test_packages_are_in_the_table():
    assert set(PACKAGED) <= set(ZOO)


def test_costs_are_kept_of_each_entry():
    assert cost.kept().keys() == ZOO.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_as_published(name):
    assert cost.kept()[name].parameters / 1e6 == pytest.approx(PARAMETERS[name], abs=0.006)


@pytest.mark.parametrize("name", GMACS)
def test_operations_are_as_published(name):
    assert cost.kept()[name].flops / 2e9 == pytest.approx(GMACS[name], rel=0.01)


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224.fb_in1k", "resnet18.tv_in1k"])
def test_a_kept_cost_is_that_of_the_model(name):
    assert cost.of_entry(ZOO[name]) == cost.kept()[name]


@pytest.mark.slow
def test_kept_costs_are_those_of_the_models():
    assert {name: cost.of_entry(entry) for name, entry in ZOO.items()} == cost.kept()


def test_gated_weights_are_those_with_a_licence_to_accept():
    assert {name for name, entry in ZOO.items() if entry.gated} == {name for name in ZOO if "dinov3" in name}


def test_classes_do_not_change_the_rest_of_a_cost():
    entry = ZOO["resnet18.tv_in1k"]
    features, classes = cost.of_entry(entry._replace(classes=0)), cost.of_entry(entry)
    assert classes.parameters - features.parameters == 512 * 1000 + 1000
    assert classes.flops - features.flops == 2 * 512 * 1000
