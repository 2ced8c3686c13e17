"""`python -m dreamda_jax.finetune` from a configuration to a checkpoint, and what it refuses."""

import json
import shlex
import shutil
import threading

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from dreamda_jax.data.files import atomic
from dreamda_jax.data.sets import dataset
from dreamda_jax.errors import UserError
from dreamda_jax.finetune import build
from dreamda_jax.finetune.result import is_complete
from dreamda_jax.models.stable_diffusion import loading, lora
from dreamda_jax.runtime.log import read_log
from dreamda_jax.runtime.loop import Diverged
from tests.support.generate_command import generate
from tests.support.small_finetuning import make_config, run
from tests.support.small_training import StopAfter

METHODS = ("full", "lora", pytest.param("textual_inversion", marks=pytest.mark.slow))


def flat(params):
    return flax.traverse_util.flatten_dict(jax.tree.map(np.asarray, params))


def differing(before, after):
    """Names of arrays that are not the same to the bit."""
    before, after = flat(before), flat(after)
    assert set(before) == set(after)
    return {
        "/".join(path)
        for path in before
        if before[path].shape != after[path].shape or (before[path] != after[path]).any()
    }


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory, micro_checkpoint):
    """By method the output of a run with pictures, made when it is asked for."""
    directory = tmp_path_factory.mktemp("finetuned")

    class Made(dict):
        def __missing__(self, method):
            config = make_config(
                directory,
                micro_checkpoint,
                method=method,
                output=str(directory / method),
                num_samples=5,
                lora_alpha=16.0,
                sample_every=4,
            )
            assert run(config) == 0
            self[method] = directory / method
            return self[method]

    return Made()


@pytest.mark.parametrize("method", METHODS)
def test_a_run_leaves_a_checkpoint_logs_and_pictures(finetuned, method):
    output = finetuned[method]
    rows = read_log(output)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert {"train/loss", "train/mse", "train/mse_t000-199", "train/mse_t800-999"} <= set(rows[-1])
    assert all(np.isfinite(row["train/gradient_norm"]) for row in rows)
    assert list((output / "tensorboard").iterdir())
    sheets = sorted(path.name for path in (output / "samples").iterdir())
    assert sheets == ["step-000000.png", "step-000004.png"]
    assert Image.open(output / "samples" / sheets[0]).size[0] > 5 * 160
    content = json.loads((output / "result.json").read_bytes())
    assert content["steps"] == 4
    assert content["use"].startswith(f"--config.model.path={output}")
    loading.load(output)  # raises if anything does not fit


def test_full_finetuning_changes_all_of_the_unet_and_nothing_else(finetuned, micro_checkpoint):
    _, before = loading.load(micro_checkpoint)
    _, after = loading.load(finetuned["full"])
    assert not differing(before["vae"], after["vae"])
    assert not differing(before["text_encoder"], after["text_encoder"])
    assert len(differing(before["unet"], after["unet"])) == len(flat(before["unet"]))


def test_lora_changes_the_attention_projections_by_its_file(finetuned, micro_checkpoint):
    _, before = loading.load(micro_checkpoint)
    _, after = loading.load(finetuned["lora"])
    changed = differing(before["unet"], after["unet"])
    targets = lora.target_shapes(before["unet"])
    assert changed == {f"{path}/kernel" for path in targets}
    with safe_open(finetuned["lora"] / "pytorch_lora_weights.safetensors", "numpy") as file:
        assert len(file.keys()) == 2 * len(targets)
        path = "down_blocks_0/attentions_0/transformer_blocks_0/attn2/to_out_0"
        name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0.lora"
        update = file.get_tensor(f"{name}.up.weight") @ file.get_tensor(f"{name}.down.weight")
    place = (*path.split("/"), "kernel")
    difference = flat(after["unet"])[place] - flat(before["unet"])[place]
    # α/r is in the file already. The difference of two float32 weights near 1 has lost digits.
    np.testing.assert_allclose(difference, update.T, atol=2e-7)


@pytest.mark.slow
def test_new_tokens_are_in_text_encoder_tokenizer_files_and_prompts(finetuned, micro_checkpoint):
    output = finetuned["textual_inversion"]
    before_model, before = loading.load(micro_checkpoint)
    model, after = loading.load(output)
    assert not differing(before["unet"], after["unet"])
    table = ("text_model", "embeddings", "token_embedding", "embedding")
    assert differing(before["text_encoder"], after["text_encoder"]) == {"/".join(table)}
    old, new = flat(before["text_encoder"])[table], flat(after["text_encoder"])[table]
    assert len(new) == len(old) + 3
    np.testing.assert_array_equal(new[: len(old)], old)
    lines = [json.loads(line) for line in (output / "prompts.jsonl").read_text().splitlines()]
    assert lines[1] == {"class": "sandal", "prompt": "a photo of a <sandal>"}
    ids = model.tokenize([line["prompt"] for line in lines])
    assert [len(old) + i in row for i, row in enumerate(ids)] == [True] * 3
    for i, name in enumerate(("bag", "sandal", "trousers")):
        with safe_open(output / "textual_inversion" / f"{name}.safetensors", "numpy") as file:
            assert list(file.keys()) == [f"<{name}>"]
            np.testing.assert_array_equal(file.get_tensor(f"<{name}>"), new[len(old) + i])
    # Away from the mean of the class name's own tokens, where it began.
    own = before_model.tokenizer("sandal", add_special_tokens=False).input_ids
    assert np.abs(new[len(old) + 1] - old[own].mean(0)).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "textual_inversion"])
def test_generate_takes_the_result(finetuned, tmp_path, method):
    output = finetuned[method]
    done = generate(
        tmp_path / "made",
        output,
        f"--config.source.path={output.parent / 'images'}",
        "--config.synthesis.max_seeds=2",
        "--config.model.dtype=float32",
        "--config.loader.num_workers=0",
        *shlex.split(json.loads((output / "result.json").read_bytes())["use"]),
        config="configs/folder.py",
    )
    assert done.returncode == 0, done.stderr
    # The arguments name an output of their own, and the last one given counts.
    made = dataset.read_records(output.with_name(f"{output.name}_set"))
    prompts = {record.prompt for record in made}
    assert ("a photo of a <bag>" in prompts) == (method == "textual_inversion")


def test_a_finished_run_is_not_run_again(finetuned, micro_checkpoint, capsys):
    output = finetuned["full"]
    config = make_config(output.parent, micro_checkpoint, output=str(output), lora_alpha=16.0)
    config["finetune"]["num_samples"] = 5
    before = (output / "unet/diffusion_pytorch_model.safetensors").stat().st_mtime_ns
    assert run(config) == 0
    printed = capsys.readouterr().out
    assert "nothing left to do" in printed
    assert f"--config.model.path={output}" in printed
    assert (output / "unet/diffusion_pytorch_model.safetensors").stat().st_mtime_ns == before


def test_other_settings_are_refused_and_where_nothing_shows_in_the_result_are_not(
    finetuned, micro_checkpoint
):
    output = finetuned["full"]
    options = {"output": str(output), "lora_alpha": 16.0, "num_samples": 5}
    others = {"remat": True, "log_every": 3, "checkpoint_every": 1, "num_samples": 0}
    run(make_config(output.parent, micro_checkpoint, **{**options, **others}))
    with pytest.raises(UserError, match=r"other settings[\s\S]*finetune.p2_gamma: 1.0 here, 0.5"):
        run(make_config(output.parent, micro_checkpoint, **options, p2_gamma=0.5))


def test_the_dry_run_says_what_it_would_cost_and_writes_nothing(tmp_path, micro_checkpoint, capsys):
    config = make_config(tmp_path, micro_checkpoint, method="lora", accumulation=2)
    assert run(config, dry=True) == 0
    printed = capsys.readouterr().out
    for words in ("lora", "12 images of 3 classes, 8x8", "in 2 portions", "TFLOP", "P2 weights"):
        assert words in printed
    assert not (tmp_path / "finetuned").exists()


@pytest.mark.slow
def test_fewer_images_than_a_batch_are_seen_several_times(tmp_path, micro_checkpoint, capsys):
    config = make_config(tmp_path, micro_checkpoint, batch_size=16, num_steps=1, flip=True)
    assert run(config) == 0
    assert "a batch of 16 is larger than the set of 12 images" in capsys.readouterr().out


@pytest.mark.slow
def test_long_prompts_are_cut_with_one_note(tmp_path, micro_checkpoint, capsys):
    config = make_config(tmp_path, micro_checkpoint, num_steps=1)
    config["prompt"]["template"] = "a photo of a {class}" + " that is very long" * 8
    assert run(config) == 0
    printed = capsys.readouterr()
    assert printed.out.count("longer than the text encoder's 16 tokens") == 1
    assert "3 of 3 prompts" in printed.out
    assert "The first: 'a photo of a bag that is" in printed.out
    assert "sequence length" not in printed.err
    use = json.loads((tmp_path / "finetuned" / "result.json").read_bytes())["use"]
    assert shlex.split(use)[1] == "--config.prompt.template=" + config["prompt"]["template"]


@pytest.mark.slow
def test_a_diverging_training_stops_and_keeps_its_last_good_checkpoint(tmp_path, micro_checkpoint):
    options = {"num_steps": 40, "checkpoint_every": 1, "clip_norm": 0.0}
    config = make_config(tmp_path, micro_checkpoint, learning_rate=1e20, **options)
    with pytest.raises(Diverged, match=r"diverged at step \d+.*finetune.learning_rate"):
        run(config)
    output = tmp_path / "finetuned"
    assert not (output / "result.json").exists()
    kept = [int(path.name) for path in (output / "checkpoints").iterdir()]
    logged = read_log(output)
    assert not np.isfinite(logged[-1]["train/gradient_norm"])
    assert max(kept) < logged[-1]["step"]


@pytest.mark.slow
@pytest.mark.parametrize("num_samples", [0, 2])
def test_a_last_step_that_diverges_is_no_result(tmp_path, micro_checkpoint, num_samples):
    options = {"num_steps": 1, "learning_rate": 1e30, "clip_norm": 0.0}  # finite, and useless
    config = make_config(tmp_path, micro_checkpoint, num_samples=num_samples, **options)
    with pytest.raises(Diverged, match=r"diverged[\s\S]*a positive --config.finetune.clip_norm"):
        run(config)
    assert not (tmp_path / "finetuned" / "result.json").exists()
    assert not (tmp_path / "finetuned" / "unet").exists()


def test_an_image_that_cannot_be_decoded_is_left_out(tmp_path, micro_checkpoint, capsys):
    config = make_config(tmp_path, micro_checkpoint, num_steps=1)
    broken = next((tmp_path / "images" / "bag").iterdir())
    broken.write_bytes(broken.read_bytes()[:50])
    assert run(config) == 0
    printed = capsys.readouterr().out
    assert f"1 of 12 images cannot be decoded: bag/{broken.name}" in printed
    assert f"left out    bag/{broken.name}" in printed
    config["finetune"]["output"] = str(tmp_path / "again")  # what is in the cache is named too
    assert run(config) == 0
    assert f"1 of 12 images cannot be decoded: bag/{broken.name}" in capsys.readouterr().out


def test_the_model_is_not_overwritten_by_its_own_finetuning(tmp_path, micro_checkpoint):
    shutil.copytree(micro_checkpoint, tmp_path / "model")
    config = make_config(tmp_path, tmp_path / "model", output=str(tmp_path / "model"))
    with pytest.raises(UserError, match="would be overwritten"):
        run(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 3}, "take a multiple of 2, such as 4"),
        ({"batch_size": 6, "accumulation": 2}, "take a multiple of 4, such as 8"),
        ({"batch_size": 4, "accumulation": 3}, "multiple of accumulation"),
        ({"learning_rate": float("inf")}, "learning_rate must be a finite number"),
        ({"p2_gamma": float("nan")}, "p2_gamma must be a finite number"),
        ({"method": "textual_inversion", "num_vectors": 16}, "cut before the last of its 16"),
        ({"weighting": "p3"}, "finetune.weighting must be one of"),
        ({"learning_rat": 1.0}, "did you mean 'learning_rate'"),
        ({"fsdp": 3}, "does not divide"),
        ({"method": "dreambooth"}, "finetune.method must be one of"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, micro_checkpoint, options, message):
    with pytest.raises(UserError, match=message):
        run(make_config(tmp_path, micro_checkpoint, **options))


def test_an_output_among_the_images_is_refused(tmp_path, micro_checkpoint):
    config = make_config(tmp_path, micro_checkpoint)
    for field in ("output", "cache"):
        inside = {**config, "finetune": {**config["finetune"], field: str(tmp_path / "images/x")}}
        with pytest.raises(UserError, match="lies in the image folder"):
            run(inside)


@pytest.mark.slow
def test_what_a_run_that_was_stopped_is_not_taken_for(tmp_path, micro_checkpoint, capsys):
    config = make_config(tmp_path, micro_checkpoint)
    assert run(config, StopAfter(5)) is None
    assert "of 4\n" in capsys.readouterr().out  # "saved step … of 4"
    with pytest.raises(UserError, match="is a training that has not ended"):
        loading.load(tmp_path / "finetuned")
    one, two = sorted((tmp_path / "images" / "bag").iterdir())[:2]
    one.write_bytes(two.read_bytes())
    with pytest.raises(UserError, match=f"1 of the 12 source images .*'bag/{one.name}'"):
        run(config)


@pytest.mark.slow
def test_a_damaged_result_is_written_again_while_its_checkpoint_is_there(
    tmp_path, micro_checkpoint, capsys
):
    config = make_config(tmp_path, micro_checkpoint, num_steps=2)
    run(config)
    output = tmp_path / "finetuned"
    weights = output / "unet" / "diffusion_pytorch_model.safetensors"
    before, index = weights.read_bytes(), output / "model_index.json"
    weights.write_bytes(before[:-1] + b"x")
    index.unlink()
    assert run(config) == 0
    printed = capsys.readouterr().out
    assert f"damaged     {weights} is changed" in printed
    assert f"damaged     {index} is missing" in printed
    assert weights.read_bytes() == before
    assert index.exists()
    shutil.rmtree(output / "checkpoints")
    assert run(config) == 0  # nothing left to do
    weights.write_bytes(b"")
    with pytest.raises(UserError, match=r"the last checkpoint, to write it again, is not there"):
        run(config)


def test_what_a_killed_process_was_writing_is_no_part_of_the_result(tmp_path, micro_checkpoint):
    config = make_config(tmp_path, micro_checkpoint, num_steps=1)
    left = tmp_path / "finetuned" / "unet" / ".dreamda-tmp~0123456789~1~ab~config.json"
    old = tmp_path / "finetuned" / "vae" / f".dreamda-tmp~{atomic.machine_id()}~99999999~ab~x"
    assert run(config, StopAfter(2)) is None
    for file in (left, old):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"{")
    assert run(config) == 0
    assert not old.exists()  # of a dead process of this machine; the other may be a live host's
    left.unlink()
    assert is_complete(tmp_path / "finetuned", num_steps=1)


def test_files_of_the_result_have_the_mode_of_any_other(finetuned):
    output = finetuned["lora"]
    expected = (output / "config.json").stat().st_mode
    for name in ("unet/diffusion_pytorch_model.safetensors", "pytorch_lora_weights.safetensors"):
        assert (output / name).stat().st_mode == expected


def test_a_class_without_images_keeps_its_first_token(
    tmp_path, micro_checkpoint, capsys, monkeypatch
):
    config = make_config(tmp_path, micro_checkpoint, method="textual_inversion", num_steps=1)
    for file in (tmp_path / "images" / "bag").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"class 'bag' in the images to adapt to .*not an image"):
        run(config)
    assert not (tmp_path / "finetuned").exists()
    # Of a large set of records it is not known before all images have been read.
    monkeypatch.setattr(build, "check_classes", lambda source, output: [])
    assert run(config) == 0
    assert "class 'bag' has no image: <bag> stays as it begins" in capsys.readouterr().out


def test_a_warm_up_longer_than_the_training_is_noted(tmp_path, micro_checkpoint, capsys):
    run(make_config(tmp_path, micro_checkpoint, num_steps=3, warmup_steps=3), dry=True)
    assert "the warm-up of 3 steps is not over in 3" in capsys.readouterr().out


def test_tokens_need_a_place_in_the_prompt(tmp_path, micro_checkpoint):
    config = make_config(tmp_path, micro_checkpoint, method="textual_inversion")
    config["prompt"]["template"] = "a photo"
    with pytest.raises(UserError, match=r"has no \{class\}"):
        run(config)


def test_tokens_take_no_prompt_file(tmp_path, micro_checkpoint):
    config = make_config(tmp_path, micro_checkpoint, method="textual_inversion")
    (tmp_path / "prompts.jsonl").write_text('{"class": "bag", "prompt": "a bag"}')
    config["prompt"]["file"] = str(tmp_path / "prompts.jsonl")
    with pytest.raises(UserError, match="Leave the file out"):
        run(config)


@pytest.mark.slow
def test_a_result_that_was_not_written_to_the_end_is_written_again(tmp_path, micro_checkpoint):
    config = make_config(tmp_path, micro_checkpoint)
    run(config)
    output = tmp_path / "finetuned"
    weights = output / "unet/diffusion_pytorch_model.safetensors"
    before, result = weights.read_bytes(), json.loads((output / "result.json").read_bytes())
    (output / "result.json").unlink()
    weights.write_bytes(before[:100])
    run(config)
    assert weights.read_bytes() == before
    again = json.loads((output / "result.json").read_bytes())
    assert (again["loss"], again["use"]) == (result["loss"], result["use"])


def test_a_stop_before_the_first_step_leaves_nothing_half_done(tmp_path, micro_checkpoint):
    stop = threading.Event()
    stop.set()
    config = make_config(tmp_path, micro_checkpoint)
    assert run(config, stop) is None
    assert not (tmp_path / "finetuned" / "result.json").exists()
    assert run(config) == 0
    assert (tmp_path / "finetuned" / "result.json").exists()


@pytest.mark.slow
def test_mixed_precision_keeps_float32_weights(tmp_path, micro_checkpoint):
    config = make_config(tmp_path, micro_checkpoint, remat=True, accumulation=2)
    config["model"]["dtype"] = "bfloat16"
    assert run(config) == 0
    _, before = loading.load(micro_checkpoint)
    _, after = loading.load(tmp_path / "finetuned")
    for name, array in flat(after["unet"]).items():
        assert array.dtype == np.float32
        # Updates of 1e-3 a step would be rounded to the grid of bfloat16 at weights near 1.
        moved = array - flat(before["unet"])[name]
        assert np.abs(moved).max() < 5e-3
    coarse = jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), after["unet"])
    assert len(differing(coarse, after["unet"])) > 0.9 * len(flat(after["unet"]))
