"""Extractors by name: the features of a classifier before its head, CLIP's embeddings."""

import functools

import jax
import numpy as np
import pytest

from dreamda_jax.algorithms.augment import policy
from dreamda_jax.data.sources.sample_source import SampleSource
from dreamda_jax.errors import UserError
from dreamda_jax.models import extractors
from dreamda_jax.models.classifiers import oracle, pretrained, registry
from dreamda_jax.models.clip import encoder as clip
from dreamda_jax.runtime.state import initial_variables


@pytest.fixture(scope="module")
def images():
    source = SampleSource(split="test")
    return np.stack([np.asarray(source[place].content) for place in range(0, 400, 50)])


def open_one(name):
    return extractors.open_extractor(name, inception_weights=None, resize="clean")


def test_the_packaged_classifier(images):
    found = open_one("sample")
    module, variables, config = pretrained.open_classifier(oracle.SAMPLE)
    view = policy.eval_view(images, size=config.image_size, mean=config.mean, std=config.std)
    classify = functools.partial(module.apply, train=False, return_features=True)
    logits, _ = jax.jit(classify)(variables, view)
    features = np.asarray(jax.jit(found.features)(found.params, images))
    assert features.shape == (8, found.num_features)
    # The head on top of them gives the classifier's own logits.
    shape = (found.num_features, 10)
    (kernel,) = [leaf for leaf in jax.tree.leaves(variables) if leaf.shape == shape]
    offset = np.asarray(logits) - features @ np.asarray(kernel)
    np.testing.assert_allclose(offset, np.broadcast_to(offset[:1], offset.shape), atol=1e-4)


def test_a_saved_classifier_sees_images_of_any_size(images, tmp_path):
    tiny = registry.find_architecture("resnet_tiny")
    module = tiny.build(3, np.float32, "imagenet")
    make = jax.jit(functools.partial(initial_variables, module, image_size=32))
    variables = make(jax.random.key(0))
    digests = []
    for name in ("a", "b"):
        pretrained.save(
            tiny,
            variables,
            tmp_path / name,
            label_names=["x", "y", name],
            image_size=32,
            stem="imagenet",
        )
        digests.append(open_one(str(tmp_path / name)).digest)
    assert len(set(digests)) == 2
    found = open_one(str(tmp_path / "a"))
    large = images.repeat(2, axis=1).repeat(2, axis=2)
    look = jax.jit(found.features)
    small, resized = (np.asarray(look(found.params, x)) for x in (images, large))
    assert small.dtype == np.float32
    correlation = np.corrcoef(small.ravel(), resized.ravel())[0, 1]
    assert correlation > 0.99  # the same but for what cubic resizing does to hard pixel edges


def test_clip(images):
    encoder = clip.open_encoder("sample")
    found = extractors.clip_extractor(encoder, "sample")
    features = np.asarray(jax.jit(found.features)(found.params, images))
    assert features.shape == (8, found.num_features)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    # With the prompts' embeddings they are the zero-shot classifier's probabilities.
    prompts = ["a photo of a bag", "a photo of a coat"]
    zero_shot = clip.open_zero_shot("sample", prompts=prompts)
    texts = np.asarray(encoder.embed_texts(encoder.params, prompts))
    scale = float(np.exp(encoder.params["logit_scale"]))
    expected = jax.nn.softmax(scale * features @ texts.T, axis=-1)
    probabilities = zero_shot.classify(zero_shot.params, images)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_what_is_no_extractor(tmp_path):
    with pytest.raises(UserError, match="neither inception, clip, sample nor the directory"):
        open_one("resnet")
    with pytest.raises(UserError, match=r"not a complete classifier, it lacks config\.json"):
        open_one(str(tmp_path))
    with pytest.raises(UserError, match="pt_inception-2015-12-05"):
        open_one("inception")
