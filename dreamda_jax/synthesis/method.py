"""The interface every synthesis method has: seed images in, variants out, on one device.

A method is a frozen dataclass of its options. `synthesize` is pure and traceable; everything that
differs from call to call is in `Inputs`, everything fixed for a run is in the dataclass, so a run
compiles once.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from jaxtyping import Array, Float, Int, UInt, UInt8

from dreamda_jax.algorithms.diffusion.keys import RawKeys
from dreamda_jax.data.prompts import ChoosePrompt
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.types import AnyArray, Image, Params

if TYPE_CHECKING:
    import optax

    from dreamda_jax.models.clip.encoder import Guide
    from dreamda_jax.models.weights.load import Place


class Inputs(NamedTuple):
    """A batch of seed images with all that is drawn or encoded for them.

    Attributes:
      images: uint8 [b, h, w, 3].
      contexts: text embeddings of each variant's prompt, [b, n, l, d].
      source_context: embedding of the source prompt, [l, d].
      empty_context: embedding of the empty prompt, for guidance, [l, d].
      keys: one key per seed image (`keys.seed_keys`), uint32 [b, 2].
      variants: the variants' numbers, int32 [n].
    """

    images: UInt8[AnyArray, "b h w 3"]
    contexts: Float[AnyArray, "b n l d"]
    source_context: Float[AnyArray, "l d"]
    empty_context: Float[AnyArray, "l d"]
    keys: UInt[AnyArray, "b 2"]
    variants: Int[AnyArray, "n"]


class Outputs(NamedTuple):
    """What a method makes of a batch.

    Attributes:
      images: uint8 [b, n, h, w, 3].
      site_rms: RMS of what the noise was added to, or of the latents x_t where a method perturbs
        no features; over rows and steps, float32 [].
      trajectory: latents after each step, float32 [b, n, s, 4, h', w'], or None.
    """

    images: UInt8[Array, "b n h w 3"]
    site_rms: Float[Array, ""]
    trajectory: Float[Array, "b n s 4 hl wl"] | None


class Learning(Protocol):
    """What a method learns of every seed image before variants are made: an embedding."""

    @property
    def learning_steps(self) -> int:
        """Optimizer steps for each image."""

    @property
    def steps_per_call(self) -> int:
        """Of them, those that one call of the program makes."""

    @property
    def interpolation(self) -> float:
        """How far an embedding is moved towards another of its class, in [0, 1]."""

    def embedding_shape(self, model: StableDiffusion) -> tuple[int, int]:
        """(l, d) of an image's embedding."""

    def start(self, model: StableDiffusion, params: Params, images: Image, keys: RawKeys) -> Any:
        """What learning begins with: images uint8 [b, h, w, 3], their seeds' keys [b, 2]."""

    def learn(
        self, model: StableDiffusion, params: Params, state: Any, keys: RawKeys, first: AnyArray
    ) -> Any:
        """The state after `steps_per_call` further steps, the first of which has this number."""

    def optimizer(self) -> "optax.GradientTransformation":
        """That of the embeddings."""


class Method(Protocol):
    """What the engine, the pipeline and the entry point need of a method; subclasses are options.

    Nobody asks of which class a method is: what one needs or leaves out, it says here.

    Attributes:
      name: what `method.name` of a configuration and every record call it.
      networks: sections of a configuration that name other networks that it asks, such as "clip".
      prompts_hint: how to make it use the prompts of section `prompt`, where it does not; "": not.
      noise_scale: of a perturbation inside the network, for the report; None where there is none.
      source_prompt: what the seed image shows; "" where the method does not ask.
    """

    name: ClassVar[str]
    networks: ClassVar[tuple[str, ...]] = ()
    prompts_hint: ClassVar[str] = ""
    noise_scale: float | None = None
    source_prompt: str = ""

    @property
    def uses_prompts(self) -> bool:
        """Whether variants are made under the prompts of section `prompt`."""
        return True

    def check(self, model: StableDiffusion) -> None:
        """Raises ValueError where the options and the model do not fit together."""

    def prompts(
        self, given: ChoosePrompt, *, label_names: Sequence[str], draw_seed: int
    ) -> ChoosePrompt:
        """The prompt of every variant: `given`, that of section `prompt`, or one of its own."""
        return given

    @property
    def learning(self) -> Learning | None:
        """What is learnt of the seed images first; None: nothing."""
        return None

    def with_networks(self, opened: Mapping[str, "Guide"]) -> "Method":
        """The same method with the networks it asks; no weight has been read."""
        del opened
        return self

    def digests(self) -> dict[str, str]:
        """Of the networks it asks, sha256 by section."""
        return {}

    def extra_params(self) -> dict[str, Params]:
        """Shapes of the parameters of other networks that `synthesize` finds in `params`."""
        return {}

    def load_extra_params(self, place: "Place") -> dict[str, Params]:
        """Those parameters; `place` puts each on the devices.

        Raises:
          UserError: weights are damaged or do not fit.
        """
        del place
        return {}

    def synthesize(
        self, model: StableDiffusion, params: Params, inputs: Inputs, *, keep_trajectory: bool
    ) -> Outputs:
        """Makes n variants of each of b seed images on one device."""
        raise NotImplementedError
