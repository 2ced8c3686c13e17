"""What self-training compiles whatever its method: two views of an image, and the main stage."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dreamda_jax.algorithms.augment import policy
from dreamda_jax.algorithms.augment.options import Augment
from dreamda_jax.algorithms.selftrain.network import Network
from dreamda_jax.algorithms.selftrain.semi_supervised import Batch
from dreamda_jax.algorithms.selftrain.softmatch import Confidence, initial_confidence
from dreamda_jax.options.training import Recipe
from dreamda_jax.train.network import NetworkSpec
from dreamda_jax.train.programs import Programs
from dreamda_jax.types import AnyArray, Params


class Views(NamedTuple):
    """What is done to an image for each of its two views; the weak one mixes images too."""

    weak: Augment
    strong: Augment


class SelfTrainingPrograms(Programs):
    """A base of the programs of AMST and SoftMatch.

    Params are {"classifier", "heads"}; the heads are {} where the method has none. The method state
    is a `Confidence`.

    Args:
      network: the classifier.
      recipe: of its optimizer.
      mesh: of the job, or of devices that are only compiled for.
      views: of an image.
      unlabelled_ratio: images without a label in a step of the main stage, for each one with.
    """

    def __init__(
        self,
        network: NetworkSpec,
        recipe: Recipe,
        mesh: jax.sharding.Mesh,
        *,
        views: Views,
        unlabelled_ratio: int,
    ) -> None:
        super().__init__(network, recipe, mesh)
        self.views = views
        self.in_training = self._in_training()
        self._unlabelled_ratio = unlabelled_ratio

    def with_auxiliary(self, variables: dict[str, Params]) -> dict[str, Params]:
        """A classifier's variables with what the method has besides them in its params."""
        return {**variables, "params": {"classifier": variables["params"], "heads": {}}}

    def main_start(self, variables: dict[str, Params]) -> tuple[dict[str, Params], Any]:
        """See `Programs`."""
        return self.with_auxiliary(variables), self.confidence()

    def confidence(self) -> Confidence:
        """The method state before the first step."""
        return initial_confidence(len(self.network.label_names))

    def batch_shapes(self, batch_size: int, *, canvas: int) -> Batch:
        """See `Programs`."""
        shape: Any = jax.ShapeDtypeStruct
        side, more = (canvas, canvas, 3), batch_size * self._unlabelled_ratio
        return Batch(
            images=shape((batch_size, *side), jnp.uint8),
            targets=shape((batch_size, len(self.network.label_names)), jnp.float32),
            unlabelled=shape((more, *side), jnp.uint8) if more else None,
        )

    def _in_training(self) -> Network:
        """The classifier and its views, as losses take them."""
        module, view, views = self.module, self.network.view, self.views

        def forward(params: Params, batch_stats: Params, images: jax.Array, key: jax.Array) -> Any:
            (logits, features), updated = module.apply(
                {"params": params, "batch_stats": batch_stats},
                images,
                train=True,
                return_features=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            return logits, features, updated.get("batch_stats", {})

        def weak(key: jax.Array, images: AnyArray) -> jax.Array:
            keys = policy.row_keys(key, len(images))
            return policy.weak_view(views.weak, keys, images, **view)

        def strong(key: jax.Array, images: AnyArray) -> jax.Array:
            keys = policy.row_keys(key, len(images))
            return policy.strong_view(views.strong, keys, images, **view)

        def mix(key: jax.Array, images: jax.Array, targets: AnyArray) -> Any:
            return policy.mix(views.weak, key, images, targets)

        return Network(forward, weak, strong, mix)


def classifier_of(variables: dict[str, Params]) -> dict[str, Params]:
    """The classifier's own variables, without the auxiliary heads."""
    return {**variables, "params": variables["params"]["classifier"]}
