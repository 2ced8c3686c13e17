"""Finding a checkpoint's files, in a directory or (simulated) on the hub."""

import fnmatch
import json
import os
import re
import shutil
from pathlib import Path

import flax.serialization
import huggingface_hub
import jax
import numpy as np
import pytest
import requests
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.numpy import load_file, save_file
from transformers import CLIPTokenizerFast

from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.models.stable_diffusion.checkpoint_files import (
    checkpoint_fingerprint,
    find_checkpoint,
)
from dreamda_jax.models.tokenizer import load_tokenizer
from tests.support.make_checkpoint import TINY_SD, make_tiny_sd2, random_tensor

UNET = "unet/diffusion_pytorch_model"
SHARDED = (f"{UNET}.safetensors.index.json", f"{UNET}-00001-of-00002.safetensors")


def test_local_directory():
    files = find_checkpoint(TINY_SD)
    assert files.directory == TINY_SD
    assert files.unet.config == TINY_SD / "unet/config.json"
    assert files.unet.weights == TINY_SD / f"{UNET}.safetensors"
    assert files.text_encoder.weights == TINY_SD / "text_encoder/model.safetensors"
    assert files.tokenizer == TINY_SD / "tokenizer"


def test_home_is_expanded(checkpoint, monkeypatch):
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    assert find_checkpoint("~/checkpoint").directory == checkpoint


def test_preference_among_weight_files(checkpoint):
    """Plain before sharded before the only variant before msgpack."""
    plain = checkpoint / f"{UNET}.safetensors"
    order = [
        plain.name,
        "diffusion_pytorch_model.safetensors.index.json",
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.safetensors.index.fp16.json",
        "diffusion_flax_model.msgpack",
    ]
    for name in order[1:]:
        (plain.parent / name).touch()
    (plain.parent / "diffusion_pytorch_model.bin").touch()
    for name in order:
        assert find_checkpoint(checkpoint).unet.weights.name == name
        (plain.parent / name).unlink()
    with pytest.raises(UserError, match="pickled weights are refused"):
        find_checkpoint(checkpoint)


def test_the_variant_that_is_given_is_loaded(checkpoint, tiny):
    """The U-Net's moving average and the other, as SD 1.x repositories have them."""
    _, params = tiny
    file = checkpoint / f"{UNET}.safetensors"
    halved = {name: array / 2 for name, array in load_file(file).items()}
    save_file(halved, checkpoint / f"{UNET}.non_ema.safetensors")
    _, ours = loading.load(checkpoint, variant="non_ema")
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, np.asarray(b) / 2),
        ours["unet"],
        params["unet"],
    )
    jax.tree.map(np.testing.assert_array_equal, ours["vae"], params["vae"])
    jax.tree.map(np.testing.assert_array_equal, loading.load(checkpoint)[1]["unet"], params["unet"])
    found, plain = find_checkpoint(checkpoint, variant="non_ema"), find_checkpoint(checkpoint)
    assert checkpoint_fingerprint(found) != checkpoint_fingerprint(plain)
    assert loading.notes_of(plain) == []
    assert loading.notes_of(found) == [
        "weights   vae has no variant 'non_ema': its plain weights are taken",
        "weights   text_encoder has no variant 'non_ema': its plain weights are taken",
    ]
    with pytest.raises(UserError, match=r"of variant 'fp16'\. There are: non_ema, plain \(unet\)"):
        loading.load(checkpoint, variant="fp16")
    file.unlink()
    notes = loading.notes_of(find_checkpoint(checkpoint))
    assert notes == ["weights   no plain weights of unet: the only variant, non_ema, is taken"]


def test_the_folder_of_the_hub_s_cache_is_its_snapshot(tmp_path):
    folder = tmp_path / "models--org--name"
    commits = ["a" * 40, "b" * 40]
    for commit in commits:
        shutil.copytree(TINY_SD, folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commits[1])
    assert find_checkpoint(folder).directory == folder / "snapshots" / commits[1]
    assert find_checkpoint(folder, revision=commits[0]).directory.name == commits[0]
    (folder / "refs" / "main").unlink()
    with pytest.raises(UserError, match=r"without a snapshot of 'main'.*snapshots/aaa.*, .*bbb"):
        find_checkpoint(folder)
    shutil.rmtree(folder / "snapshots" / commits[0])
    assert find_checkpoint(folder).directory.name == commits[1]


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("https://huggingface.co/org/name-1.5", "--config.model.path=org/name-1.5"),
        ("https://huggingface.co/org/name/tree/main", "--config.model.path=org/name"),
        (
            "http://www.huggingface.co/org/name/blob/fp16/unet/config.json",
            "--config.model.path=org/name --config.model.revision=fp16",
        ),
        ("huggingface.co/org/name", "--config.model.path=org/name"),
        ("hf.co/org/name/", "--config.model.path=org/name"),
    ],
)
def test_the_address_of_a_page_is_answered_with_the_id(hub, address, advice):
    with pytest.raises(UserError, match="the address of a page") as caught:
        find_checkpoint(address)
    assert str(caught.value).endswith(advice)
    assert not hub.asked


def test_a_transformer_without_a_unet_is_named(checkpoint, hub, monkeypatch):
    index = checkpoint / "model_index.json"
    index.write_text(json.dumps({"_class_name": "FluxPipeline"}))
    (checkpoint / "unet").rename(checkpoint / "transformer")
    with pytest.raises(UserError, match=r"\(FluxPipeline\): a transformer without a U-Net bottle"):
        find_checkpoint(checkpoint)
    names = ["transformer/config.json", "vae/config.json", "model_index.json"]
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *_, **__: names)
    with pytest.raises(UserError, match=r"org/flux: a transformer without a U-Net bottleneck"):
        find_checkpoint("org/flux")
    assert not hub.asked


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_missing_component_is_named_with_the_layout(checkpoint, component):
    shutil.rmtree(checkpoint / component)
    with pytest.raises(UserError, match=rf"lacks {component}/.*The layout expected:") as caught:
        loading.load(checkpoint)
    assert "diffusion_pytorch_model.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("unet/diffusion_pytorch_model.safetensors", "unet/config.json"),
        *("vae/config.json", "text_encoder/model.safetensors", "scheduler/scheduler_config.json"),
        *("tokenizer/vocab.json", "tokenizer/tokenizer_config.json"),
    ],
)
def test_a_pipe_in_a_checkpoint_is_refused_and_not_waited_for(checkpoint, name):
    (checkpoint / name).unlink()
    os.mkfifo(checkpoint / name)
    for use in (find_checkpoint, loading.load):
        with pytest.raises(UserError, match=f"{name} is a pipe, where a file is needed"):
            use(checkpoint)


def test_model_index_is_optional(checkpoint):
    (checkpoint / "model_index.json").unlink()
    find_checkpoint(checkpoint)


def test_fast_tokenizer_alone_is_enough(checkpoint):
    slow = load_tokenizer(checkpoint / "tokenizer")
    converted = checkpoint / "converted"
    CLIPTokenizerFast.from_pretrained(checkpoint / "tokenizer").save_pretrained(converted)
    for name in ("vocab.json", "merges.txt"):
        (converted / name).unlink(missing_ok=True)  # transformers 5 writes neither
    shutil.rmtree(checkpoint / "tokenizer")
    converted.rename(checkpoint / "tokenizer")
    find_checkpoint(checkpoint)
    loaded = load_tokenizer(checkpoint / "tokenizer")
    assert loaded("a photo of a dress").input_ids == slow("a photo of a dress").input_ids


def test_pickled_weights_only(checkpoint):
    (checkpoint / f"{UNET}.safetensors").rename(checkpoint / f"{UNET}.bin")
    with pytest.raises(UserError, match="pickled weights are refused") as caught:
        loading.load(checkpoint)
    assert f'from_pretrained("{checkpoint}"' in str(caught.value)
    assert "--config.model.path=converted" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "v1-5-pruned.safetensors",
            r"a single file, but a.*transformers>=5.10.*from_single_file",
        ),
        ("v1-5-pruned.ckpt", r"pickled weights are refused.*transformers>=5.10.*from_single_file"),
    ],
)
def test_single_file_checkpoints(tmp_path, name, message):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"(?s){message}"):
        find_checkpoint(tmp_path / name)


@pytest.mark.parametrize("path", ["/no/such/place", "nowhere", "../up/there", "a b/c"])
def test_no_such_directory(path):
    with pytest.raises(UserError, match=r"no such directory\. Give a directory in diffusers' lay"):
        find_checkpoint(path)


def test_other_formats_give_the_same_parameters(checkpoint, tiny):
    """Half precision variant, shards and msgpack, through the whole of `load`."""
    _, params = tiny
    text = load_file(checkpoint / "text_encoder/model.safetensors")
    names = sorted(text)
    weight_map = {}
    for i, part in enumerate((names[:10], names[10:]), start=1):
        shard = f"model-{i:05d}-of-00002.safetensors"
        save_file({n: text[n] for n in part}, checkpoint / "text_encoder" / shard)
        weight_map |= dict.fromkeys(part, shard)
    (checkpoint / "text_encoder/model.safetensors").unlink()
    (checkpoint / "text_encoder/model.safetensors.index.json").write_text(
        json.dumps({"weight_map": weight_map})
    )
    unet = load_file(checkpoint / f"{UNET}.safetensors")
    half = {name: array.astype(np.float16) for name, array in unet.items()}
    save_file(half, checkpoint / f"{UNET}.fp16.safetensors")
    (checkpoint / f"{UNET}.safetensors").unlink()
    (checkpoint / "vae/diffusion_pytorch_model.safetensors").unlink()
    (checkpoint / "vae/diffusion_flax_model.msgpack").write_bytes(
        flax.serialization.to_bytes(jax.tree.map(np.asarray, params["vae"]))
    )
    _, ours = loading.load(checkpoint)
    jax.tree.map(np.testing.assert_array_equal, ours["text_encoder"], params["text_encoder"])
    jax.tree.map(np.testing.assert_array_equal, ours["vae"], params["vae"])
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, np.asarray(b, np.float16)),
        ours["unet"],
        params["unet"],
    )


def test_wrong_shape_and_nan_name_the_tensor(checkpoint):
    file = checkpoint / "vae/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    name = "decoder.conv_in.bias"
    save_file(tensors | {name: tensors[name][:3]}, file)
    with pytest.raises(UserError, match=rf"vae/.*tensor {name} has shape \(3,\).*\(64,\)"):
        loading.load(checkpoint)
    tensors[name][5] = np.nan
    save_file(tensors, file)
    with pytest.raises(UserError, match=rf"tensor {name} holds NaN or Inf"):
        loading.load(checkpoint)


def test_made_checkpoints_are_deterministic(tiny_sd2_directory, tmp_path):
    make_tiny_sd2(tmp_path)
    assert checkpoint_fingerprint(find_checkpoint(tmp_path)) == checkpoint_fingerprint(
        find_checkpoint(tiny_sd2_directory)
    )
    path, shape = ("conv_in", "kernel"), (3, 3, 4, 8)
    first, second = (random_tensor(path, shape, seed=seed) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_fingerprint_covers_configs_tokenizer_and_weights(checkpoint):
    before = checkpoint_fingerprint(find_checkpoint(checkpoint))
    assert checkpoint_fingerprint(find_checkpoint(TINY_SD)) == before  # wherever it lies
    (checkpoint / "README.md").write_text("not part of the model")
    (checkpoint / "unet/notes.txt").write_text("nor this")
    assert checkpoint_fingerprint(find_checkpoint(checkpoint)) == before
    seen = {before}
    for name in ("scheduler/scheduler_config.json", "tokenizer/merges.txt"):
        with (checkpoint / name).open("a") as stream:
            stream.write("\n")
        seen.add(checkpoint_fingerprint(find_checkpoint(checkpoint)))
    file = checkpoint / f"{UNET}.safetensors"
    size = file.stat().st_size
    for offset in (100, size // 2 + 100, size - 1):
        with file.open("r+b") as stream:
            stream.seek(offset)
            byte = stream.read(1)[0]
            stream.seek(offset)
            stream.write(bytes([byte ^ 1]))
        seen.add(checkpoint_fingerprint(find_checkpoint(checkpoint)))
    assert len(seen) == 6


class Hub:
    """Stands in for huggingface_hub: serves TINY_SD's files under an id, or fails as told."""

    def __init__(self, monkeypatch, tmp_path):
        self.error = None
        self.download_error = None
        self.cached = None
        self.asked = []
        self.extra = []
        self.tmp_path = tmp_path
        monkeypatch.setattr(huggingface_hub, "list_repo_files", self.list_repo_files)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot_download)

    def list_repo_files(self, repo_id, *, revision):
        if self.error:
            raise self.error
        files = (p.relative_to(TINY_SD).as_posix() for p in TINY_SD.rglob("*") if p.is_file())
        return [*files, *self.extra, "unet/diffusion_pytorch_model.bin", "v1-5-pruned.ckpt"]

    def snapshot_download(self, repo_id, *, revision, allow_patterns=None, local_files_only=False):
        if local_files_only:
            if self.cached is None:
                raise LocalEntryNotFoundError("not cached")
            return str(self.cached)
        if self.download_error:
            raise self.download_error
        self.asked.append((repo_id, revision, allow_patterns))
        for file in TINY_SD.rglob("*"):
            name = file.relative_to(TINY_SD)
            if file.is_file() and any(name.match(pattern) for pattern in allow_patterns):
                (self.tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, self.tmp_path / name)
        return str(self.tmp_path)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    return Hub(monkeypatch, tmp_path / "hub")


def response(status=404):
    answer = requests.Response()
    answer.status_code = status
    return answer


def test_hub_downloads_only_what_is_needed(hub):
    hub.extra = [f"{UNET}.fp16.safetensors", "safety_checker/model.safetensors"]
    files = find_checkpoint("some/model", revision="v2")
    ((repo_id, revision, patterns),) = hub.asked
    assert (repo_id, revision) == ("some/model", "v2")
    assert f"{UNET}.safetensors" in patterns
    assert not any("fp16" in p or "safety" in p or "bin" in p or "ckpt" in p for p in patterns)
    assert files.unet.weights == hub.tmp_path / f"{UNET}.safetensors"


def test_hub_takes_the_shards_of_an_index(hub, monkeypatch):
    names = set(hub.list_repo_files("", revision=None)) - {f"{UNET}.safetensors"}
    names |= {f"{UNET}.safetensors.index.json", f"{UNET}-00001-of-00002.safetensors"}
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *_, **__: sorted(names))
    with pytest.raises(UserError, match="lacks unet"):  # the stand-in has no shards to give
        find_checkpoint("some/model")
    patterns = hub.asked[0][2]
    assert any(Path(f"{UNET}-00001-of-00002.safetensors").match(p) for p in patterns)
    other = Path(f"{UNET}.non_ema-00001-of-00002.safetensors")
    assert not any(other.match(pattern) for pattern in patterns)


def test_hub_with_pickled_weights_only(hub, monkeypatch):
    names = [n for n in hub.list_repo_files("", revision=None) if n != f"{UNET}.safetensors"]
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *_, **__: names)
    with pytest.raises(UserError, match=r"pickled weights") as caught:
        find_checkpoint("some/model")
    assert 'from_pretrained("some/model"' in str(caught.value)
    assert not hub.asked


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError("no route"),
        LocalEntryNotFoundError("offline"),
        OfflineModeIsEnabled("offline"),
        TimeoutError(),
    ],
)
def test_no_network(hub, error):
    hub.error = error
    with pytest.raises(UserError, match=r"(?s)hub cannot be reached.*hf download some/model") as e:
        find_checkpoint("some/model")
    assert "--local-dir model" in str(e.value)
    assert "--config.model.path=model" in str(e.value)
    included = re.findall(r'"(.+?)"', str(e.value))
    for name in (f"{UNET}.safetensors", f"{UNET}.fp16.safetensors", *SHARDED, "unet/config.json"):
        assert any(fnmatch.fnmatch(name, pattern) for pattern in included), name
    assert not any(fnmatch.fnmatch("v1-5-pruned.safetensors", pattern) for pattern in included)
    hub.error = error
    with pytest.raises(UserError) as e:
        find_checkpoint("some/model", revision="v1", variant="fp16")
    assert "hf download some/model --revision v1 --include" in str(e.value)
    included = re.findall(r'"(.+?)"', str(e.value))
    for name, wanted in {
        f"{UNET}.fp16.safetensors": True,
        f"{UNET}.fp16-00001-of-00002.safetensors": True,
        f"{UNET}.safetensors": True,  # of a network that has no such variant
        f"{UNET}.non_ema.safetensors": False,
    }.items():
        assert any(fnmatch.fnmatch(name, pattern) for pattern in included) == wanted, name


def test_no_network_but_cached(hub):
    hub.error = requests.ConnectionError("no route")
    hub.cached = TINY_SD
    assert find_checkpoint("some/model").directory == TINY_SD
    hub.cached = TINY_SD.parent / "oracle"  # an incomplete snapshot is no checkpoint
    with pytest.raises(UserError, match="hub cannot be reached"):
        find_checkpoint("some/model")


def test_gated_absent_and_wrong_revision(hub):
    hub.error = RepositoryNotFoundError("404", response=response())
    with pytest.raises(UserError, match="no such file or directory here, and no such model"):
        find_checkpoint("some/model")
    hub.error = RevisionNotFoundError("404", response=response())
    with pytest.raises(UserError, match="no revision 'v9'"):
        find_checkpoint("some/model", revision="v9")
    hub.error = None
    hub.download_error = GatedRepoError("403", response=response(403))
    with pytest.raises(UserError, match=r"(?s)licence to be accepted.*hf auth login.*hf download"):
        find_checkpoint("some/model")


def test_a_directory_wins_over_the_hub(hub, checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    (checkpoint.parent / "org").mkdir()
    checkpoint.rename(checkpoint.parent / "org/model")
    assert find_checkpoint("org/model").directory == Path("org/model")
    assert not hub.asked
