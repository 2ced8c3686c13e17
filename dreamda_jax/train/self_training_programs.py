"""What self-training compiles: the views, the stages, the judgement; the random key of each."""

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
from dreamda_jax.algorithms.selftrain.network import Network
from dreamda_jax.algorithms.selftrain.semi_supervised import (
    HeadTraining,
    SoftLabels,
    semi_supervised_loss,
)
from dreamda_jax.algorithms.selftrain.softmatch import Confidence, initial_confidence
from dreamda_jax.runtime import devices
from dreamda_jax.train import accuracy
from dreamda_jax.train.build import Training
from dreamda_jax.train.build_self_training import SelfTraining
from dreamda_jax.train.programs import Programs, Stage, view_of
from dreamda_jax.types import AnyArray, Params

View = Literal["weak", "strong"]


_PLACES = {"heads": 0, "stage 1": 1, "stage 2": 2, "stage 3": 3}


class SelfTrainingPrograms(Programs):
    """The compiled functions of AMST and SoftMatch over all devices of the job.

    Params are {"classifier", "heads"}; the heads are {} where the method has none.

    Args:
      parts: the checked configuration.
    """

    def __init__(self, parts: Training) -> None:
        super().__init__(parts)
        assert parts.self_training is not None
        self._of: SelfTraining = parts.self_training
        self._job = parts
        self.layout = auxiliary.MULTI_HEAD if self._of.amst.multi_head else auxiliary.SINGLE_HEAD
        self._network = _network(self, parts, self._of)
        self._draw_heads = jax.jit(self._make_heads, out_shardings=devices.replicated(self.mesh))

    def with_heads(self, variables: dict[str, Params], seed: int) -> dict[str, Params]:
        """Variables of a classifier, and fresh auxiliary heads drawn from `seed`."""
        heads = self._draw_heads(stage_key(seed, "heads"))
        return {**variables, "params": {"classifier": variables["params"], "heads": heads}}

    def with_main_head(self, variables: dict[str, Params]) -> dict[str, Params]:
        """The main head as the mean of the auxiliary ones: it starts as their joint opinion.

        A random one would be the first teacher of the images without a label.
        """
        params = variables["params"]
        flat = flax.traverse_util.flatten_dict(params["classifier"])
        architecture = self._job.architecture
        for path, leaf in flat.items():
            for name, tensor in (("kernel", "weight"), ("bias", "bias")):
                if architecture.tensor_name(("params", *path)) == f"{architecture.head}.{tensor}":
                    stacked = [head[name] for head in params["heads"].values()]
                    flat[path] = jnp.mean(jnp.concatenate(stacked), axis=0).astype(leaf.dtype)
        classifier = flax.traverse_util.unflatten_dict(flat)
        return {**variables, "params": {**params, "classifier": classifier}}

    def without_heads(self, variables: dict[str, Params]) -> dict[str, Params]:
        """The same for a method that has none."""
        return {**variables, "params": {"classifier": variables["params"], "heads": {}}}

    @functools.cached_property
    def stage1(self) -> Stage:
        """The heads on real images."""
        amst = self._of.amst
        loss = stage1_loss(
            self._network,
            dropout_rate=amst.dropout_rate,
            orthogonality_weight=amst.orthogonality_weight,
        )
        return self.stage(
            loss,
            jax.eval_shape(functools.partial(self.with_heads, seed=0), self.variable_shapes),
            num_steps=self._job.stage1_steps,
            steps_per_epoch=len(self._job.real or ()) / self._job.recipe.batch_size,
        )

    @functools.cache  # noqa: B019  # lives as long as the job
    def main_stage(
        self,
        *,
        with_heads: bool,
        with_unlabelled: bool,
        train_heads: bool = False,
        views: tuple[View, ...] = ("weak",),
        soft: bool = False,
    ) -> Stage:
        """The main head on labelled images, with consistency on those without a label.

        Args:
          with_heads: whether the state has auxiliary heads.
          with_unlabelled: whether batches have images without a label.
          train_heads: the heads learn too.
          views: which views of labelled images are learnt.
          soft: labels are distributions.
        """
        amst = self._of.amst
        loss = semi_supervised_loss(
            self._network,
            self._of.consistency if with_unlabelled else None,
            labelled_views=views,
            heads=(
                HeadTraining(amst.dropout_rate, amst.orthogonality_weight) if train_heads else None
            ),
            soft_labels=SoftLabels() if soft else None,
        )
        start = functools.partial(self.with_heads, seed=0) if with_heads else self.without_heads
        return self.stage(
            loss,
            jax.eval_shape(start, self.variable_shapes),
            num_steps=self._job.num_steps,
            steps_per_epoch=self._job.steps_per_epoch,
        )

    def confidence(self) -> Confidence:
        """The method's state before the first step."""
        return initial_confidence(len(self._job.label_names))

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
        amst = self._of.amst

        def features_of(variables: dict[str, Params], view: jax.Array) -> jax.Array:
            return self._features(classifier_of(variables), view)

        def judge(
            variables: dict[str, Params], key: jax.Array, images: jax.Array, places: jax.Array
        ) -> dict[str, jax.Array]:
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places)
            fold = jax.vmap(jax.random.fold_in, (0, None))
            if amst.label_view == "eval":
                same = features_of(variables, policy.eval_view(images, **self._size))
                features = dict.fromkeys(("weak", "strong", "both"), same)
            else:
                weak = policy.weak_view(self._job.augment, fold(keys, 1), images, **self._size)
                strong = policy.strong_view(self._of.strong, fold(keys, 2), images, **self._size)
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

    def _features(self, variables: Params, images: jax.Array) -> Any:
        """Float32 [b, d], the input of the head, nothing random."""
        return self.module.apply(variables, images, train=False, return_features=True)[1]

    @property
    def _size(self) -> dict[str, Any]:
        shape = view_of(self._job)
        return {"size": shape["image_size"], "mean": shape["mean"], "std": shape["std"]}

    def _make_heads(self, key: jax.Array) -> Params:
        side = self._job.image_size
        images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        features = jax.eval_shape(self._features, self.variable_shapes, images)
        return auxiliary.initial_heads(
            key,
            self.layout,
            num_features=features.shape[-1],
            num_classes=len(self._job.label_names),
        )


def classifier_of(variables: dict[str, Params]) -> dict[str, Params]:
    """The classifier's own variables, without the auxiliary heads."""
    return {**variables, "params": variables["params"]["classifier"]}


def _network(programs: Programs, parts: Training, of: SelfTraining) -> Network:
    shape = view_of(parts)
    view = {"size": shape["image_size"], "mean": shape["mean"], "std": shape["std"]}

    def forward(params: Params, batch_stats: Params, views: jax.Array, key: jax.Array) -> Any:
        (logits, features), updated = programs.module.apply(
            {"params": params, "batch_stats": batch_stats},
            views,
            train=True,
            return_features=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        return logits, features, updated.get("batch_stats", {})

    def weak(key: jax.Array, images: AnyArray) -> jax.Array:
        keys = policy.row_keys(key, len(images))
        return policy.weak_view(parts.augment, keys, images, **view)

    def strong(key: jax.Array, images: AnyArray) -> jax.Array:
        keys = policy.row_keys(key, len(images))
        return policy.strong_view(of.strong, keys, images, **view)

    return Network(forward, weak, strong, functools.partial(policy.mix, parts.augment))


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
