"""Find a checkpoint's files: a local directory or a Hugging Face hub id, in diffusers' layout."""

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from dreamda_jax.data.files import run_settings, staging
from dreamda_jax.data.files.known_digests import KnownDigests
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion import tokenizer_files, weight_files
from dreamda_jax.models.weights import hub
from dreamda_jax.models.weights.shards import (
    PICKLED_SUFFIXES,
    SAFE_TRANSFORMERS,
    pickled_weights,
    shard_files,
)

LAYOUT = """\
    unet/          config.json, diffusion_pytorch_model.safetensors
    vae/           config.json, diffusion_pytorch_model.safetensors
    text_encoder/  config.json, model.safetensors
    tokenizer/     vocab.json, merges.txt, tokenizer_config.json
    scheduler/     scheduler_config.json"""

_CONFIGS = {
    "unet": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "scheduler": "scheduler_config.json",
}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_SAMPLE_BYTES = 1 << 20
_SAMPLE = Path(__file__).parents[2] / "sample" / "tiny_sd"


class ComponentFiles(NamedTuple):
    """One network: its config and one weight file (or the index of a sharded one)."""

    config: Path
    weights: Path


class CheckpointFiles(NamedTuple):
    """Where the parts of a checkpoint lie on this machine.

    Attributes:
        notes: what a person should hear of the choice among several files.
    """

    directory: Path
    unet: ComponentFiles
    vae: ComponentFiles
    text_encoder: ComponentFiles
    tokenizer: Path  # a directory
    scheduler: Path
    notes: tuple[str, ...] = ()


def find_checkpoint(
    path: str | os.PathLike[str], *, revision: str | None = None, variant: str | None = None
) -> CheckpointFiles:
    """Find, and for a hub id download, the files of a checkpoint.

    Per network one file of weights is taken (`weight_files.choose_weights`). Nothing else is
    downloaded.

    Args:
        path: a directory in diffusers' layout, a hub id such as "org/name", or "sample" for the
            packaged tiny model. A directory of that name wins over the hub. The folder of a model
            in the hub's cache, models--org--name, stands for its snapshot.
        revision: branch, tag or commit on the hub, or in such a folder.
        variant: of the weights, such as "fp16" or "non_ema"; default: the plain ones.

    Raises:
        UserError: no such directory, a part is missing, the variant cannot be chosen, only pickled
            weights are there, or the hub cannot be reached or refuses; the message says what to
            download and where to put it.
    """
    hub.refuse_web_address(str(path), field="model.path")
    directory = hub.snapshot_in(staging.local(path), revision=revision)
    if path == "sample" and not directory.exists():
        directory = _SAMPLE
    if directory.is_file():
        raise _single_file(directory)
    if not directory.is_dir():
        if not _HUB_ID.fullmatch(str(path)):
            raise UserError(
                f"{path}: no such directory. Give a directory in diffusers' layout:\n{LAYOUT}\n"
                "or a hub id such as org/name."
            )
        directory = _download(str(path), revision=revision, variant=variant)
    elif (directory / "checkpoints").is_dir() and not (directory / "unet").is_dir():
        raise UserError(
            f"{directory} is a training that has not ended: run its command again to continue it."
        )
    names = _list_directory(directory)
    choice = _choose(names, where=str(directory), variant=variant)
    chosen = choice.files
    for part in (*map(_config, _CONFIGS), *chosen.values()):
        check_regular(directory / part)
    for file in (directory / "tokenizer").iterdir():
        if file.name in tokenizer_files.FILES:
            check_regular(file)
    return CheckpointFiles(
        directory=directory,
        unet=ComponentFiles(directory / _config("unet"), directory / chosen["unet"]),
        vae=ComponentFiles(directory / _config("vae"), directory / chosen["vae"]),
        text_encoder=ComponentFiles(
            directory / _config("text_encoder"), directory / chosen["text_encoder"]
        ),
        tokenizer=directory / "tokenizer",
        scheduler=directory / _config("scheduler"),
        notes=tuple(choice.notes),
    )


def config_digest(files: CheckpointFiles) -> str:
    """SHA-256 (hex) of the networks' config files: what shapes programs, whatever the weights."""
    digest = hashlib.sha256()
    for file in (files.unet.config, files.vae.config, files.text_encoder.config, files.scheduler):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def checkpoint_fingerprint(files: CheckpointFiles) -> str:
    """Hash a checkpoint so that another one under the same name is noticed, without reading it all.

    SHA-256 over the names and contents of the config and tokenizer files and, per weight file,
    its name, its size and 1 MiB samples at start, middle and end. The directory's own name does not
    matter.

    Raises:
        UserError: a shard that an index names is not there.
    """
    small = [files.unet.config, files.vae.config, files.text_encoder.config, files.scheduler]
    small += [file for file in files.tokenizer.iterdir() if file.is_file()]
    networks = (files.unet, files.vae, files.text_encoder)
    weights = [shard for network in networks for shard in shard_files(network.weights)]
    digest = hashlib.sha256()
    for file in sorted(small):
        content = file.read_bytes()
        _update(digest, file.relative_to(files.directory), len(content), content)
    for file in sorted(weights):
        size = file.stat().st_size
        with file.open("rb") as stream:
            samples = []
            for start in (0, size // 2, size - _SAMPLE_BYTES):
                stream.seek(max(start, 0))
                samples.append(stream.read(_SAMPLE_BYTES))
        _update(digest, file.relative_to(files.directory), size, b"".join(samples))
    return digest.hexdigest()


def checkpoint_digests(files: CheckpointFiles, *, verify: bool = False) -> dict[str, str]:
    """The digests of a checkpoint in the settings of a run: of samples, and of every byte.

    Args:
        files: what is read of it.
        verify: reads every file, whatever is known of it from an earlier start.

    Raises:
        UserError: a file cannot be read.
    """
    known = KnownDigests(verify=verify)
    digest = hashlib.sha256()
    for file in _files_of(files):
        try:
            one = known.sha256(file)
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror or error}.") from error
        name = file.relative_to(files.directory).as_posix()
        digest.update(f"{name} {one}\n".encode())
    known.save()
    listing = checkpoint_fingerprint(files)
    return run_settings.by_content(listing, digest.hexdigest(), name="model")


def _files_of(files: CheckpointFiles) -> list[Path]:
    small = [files.unet.config, files.vae.config, files.text_encoder.config, files.scheduler]
    small += [file for file in files.tokenizer.iterdir() if file.is_file()]
    networks = (files.unet, files.vae, files.text_encoder)
    weights = [shard for network in networks for shard in shard_files(network.weights)]
    return [*sorted(small), *sorted(weights)]


def _update(digest: "hashlib._Hash", name: Path, size: int, content: bytes) -> None:
    digest.update(f"{name.as_posix()}\0{size}\0".encode())
    digest.update(content)


def _config(component: str) -> str:
    return f"{component}/{_CONFIGS[component]}"


def _list_directory(directory: Path) -> set[str]:
    parts = [*_CONFIGS, "tokenizer", "transformer"]
    found = (directory / part for part in parts if (directory / part).is_dir())
    return {f"{part.name}/{file.name}" for part in found for file in part.iterdir()}


def _choose(names: set[str], *, where: str, variant: str | None) -> weight_files.Choice:
    """Pick one weight file per network out of relative names; complain about all that is absent."""
    if "transformer/config.json" in names and _config("unet") not in names:
        raise UserError(
            f"{where}{_pipeline_class(Path(where))}: a transformer without a U-Net bottleneck, "
            "such as SD3's, FLUX's or PixArt's, which the methods here perturb; not supported. "
            "Stable Diffusion 1.x and 2.x are."
        )
    absent = [_config(part) for part in _CONFIGS if _config(part) not in names]
    slow_tokenizer = {"tokenizer/vocab.json", "tokenizer/merges.txt"}
    if not slow_tokenizer <= names and "tokenizer/tokenizer.json" not in names:
        absent += sorted(slow_tokenizer - names)
    choice = weight_files.choose_weights(names, variant=variant, where=where)
    absent += choice.absent
    if absent:
        raise UserError(
            f"{where}: not a complete Stable Diffusion checkpoint, it lacks {', '.join(absent)}. "
            f"The layout expected:\n{LAYOUT}"
        )
    if choice.pickled:
        raise pickled_weights(Path(where) / choice.pickled[0])
    return choice


def _pipeline_class(directory: Path) -> str:
    """What model_index.json says, in brackets after a space; nothing where there is none."""
    try:
        return f" ({hub.read_json(directory / 'model_index.json')['_class_name']})"
    except (UserError, KeyError):
        return ""


def _single_file(file: Path) -> UserError:
    if file.suffix in PICKLED_SUFFIXES:
        return pickled_weights(file)
    return UserError(
        f"{file}: a single file, but a directory in diffusers' layout is needed. Convert it once, "
        f"in an environment with torch, diffusers and {SAFE_TRANSFORMERS}:\n"
        "    from diffusers import StableDiffusionPipeline\n"
        f'    pipeline = StableDiffusionPipeline.from_single_file("{file}")\n'
        '    pipeline.save_pretrained("converted", safe_serialization=True)\n'
        "and use the new directory: --config.model.path=converted"
    )


def _download(repo_id: str, *, revision: str | None, variant: str | None) -> Path:
    """Download the needed files, or fall back on the local cache if the hub cannot be reached."""

    def patterns(names: set[str]) -> list[str]:
        chosen = _choose(names, where=repo_id, variant=variant).files
        weights = weight_files.download_patterns(chosen.values())
        return ["model_index.json", "tokenizer/*", *map(_config, _CONFIGS), *weights]

    return hub.fetch_snapshot(
        repo_id,
        revision=revision,
        patterns=patterns,
        list_files=_list_directory,
        by_hand=_by_hand(repo_id, revision=revision, variant=variant),
    )


def _by_hand(repo_id: str, *, revision: str | None, variant: str | None) -> str:
    parts = [*weight_files.patterns_of_all(variant), "*.json", "tokenizer/*"]
    include = " ".join(f'"{part}"' for part in parts)
    at = f" --revision {revision}" if revision else ""
    name = repo_id.rsplit("/", 1)[-1]
    return (
        f"    hf download {repo_id}{at} --include {include} --local-dir {name}\n"
        f"copy the directory here and give its path: --config.model.path={name}"
    )
