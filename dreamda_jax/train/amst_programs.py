"""What AMST compiles: its heads, its stages, the judgement; and the random key of each."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.traverse_util
import jax
import jax.numpy as jnp

from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.augment import policy
from dreamda_jax.algorithms.selftrain import heads as auxiliary
from dreamda_jax.algorithms.selftrain.amst import stage1_loss
from dreamda_jax.algorithms.selftrain.options import Consistency
from dreamda_jax.algorithms.selftrain.semi_supervised import (
    HeadTraining,
    SoftLabels,
    View,
    semi_supervised_loss,
)
from dreamda_jax.options.self_training import Amst
from dreamda_jax.options.training import Recipe
from dreamda_jax.runtime import devices
from dreamda_jax.train import accuracy
from dreamda_jax.train.network import NetworkSpec
from dreamda_jax.train.programs import Stage
from dreamda_jax.train.self_training_programs import (
    SelfTrainingPrograms,
    Views,
    classifier_of,
)
from dreamda_jax.train.setups import AmstSetup, Length
from dreamda_jax.types import Params

_LABELLED_VIEWS: dict[str, tuple[View, ...]] = {
    "weak": ("weak",),
    "strong": ("strong",),
    "both": ("weak", "strong"),
}
_PLACES = {"heads": 0, "stage 1": 1, "stage 2": 2, "stage 3": 3}


class AmstPrograms(SelfTrainingPrograms):
    """The compiled functions of AMST over all devices of a mesh.

    Args:
      network: the classifier.
      recipe: of its optimizer.
      mesh: of the job, or of devices that are only compiled for.
      views: of an image.
      amst: section "amst".
      consistency: the loss of images without a label.
      stage1: the length of the first stage.
      stage3: likewise.
    """

    def __init__(
        self,
        network: NetworkSpec,
        recipe: Recipe,
        mesh: jax.sharding.Mesh,
        *,
        views: Views,
        amst: Amst,
        consistency: Consistency,
        stage1: Length,
        stage3: Length,
    ) -> None:
        super().__init__(
            network,
            recipe,
            mesh,
            views=views,
            unlabelled_ratio=amst.unlabelled_ratio if amst.consistency else 0,
        )
        self._amst, self._consistency = amst, consistency
        self._lengths = {"stage 1": stage1, "stage 3": stage3}
        self.layout = auxiliary.MULTI_HEAD if amst.multi_head else auxiliary.SINGLE_HEAD
        self._draw_heads = jax.jit(self._make_heads, out_shardings=devices.replicated(mesh))

    @classmethod
    def of(cls, setup: AmstSetup, mesh: jax.sharding.Mesh) -> "AmstPrograms":
        """Those of a setup."""
        return cls(
            setup.network,
            setup.recipe,
            mesh,
            views=Views(setup.augment, setup.strong),
            amst=setup.amst,
            consistency=setup.consistency,
            stage1=setup.stage1,
            stage3=setup.length,
        )

    def with_heads(self, variables: dict[str, Params], seed: int) -> dict[str, Params]:
        """Variables of a classifier, and fresh auxiliary heads drawn from `seed`."""
        heads = self._draw_heads(stage_key(seed, "heads"))
        return {**variables, "params": {"classifier": variables["params"], "heads": heads}}

    def with_auxiliary(self, variables: dict[str, Params]) -> dict[str, Params]:
        """With heads of some seed."""
        return self.with_heads(variables, 0)

    def with_main_head(self, variables: dict[str, Params]) -> dict[str, Params]:
        """The main head as the mean of the auxiliary ones: it starts as their joint opinion.

        A random one would be the first teacher of the images without a label.
        """
        params = variables["params"]
        flat = flax.traverse_util.flatten_dict(params["classifier"])
        architecture = self.network.architecture
        for path, leaf in flat.items():
            for name, tensor in (("kernel", "weight"), ("bias", "bias")):
                if architecture.tensor_name(("params", *path)) == f"{architecture.head}.{tensor}":
                    stacked = [head[name] for head in params["heads"].values()]
                    flat[path] = jnp.mean(jnp.concatenate(stacked), axis=0).astype(leaf.dtype)
        classifier = flax.traverse_util.unflatten_dict(flat)
        return {**variables, "params": {**params, "classifier": classifier}}

    @functools.cached_property
    def stage1(self) -> Stage:
        """The heads on real images."""
        loss = stage1_loss(
            self.in_training,
            dropout_rate=self._amst.dropout_rate,
            orthogonality_weight=self._amst.orthogonality_weight,
        )
        return self.stage(loss, self._shapes, length=self._lengths["stage 1"])

    @property
    def main_stage(self) -> Stage:
        """Stage 3 with images of both kinds, the heads left alone."""
        return self.stage3(consistent=self._amst.consistency, train_heads=False)

    @functools.cache  # noqa: B019  # lives as long as the job
    def stage3(self, *, consistent: bool, train_heads: bool) -> Stage:
        """The main head on labelled images, with consistency on those without a label.

        Args:
          consistent: whether batches have images without a label.
          train_heads: the heads learn too.
        """
        amst = self._amst
        loss = semi_supervised_loss(
            self.in_training,
            self._consistency if consistent else None,
            labelled_views=_LABELLED_VIEWS[amst.labelled_views],
            heads=(
                HeadTraining(amst.dropout_rate, amst.orthogonality_weight) if train_heads else None
            ),
            soft_labels=SoftLabels() if amst.pseudo_labels == "soft" else None,
        )
        return self.stage(loss, self._shapes, length=self._lengths["stage 3"])

    @functools.cached_property
    def heads_evaluation(self) -> accuracy.EvaluateStep:
        """Measures the heads' mean, of variables with heads."""

        def classify(variables: Params, images: jax.Array) -> jax.Array:
            params = variables["params"]
            features = self._features(classifier_of(variables), images)
            logits = [
                auxiliary.head_logits(head, features, random_key.key(0), dropout_rate=0.0)
                for head in params["heads"].values()
            ]
            return jnp.mean(jax.nn.softmax(jnp.concatenate(logits)), axis=0)

        return self.evaluate_step(classify)

    @functools.cached_property
    def judge(self) -> Callable[..., dict[str, jax.Array]]:
        """`judge(variables, key, images, places)`: stage 2 of a batch, compiled.

        classes int32 [b, k], variances float32 [b, k] and probabilities float32 [b, c]; see
        `heads.mc_dropout`. An image's random numbers derive from its place in the set.
        """
        amst, views, size = self._amst, self.views, self.network.view

        def features_of(variables: dict[str, Params], view: jax.Array) -> jax.Array:
            return self._features(classifier_of(variables), view)

        def judge(
            variables: dict[str, Params], key: jax.Array, images: jax.Array, places: jax.Array
        ) -> dict[str, jax.Array]:
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places)
            fold = jax.vmap(jax.random.fold_in, (0, None))
            if amst.label_view == "eval":
                same = features_of(variables, policy.eval_view(images, **size))
                features = dict.fromkeys(("weak", "strong", "both"), same)
            else:
                weak = policy.weak_view(views.weak, fold(keys, 1), images, **size)
                strong = policy.strong_view(views.strong, fold(keys, 2), images, **size)
                features = {
                    "weak": features_of(variables, weak),
                    "strong": features_of(variables, strong),
                }
                features["both"] = features["weak"]
            classes, variances, probabilities = auxiliary.mc_dropout(
                variables["params"]["heads"],
                features,
                fold(keys, 0),
                dropout_rate=amst.dropout_rate,
                num_passes=amst.num_passes,
            )
            return {"classes": classes, "variances": variances, "probabilities": probabilities}

        return jax.jit(judge)

    @functools.cached_property
    def _shapes(self) -> dict[str, Params]:
        """Of variables with heads."""
        return jax.eval_shape(self.with_auxiliary, self.variable_shapes)

    def _features(self, variables: Params, images: jax.Array) -> Any:
        """Float32 [b, d], the input of the head, nothing random."""
        return self.module.apply(variables, images, train=False, return_features=True)[1]

    def _make_heads(self, key: jax.Array) -> Params:
        side = self.network.image_size
        images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        features = jax.eval_shape(self._features, self.variable_shapes, images)
        return auxiliary.initial_heads(
            key,
            self.layout,
            num_features=features.shape[-1],
            num_classes=len(self.network.label_names),
        )


def stage_key(
    seed: int, what: Literal["heads", "stage 1", "stage 2", "stage 3"], round_number: int = 0
) -> jax.Array:
    """`fold_in(fold_in(key(seed), place of what), round_number)`.

    Two folds, as a child that `split` makes equals one that `fold_in` makes: a stage whose key were
    another stage's first step's would repeat its draws.

    Args:
      seed: of the run.
      what: draws from it.
      round_number: from 1 where the part is repeated in every round.
    """
    return jax.random.fold_in(jax.random.fold_in(random_key.key(seed), _PLACES[what]), round_number)
