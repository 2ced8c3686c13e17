"""Weights: every format and naming the loader takes, its errors, its memory."""

import json
import os
import struct
import tracemalloc

import flax.serialization
import flax.traverse_util
import jax
import jax.numpy as jnp
import ml_dtypes
import msgpack
import numpy as np
import pytest
from safetensors.numpy import save_file

from dreamda_jax.errors import UserError
from dreamda_jax.models.weights.hub import read_json
from dreamda_jax.models.weights.load import check_weights, load_weights
from dreamda_jax.models.weights.names import Leeway
from dreamda_jax.models.weights.safetensors_file import StoredTensor

NAMES = {  # PyTorch name -> Flax path
    "conv_in.weight": ("conv_in", "kernel"),
    "conv_in.bias": ("conv_in", "bias"),
    "time_embedding.linear_1.weight": ("time_embedding", "linear_1", "kernel"),
    "down_blocks.0.attentions.1.norm.weight": ("down_blocks_0", "attentions_1", "norm", "scale"),
    "down_blocks.0.attentions.1.proj_in.weight": (
        "down_blocks_0",
        "attentions_1",
        "proj_in",
        "kernel",
    ),
    "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0.weight": (
        "down_blocks_0",
        "attentions_1",
        "transformer_blocks_0",
        "attn1",
        "to_out_0",
        "kernel",
    ),
    "text_model.encoder.layers.0.mlp.fc1.weight": (
        "text_model",
        "encoder",
        "layers",
        "0",
        "mlp",
        "fc1",
        "kernel",
    ),
    "text_model.embeddings.token_embedding.weight": (
        "text_model",
        "embeddings",
        "token_embedding",
        "embedding",
    ),
}
SHAPES = {  # in PyTorch's layout
    "conv_in.weight": (6, 4, 3, 2),
    "conv_in.bias": (6,),
    "time_embedding.linear_1.weight": (5, 3),
    "down_blocks.0.attentions.1.norm.weight": (6,),
    "down_blocks.0.attentions.1.proj_in.weight": (7, 6, 1, 1),
    "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0.weight": (4, 6),
    "text_model.encoder.layers.0.mlp.fc1.weight": (8, 4),
    "text_model.embeddings.token_embedding.weight": (9, 4),
}


def tensors(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {n: rng.standard_normal(s, np.float32).astype(dtype) for n, s in SHAPES.items()}


def to_flax(array, path):
    if path[-1] == "kernel":
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return array


def flax_arrays(source):
    return {path: to_flax(source[name], path) for name, path in NAMES.items()}


EXPECTED = {
    path: jax.ShapeDtypeStruct(array.shape, jnp.float32)
    for path, array in flax_arrays(tensors()).items()
}


def load(*files, expected=EXPECTED, dtype=jnp.float32, **kwargs):
    loaded = load_weights(files, expected, dtype=dtype, **kwargs)
    return flax.traverse_util.flatten_dict(loaded)


def check(loaded, source, dtype=np.float32):
    assert loaded.keys() == EXPECTED.keys()
    for path, array in flax_arrays(source).items():
        assert loaded[path].dtype == dtype
        np.testing.assert_array_equal(np.asarray(loaded[path]), array.astype(dtype))


@pytest.mark.parametrize("stored", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("wanted", [np.float32, ml_dtypes.bfloat16])
def test_every_dtype_and_layout(tmp_path, stored, wanted):
    source = tensors(stored)
    save_file(source, tmp_path / "w.safetensors")
    check(load(tmp_path / "w.safetensors", dtype=wanted), source, wanted)


def test_position_ids_are_ignored(tmp_path):
    source = tensors()
    ids = {"text_model.embeddings.position_ids": np.arange(16)[None]}
    save_file(source | ids, tmp_path / "w.safetensors")
    check(load(tmp_path / "w.safetensors"), source)


def shard(directory, source, index="w.safetensors.index.json"):
    names = sorted(source)
    weight_map = {}
    for i, part in enumerate((names[:3], names[3:]), start=1):
        file = f"w-{i:05d}-of-00002.safetensors"
        save_file({name: source[name] for name in part}, directory / file)
        weight_map |= dict.fromkeys(part, file)
    (directory / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return directory / index


def test_sharded_by_index_or_by_files(tmp_path):
    source = tensors()
    index = shard(tmp_path, source)
    check(load(index), source)
    check(load(*sorted(tmp_path.glob("*.safetensors"))), source)


def test_shard_that_is_missing(tmp_path):
    index = shard(tmp_path, tensors())
    (tmp_path / "w-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match="1 of the 2 files it names are missing: w-00002-of-00002"):
        load(index)


@pytest.mark.parametrize("content", ["", "[]", '{"weight_map": 3}'])
def test_broken_index(tmp_path, content):
    (tmp_path / "w.safetensors.index.json").write_text(content)
    with pytest.raises(UserError, match="not a safetensors index"):
        load(tmp_path / "w.safetensors.index.json")


def test_1x1_convolution_and_linear_are_interchangeable(tmp_path):
    source = tensors()
    stored = dict(source)
    stored["down_blocks.0.attentions.1.proj_in.weight"] = source[
        "down_blocks.0.attentions.1.proj_in.weight"
    ][:, :, 0, 0]
    linear = "time_embedding.linear_1.weight"
    stored[linear] = source[linear][:, :, None, None]
    save_file(stored, tmp_path / "w.safetensors")
    check(load(tmp_path / "w.safetensors"), source)


@pytest.mark.parametrize("names", ["old", "new"])
@pytest.mark.parametrize("rank", [2, 4])
def test_vae_attention_under_all_its_names(tmp_path, names, rank):
    old = ("query", "key", "value", "proj_attn")
    new = ("to_q", "to_k", "to_v", "to_out.0")
    rng = np.random.default_rng(0)
    stored, expected, want = {}, {}, {}
    for flax_name, name in zip(old, old if names == "old" else new, strict=True):
        path = ("encoder", "mid_block", "attentions_0", flax_name)
        weight = rng.standard_normal((4, 4), np.float32)
        prefix = f"encoder.mid_block.attentions.0.{name}"
        stored[f"{prefix}.weight"] = weight if rank == 2 else weight[:, :, None, None]
        stored[f"{prefix}.bias"] = weight[0]
        want |= {(*path, "kernel"): weight.T, (*path, "bias"): weight[0]}
    expected = {path: jax.ShapeDtypeStruct(a.shape, a.dtype) for path, a in want.items()}
    save_file({k: np.ascontiguousarray(v) for k, v in stored.items()}, tmp_path / "w.safetensors")
    loaded = load(tmp_path / "w.safetensors", expected=expected)
    for path, array in want.items():
        np.testing.assert_array_equal(loaded[path], array)


def write_msgpack(file, arrays):
    tree = flax.traverse_util.unflatten_dict(arrays)
    file.write_bytes(flax.serialization.msgpack_serialize(tree))
    return file


@pytest.mark.parametrize("stored", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_flax_msgpack(tmp_path, stored):
    source = tensors(stored)
    file = write_msgpack(tmp_path / "w.msgpack", flax_arrays(source))
    check(load(file), source)


def test_msgpack_errors(tmp_path):
    arrays = flax_arrays(tensors())
    file = tmp_path / "w.msgpack"
    bias = ("conv_in", "bias")
    with pytest.raises(UserError, match=r"conv_in/bias has shape \(3,\), .* asks for \(6,\)"):
        load(write_msgpack(file, arrays | {bias: np.ones(3, np.float32)}))
    with pytest.raises(UserError, match="conv_in/bias holds NaN or Inf"):
        load(write_msgpack(file, arrays | {bias: np.full(6, np.inf, np.float32)}))
    with pytest.raises(UserError, match="1 tensors are unexpected: more/bias"):
        load(write_msgpack(file, arrays | {("more", "bias"): np.ones(3, np.float32)}))
    with pytest.raises(UserError, match="1 of 8 tensors are missing: conv_in/bias"):
        load(write_msgpack(file, {path: a for path, a in arrays.items() if path != bias}))
    complete = write_msgpack(file, arrays).read_bytes()
    for content in (b"", complete[:-20], complete[:40], b"\xc1" * 50, b"\x01"):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"not a complete Flax msgpack|no tree of parameters"):
            load(file)


@pytest.mark.parametrize("stored", [np.int32, np.int8, np.uint16, np.bool_, np.complex64])
def test_msgpack_of_other_than_floats_is_refused(tmp_path, stored):
    bias = {("conv_in", "bias"): np.ones(6, stored)}
    file = write_msgpack(tmp_path / "w.msgpack", flax_arrays(tensors()) | bias)
    name = np.dtype(stored).name
    with pytest.raises(UserError, match=rf"conv_in/bias is stored as {name}; quantised"):
        load(file)


def test_msgpack_with_one_name_twice_is_refused(tmp_path):
    bias = msgpack.packb("bias") + msgpack.packb(
        msgpack.ExtType(1, msgpack.packb(((6,), "float32", np.ones(6, np.float32).tobytes())))
    )
    file = tmp_path / "w.msgpack"
    file.write_bytes(b"\x81" + msgpack.packb("conv_in") + b"\x82" + bias * 2)
    with pytest.raises(UserError, match="two values are called 'bias'"):
        load(file)


TWICE = {
    "conv_in.weight": "conv_in.kernel",
    "down_blocks.0.attentions.1.norm.weight": "down_blocks_0.attentions_1.norm.scale",
    "down_blocks.0.attentions.1.proj_in.weight": "down_blocks_0.attentions.1.proj_in.weight",
    "text_model.encoder.layers.0.mlp.fc1.weight": "text_model.encoder.layers_0.mlp.fc1.kernel",
}


@pytest.mark.parametrize(("name", "other"), TWICE.items())
@pytest.mark.parametrize("apart", [False, True])
def test_two_names_of_one_parameter_are_refused(tmp_path, name, other, apart):
    source = tensors()
    again = {other: source[name] + 1}
    if apart:  # in a second shard
        save_file(source, tmp_path / "1.safetensors")
        save_file(again, tmp_path / "2.safetensors")
    else:
        save_file(source | again, tmp_path / "1.safetensors")
    with pytest.raises(UserError, match="are names of one parameter") as caught:
        load(*sorted(tmp_path.iterdir()))
    assert name in str(caught.value)
    assert other in str(caught.value)


def test_one_name_in_two_shards_is_refused(tmp_path):
    save_file(tensors(), tmp_path / "1.safetensors")
    save_file({"conv_in.bias": np.ones(6, np.float32)}, tmp_path / "2.safetensors")
    with pytest.raises(UserError, match=r"conv_in\.bias and conv_in\.bias are names"):
        load(tmp_path / "1.safetensors", tmp_path / "2.safetensors")


def test_one_name_twice_in_a_header_is_refused(tmp_path):
    entry = '{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}'
    header = f'{{"a":{entry % (0, 4)},"a":{entry % (0, 4)}}}'.encode()
    file = tmp_path / "w.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(UserError, match="not a complete safetensors file"):
        load(file)


@pytest.mark.parametrize("suffix", [".safetensors", ".msgpack", ".safetensors.index.json"])
@pytest.mark.parametrize("link", [False, True])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, suffix, link):
    file = tmp_path / f"w{suffix}"
    os.mkfifo(tmp_path / "pipe" if link else file)
    if link:
        file.symlink_to("pipe")
    with pytest.raises(UserError, match=r"w\..* is a pipe, where a file is needed"):
        load(file)


def test_a_shard_that_is_a_pipe_or_lies_elsewhere_is_refused(tmp_path):
    index = shard(tmp_path, tensors())
    names = json.loads(index.read_text())["weight_map"]
    first = tmp_path / min(names.values())
    first.rename(tmp_path.parent / f"{tmp_path.name}.safetensors")
    os.mkfifo(first)
    with pytest.raises(UserError, match="is a pipe"):
        load(index)
    for name in names:
        names[name] = f"../{tmp_path.name}.safetensors"
    index.write_text(json.dumps({"weight_map": names}))
    with pytest.raises(UserError, match="names files that are not beside it"):
        load(index)


@pytest.mark.parametrize(
    "leaf",
    [5, None, True, "text", b"bytes", [1.0], [[0] * 3] * 2, float("nan")],
    ids=["5", "None", "True", "text", "bytes", "list", "lists", "nan"],
)
def test_msgpack_leaves_that_are_no_arrays(tmp_path, leaf):
    file = write_msgpack(tmp_path / "w.msgpack", flax_arrays(tensors()))
    tree = msgpack.unpackb(file.read_bytes(), ext_hook=msgpack.ExtType, strict_map_key=False)
    tree["conv_in"]["bias"] = leaf
    file.write_bytes(msgpack.packb(tree))
    with pytest.raises(UserError, match=r"w\.msgpack: holds .* as conv_in/bias, not an array"):
        load(file)


@pytest.mark.parametrize("key", [3, None, b"name", 2.5, True])
def test_msgpack_keys_that_are_no_names(tmp_path, key):
    file = write_msgpack(tmp_path / "w.msgpack", flax_arrays(tensors()))
    tree = msgpack.unpackb(file.read_bytes(), ext_hook=msgpack.ExtType, strict_map_key=False)
    file.write_bytes(msgpack.packb({**tree, key: {}}))
    with pytest.raises(UserError, match="not a name"):
        load(file)


ODD_ARRAYS = {
    "a type that is none": [(2,), "float33", b"12345678"],
    "objects": [(1,), "O", b"12345678"],
    "a list for a type": [(1,), ["float32"], b"1234"],
    "no shape": [None, "float32", b"1234"],
    "a text for a shape": ["ab", "float32", b"1234"],
    "a huge shape": [(2**62, 2**62), "float32", b"1234"],
    "a negative shape": [(-1, -4), "float32", b"1234" * 4],
    "two parts": [(1,), "float32"],
}


@pytest.mark.parametrize("odd", ODD_ARRAYS)
def test_msgpack_arrays_that_are_none(tmp_path, odd):
    file = tmp_path / "w.msgpack"
    array = msgpack.ExtType(1, msgpack.packb(ODD_ARRAYS[odd]))
    file.write_bytes(msgpack.packb({"conv_in": {"bias": array}}))
    with pytest.raises(UserError, match=r"w\.msgpack: not a complete Flax msgpack file"):
        load(file)


def test_wrong_shapes_are_named_in_the_files_own_layout(tmp_path):
    for name, shape, want in (
        ("conv_in.weight", (6, 9, 3, 2), r"\(6, 9, 3, 2\), .* asks for \(6, 4, 3, 2\)"),
        ("conv_in.weight", (6, 9), r"\(6, 9\), .* asks for \(6, 4, 3, 2\)"),
        ("time_embedding.linear_1.weight", (3, 5), r"\(3, 5\), .* asks for \(5, 3\)"),
        ("conv_in.bias", (6, 1), r"\(6, 1\), .* asks for \(6,\)"),
    ):
        save_file(tensors() | {name: np.ones(shape, np.float32)}, tmp_path / "w.safetensors")
        with pytest.raises(UserError, match=rf"tensor {name} has shape {want}"):
            load(tmp_path / "w.safetensors")


def test_missing_and_unexpected_tensors(tmp_path):
    source = tensors()
    del source["conv_in.bias"]
    extra = {f"vision_model.layers.{i}.bias": np.ones(1, np.float32) for i in range(7)}
    save_file(source | extra, tmp_path / "w.safetensors")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "w.safetensors")
    message = str(caught.value)
    assert "1 of 8 tensors are missing: conv_in/bias" in message
    assert "7 tensors are unexpected: vision_model.layers.0.bias" in message
    assert "layers.6" not in message  # only the first few


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_not_finite(tmp_path, bad, dtype):
    source = tensors(dtype)
    source["conv_in.weight"][0, 1, 2, 0] = bad
    save_file(source, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"tensor conv_in\.weight holds NaN or Inf"):
        load(tmp_path / "w.safetensors")


def test_quantised_weights(tmp_path):
    source = tensors() | {"conv_in.bias": np.ones(6, np.int8)}
    save_file(source, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"conv_in\.bias is stored as I8; quantised"):
        load(tmp_path / "w.safetensors")


def test_damaged_files(tmp_path):
    file = tmp_path / "w.safetensors"
    save_file(tensors(), file)
    complete = file.read_bytes()
    for content in (b"", complete[:5], complete[:100], complete[:-1], b"\xff" * 64, b"PK" * 40):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"w\.safetensors: not a complete safetensors file"):
            load(file)
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(UserError, match="git-lfs pointer"):
        load(file)
    with pytest.raises(UserError, match="no such file"):
        load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt"])
def test_pickled_weights_are_refused_unread(tmp_path, suffix):
    file = tmp_path / "unet" / f"model{suffix}"
    with pytest.raises(UserError, match="pickled weights are refused") as caught:
        load(file)
    assert "safe_serialization=True" in str(caught.value)
    assert 'diffusers and "transformers>=5.10"' in str(caught.value)
    assert str(tmp_path if suffix == ".bin" else file) in str(caught.value)


def test_place_is_called_once_per_tensor_and_its_result_kept(tmp_path):
    save_file(tensors(), tmp_path / "w.safetensors")
    placed = []

    def place(array):
        assert array.flags.c_contiguous
        placed.append(array.shape)
        return jnp.asarray(array)[None]

    loaded = load(tmp_path / "w.safetensors", place=place)
    assert sorted(placed) == sorted(leaf.shape for leaf in EXPECTED.values())
    assert all(loaded[path].shape == (1, *leaf.shape) for path, leaf in EXPECTED.items())


@pytest.mark.parametrize(
    ("suffix", "stored", "count"),  # 24 tensors of 16 MiB in float32: 400 MB of parameters
    [
        (".safetensors", np.float16, 24),
        (".safetensors", np.float32, 6),
        (".msgpack", np.float32, 6),
    ],
)
def test_memory_is_one_extra_tensor(tmp_path, suffix, stored, count):
    side = 2048
    expected = {
        (f"layers_{i}", "kernel"): jax.ShapeDtypeStruct((side, side), jnp.float32)
        for i in range(count)
    }
    kernel = np.ones((side, side), stored)
    file = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        write_repeated(file, [f"layers.{i}.weight" for i in range(count)], kernel)
    else:
        write_msgpack(file, dict.fromkeys(expected, kernel))
    live = []

    def place(array):
        # What the loader itself holds, while the parameters lie on the device (not counted).
        live.append(tracemalloc.get_traced_memory()[0])
        return jax.device_put(np.zeros(1, np.float32))

    tensor = side * side * 4
    tracemalloc.start()
    try:
        load_weights([file], expected, dtype=jnp.float32, place=place)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(live) == count
    # At `place` one host copy is alive; while converting, the raw tensor is too, and the parameter
    # is not placed yet. So beside the parameters there is at most one tensor. The lower bound shows
    # that the measurement sees the arrays.
    assert 0.9 * tensor < max(live) < 1.05 * tensor
    assert peak < kernel.nbytes + 1.05 * tensor


def write_repeated(file, names, array):
    """Write one array under many names without holding it many times."""
    tag = {np.dtype(np.float16): "F16", np.dtype(np.float32): "F32"}[array.dtype]
    header = {
        name: {
            "dtype": tag,
            "shape": array.shape,
            "data_offsets": [i * array.nbytes, (i + 1) * array.nbytes],
        }
        for i, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for _ in names:
            stream.write(array.tobytes())


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_a_config_that_is_nested_too_deeply(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json: cannot be read as JSON .*too deeply"):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("wrap", "names"),
    [
        (lambda name: f"_orig_mod.{name}", "torch.compile"),
        (lambda name: f"module._orig_mod.{name}", "DistributedDataParallel of it"),
        (lambda name: ".base_layer.".join(name.rsplit(".", 1)), "peft"),
    ],
)
def test_names_that_wrappers_of_a_network_changed(tmp_path, wrap, names):
    source = tensors()
    save_file({wrap(name): array for name, array in source.items()}, tmp_path / "w.safetensors")
    check(load(tmp_path / "w.safetensors"), source)


def test_adapters_beside_their_layers_are_not_left_out(tmp_path):
    stored = {".base_layer.".join(name.rsplit(".", 1)): x for name, x in tensors().items()}
    stored["time_embedding.linear_1.lora_A.default.weight"] = np.zeros((2, 3), np.float32)
    save_file(stored, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"1 tensors are unexpected: .*lora_A"):
        load(tmp_path / "w.safetensors")


def test_one_parameter_under_two_names(tmp_path):
    stored = tensors() | {"module.conv_in.bias": np.zeros(6, np.float32)}
    save_file(stored, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"conv_in\.bias and module\.conv_in\.bias are names"):
        load(tmp_path / "w.safetensors")


TEXT = {path: shape for path, shape in EXPECTED.items() if path[0] == "text_model"}
LEEWAY = Leeway(prefix="text_model.", extras=("vision_model.", "text_projection."))


@pytest.mark.parametrize("prefix", ["", "text_model.", "module."])
def test_a_prefix_may_be_left_out_and_extras_be_there(tmp_path, prefix):
    source = {name: x for name, x in tensors().items() if name.startswith("text_model.")}
    stored = {prefix + name.removeprefix("text_model."): x for name, x in source.items()}
    stored |= {"vision_model.x.bias": np.zeros(3), "text_projection.weight": np.zeros((2, 2))}
    save_file(stored, tmp_path / "w.safetensors")
    loaded = load(tmp_path / "w.safetensors", expected=TEXT, leeway=LEEWAY)
    for name, array in source.items():
        np.testing.assert_array_equal(loaded[NAMES[name]], to_flax(array, NAMES[name]))
    with pytest.raises(UserError, match="tensors are unexpected"):
        load(tmp_path / "w.safetensors", expected=TEXT)
    stored["visual.weight"] = np.zeros(3)
    save_file(stored, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"1 tensors are unexpected: visual\.weight"):
        load(tmp_path / "w.safetensors", expected=TEXT, leeway=LEEWAY)


def test_extras_of_msgpack(tmp_path):
    arrays = {NAMES[name]: to_flax(x, NAMES[name]) for name, x in tensors().items()}
    arrays = {path: x for path, x in arrays.items() if path[0] == "text_model"}
    extra = {("text_projection", "kernel"): np.ones(2)}
    file = write_msgpack(tmp_path / "w.msgpack", arrays | extra)
    loaded = load(file, expected=TEXT, leeway=LEEWAY)
    assert loaded.keys() == arrays.keys()
    check_weights([file], TEXT, leeway=LEEWAY)
    with pytest.raises(UserError, match="1 tensors are unexpected: text_projection/kernel"):
        check_weights([file], TEXT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv_in.bias": np.zeros(7, np.float32)}, r"conv_in\.bias has shape \(7,\)"),
        ({"conv_in.bias": np.zeros(6, np.int8)}, r"conv_in\.bias is stored as I8"),
        ({"more.bias": np.zeros(6, np.float32)}, r"1 tensors are unexpected: more\.bias"),
        ({"conv_in.bias": None}, r"1 of 8 tensors are missing: conv_in/bias"),
    ],
)
def test_what_does_not_fit_is_seen_without_reading(tmp_path, change, message, monkeypatch):
    def refuse(self):
        pytest.fail("a tensor was read")

    monkeypatch.setattr(StoredTensor, "read", refuse)
    file = tmp_path / "w.safetensors"
    save_file(tensors(), file)
    check_weights([file], EXPECTED)
    stored = {name: x for name, x in (tensors() | change).items() if x is not None}
    save_file(stored, file)
    with pytest.raises(UserError, match=message):
        check_weights([file], EXPECTED)
    with pytest.raises(UserError, match=message):
        load(file)  # before anything is read, whatever is wrong
