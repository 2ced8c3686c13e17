import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion import textual_inversion
from dreamda_jax.models.stable_diffusion.model import abstract_params
from dreamda_jax.options.checkpoints import Model
from dreamda_jax.plan.job import whole_bytes
from dreamda_jax.plan.stand_ins import StandInTokenizer, open_images, open_networks

PETS = {"kind": "tfds", "name": "oxford_iiit_pet", "split": "train", "data_dir": "/nowhere"}
NONE = {"num_images": None, "num_classes": None}


def test_a_well_known_set_need_not_be_here():
    found = open_images(PETS, **NONE)
    assert (len(found.value), len(found.value.label_names)) == (3680, 37)
    (line,) = found.assumed
    assert "3,680 images of 37 classes: it is not here" in line
    assert found.value[40].label == 3  # in turn


def test_what_is_here_is_used_and_nothing_assumed():
    found = open_images({"kind": "sample", "split": "train"}, **NONE)
    assert len(found.value) == 200
    assert found.assumed == []


def test_given_numbers_go_before_what_is_known():
    found = open_images(PETS, num_images=100, num_classes=5)
    assert (len(found.value), len(found.value.label_names)) == (100, 5)
    assert "as given" in found.assumed[0]
    found = open_images(PETS, num_images=100, num_classes=None)
    assert (len(found.value), len(found.value.label_names)) == (100, 37)


@pytest.mark.parametrize(
    "options", [{"kind": "folder", "path": "/nowhere"}, {**PETS, "split": "train[:10%]"}]
)
def test_an_unknown_set_is_asked_for_its_size(options):
    with pytest.raises(UserError, match="give --num_images and --num_classes"):
        open_images(options, **NONE)


def test_well_known_networks_need_not_be_here():
    name = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    found = open_networks(Model(path=name))
    assert "Stable Diffusion 1.5" in found.assumed[0]
    # 859.5 M parameters of the U-Net, 83.7 M of the VAE, 123.1 M of the text encoder.
    assert whole_bytes(abstract_params(found.value)) == pytest.approx(2 * 1066.2e6, rel=1e-3)


@pytest.mark.parametrize(("version", "padding"), [("1-5", 49407), ("2-1", 0)])
def test_well_known_networks_read_prompts(version, padding):
    name = f"sd2-community/stable-diffusion-{version}"
    if version == "1-5":
        name = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    model = open_networks(Model(path=name)).value
    ids = [49406, 320, 1125, 539, 320, 1929, 49407, *([padding] * 70)]
    assert model.tokenize(["a photo of a dog"]).tolist() == [ids]


def test_other_networks_have_to_be():
    with pytest.raises(UserError, match="no such directory"):
        open_networks(Model(path="/nowhere"))


def test_new_tokens_come_after_those_of_a_tokenizer_that_is_not_here():
    tokenizer = StandInTokenizer(49_408)
    names = ["<class-0>", "<class-0>_1", "<class-1>"]
    extended = textual_inversion.extended_tokenizer(tokenizer, names)
    assert (len(tokenizer), len(extended)) == (49_408, 49_411)
    assert extended.convert_tokens_to_ids(names) == [49_408, 49_409, 49_410]
    assert textual_inversion.plain_ids(extended, "class 0") == [0]
    with pytest.raises(UserError, match="knows <class-1> already"):
        textual_inversion.extended_tokenizer(extended, ["<class-1>"])
