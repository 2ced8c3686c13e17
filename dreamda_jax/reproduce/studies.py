"""The paper's comparisons as tables of cells (arXiv 2403.12803)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dreamda_jax.algorithms.diffusion.perturb import LATENT_SITES, site_module_name
from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion import checkpoint_files
from dreamda_jax.models.weights import hub
from dreamda_jax.reproduce.cells import Cell

SCALES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
"""σ_h of Figure 3."""

_CYCLE = ("eta=1", "inversion=cyclediffusion")
_FEWER: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "cycle": ((100, 50, 25, 20, 10), ("solver=ddim", *_CYCLE)),
    "reuse": ((20, 10), ("solver=ddim", *_CYCLE, "encoder_every=2")),
    "sde": ((25, 20, 10), ("solver=dpm++2m", *_CYCLE)),
    "ode": ((25, 20, 10), ("solver=dpm++2m", "eta=0", "inversion=ddim")),
}
"""By family of cells the numbers of steps, and the fields of section method besides."""

_CONVENTIONAL: dict[str, tuple[str, ...]] = {
    "original": (),
    "random_erasing": ("--config.augment.random_erasing=0.5",),
    "cutmix": ("--config.augment.cutmix=1.0",),
    "rand_augment": ("--config.augment.rand_augment=True",),
}
"""By cell the overrides of `train`; of real images alone."""


class UNetBlocks(NamedTuple):
    """How many blocks a U-Net has on either side of its bottleneck."""

    encoder: int
    decoder: int


def unet_blocks(
    path: str, *, revision: str | None = None, variant: str | None = None
) -> UNetBlocks:
    """Of a checkpoint; no weight is read, but a hub id is downloaded.

    Raises:
      UserError: see `checkpoint_files.find_checkpoint`.
    """
    files = checkpoint_files.find_checkpoint(path, revision=revision, variant=variant)
    file = files.unet.config
    config = hub.read_json(file)
    try:
        return UNetBlocks(len(config["down_block_types"]), len(config["up_block_types"]))
    except (KeyError, TypeError) as error:
        raise UserError(f"{file} does not say of which blocks its U-Net consists.") from error


def sites(
    config: str, blocks: UNetBlocks, *, chosen: Sequence[str] = (), scales: Sequence[float] = ()
) -> list[Cell]:
    """Tables 1 and 7: where to perturb.

    Args:
      config: the file.
      blocks: of the network.
      chosen: of its places; none: all, from the image through the network and out again.
      scales: σ_h, in the units of each place; none: the configuration's.

    Raises:
      UserError: the network has no such place.
    """
    every = (
        *LATENT_SITES,
        *(f"encoder_{block}" for block in range(blocks.encoder)),
        "bottleneck",
        *(f"decoder_{block}" for block in range(blocks.decoder)),
    )
    cells = []
    for site in chosen or every:
        if site not in LATENT_SITES:
            try:
                site_module_name(
                    site, num_encoder_blocks=blocks.encoder, num_decoder_blocks=blocks.decoder
                )
            except ValueError as error:
                raise UserError(f"--sites: {error}") from error
        place = Cell(site, config, (f"--config.method.site={site}",), settings={"site": site})
        cells += _at_scales(place, scales, prefix=f"{site}_") if scales else [place]
    return cells


def noise_scales(config: str, scales: Sequence[float] = ()) -> list[Cell]:
    """Figure 3: how strongly to perturb.

    Args:
      config: the file.
      scales: σ_h; none: `SCALES`.
    """
    return _at_scales(Cell("", config, ()), scales or SCALES, prefix="")


def step_counts(config: str) -> list[Cell]:
    """How few steps suffice: CycleDiffusion, encoder reuse, and the second-order solver.

    Args:
      config: the file.
    """
    return [
        Cell(
            f"{family}_{count}",
            config,
            tuple(
                f"--config.method.{field}" for field in (f"num_inference_steps={count}", *fields)
            ),
            settings={"num_inference_steps": count, "family": family},
        )
        for family, (counts, fields) in _FEWER.items()
        for count in counts
    ]


def methods(config: str, names: Iterable[str], *, default: str) -> list[Cell]:
    """Tables 3 and 5: conventional augmentation of the real images, and every method.

    Args:
      config: the file.
      names: of the methods, as its argument takes them.
      default: which of them it is without an argument.
    """
    cells = [
        Cell(name, config, None, training, settings={"training": "real images"})
        for name, training in _CONVENTIONAL.items()
    ]
    for name in names:
        file = config if name == default else f"{config}:{name}"
        cells.append(Cell(name, file, (), settings={"method": name}))
    return cells


def _at_scales(cell: Cell, scales: Sequence[float], *, prefix: str) -> list[Cell]:
    return [
        Cell(
            f"{prefix}scale_{scale:g}",
            cell.config,
            (*(cell.synthesis or ()), f"--config.method.noise_scale={scale:g}"),
            settings={**cell.settings, "noise_scale": scale},
        )
        for scale in scales
    ]
