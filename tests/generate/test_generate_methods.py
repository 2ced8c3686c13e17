"""Every method by `python -m dreamda_jax.generate`: devices, interruption, cost, and mistakes."""

import signal
import subprocess

import pytest
from PIL import Image

from dreamda_jax.data.sets import dataset, production_log
from dreamda_jax.synthesis.registry import METHODS
from tests.support.generate_command import command, contents, environment, generate, markers
from tests.support.held import held
from tests.support.paths import ROOT
from tests.support.waiting import HANG_GUARD_SECONDS, wait_until

OTHERS = [name for name in METHODS if name != "dreamda"]
ROWS = {  # of 10 steps, guided, for each of 2 variants; SDEdit's strength is 0.6
    "text_to_image": 20,
    "sdedit": 12,
    "bag_of_tricks": 20,
    "gif": 12,
}


def overrides(method: str) -> list[str]:
    own = {
        "diffusion_inversion": ["--config.method.learning_steps=40"],
        "gif": ["--config.clip.path=sample"],
    }
    return own.get(method, [])


@pytest.mark.slow
@pytest.mark.parametrize("method", OTHERS)
def test_stopped_on_four_devices_and_continued_on_eight_as_in_one_go(
    method, tmp_path, micro_checkpoint
):
    config, whole, parts = f"configs/fashion.py:{method}", tmp_path / "whole", tmp_path / "parts"
    done = generate(whole, micro_checkpoint, *overrides(method), config=config)
    assert done.returncode == 0, done.stderr
    arguments = command(parts, micro_checkpoint, *overrides(method), config=config)
    process = subprocess.Popen(
        held(arguments, parts / "done" / "*"),
        cwd=ROOT,
        env=environment(4),  # of five batches the fourth is asked for when the first is written
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: markers(parts), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(HANG_GUARD_SECONDS) == 128 + signal.SIGTERM
    assert markers(parts) < 9
    again = generate(parts, micro_checkpoint, *overrides(method), devices=8, config=config)
    assert again.returncode == 0, again.stderr
    assert contents(parts) == contents(whole)

    made = list(dataset.read_records(whole))
    assert len(made) == 36
    assert {record.method for record in made} == {method}
    assert len({record.image for record in made}) == 36
    with Image.open(whole / "contact_sheet.png") as sheet:
        assert sheet.width > 400
    (session,) = production_log.read_sessions(whole)
    if method in ROWS:
        assert session["unet_rows_per_image"] == pytest.approx(ROWS[method], rel=1e-9)
    else:  # 20 rows of sampling, and 40 steps of learning, forward and backward, for 2 variants
        learning = session["unet_rows_per_image"] - 20
        assert 1.5 * 40 / 2 < learning < 3 * 40 / 2


@pytest.mark.slow
def test_mistakes_that_are_easily_made_with_methods(tmp_path, micro_checkpoint):
    """Each has a line that says what to do."""

    def refused(*arguments: str, config: str = "configs/fashion.py") -> str:
        done = generate(tmp_path / "set", micro_checkpoint, *arguments, config=config)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "--config FILE:sdedit" in refused("--config.method.name=sdedit")
    message = refused("--config.method.name=gif", config="configs/fashion.py:sdedit")
    assert "lacks epsilon, prompt_style, step_size" in message
    message = refused("--config.method.epsilon=nan", config="configs/fashion.py:gif")
    assert "epsilon must be a finite number" in message
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"class": "bag", "prompt": "a bag"}')
    for method in ("gif", "diffusion_inversion"):
        message = refused(f"--config.prompt.file={file}", config=f"configs/fashion.py:{method}")
        assert f"method {method} makes its images under" in message
    assert "did you mean 'sdedit'" in refused("--config.method.name=sdedits")
    message = refused(config="configs/fashion.py:imagination")
    assert "unknown method 'imagination'" in message
    assert "diffusion_inversion" in message
    message = refused("--config.method.noise_scale=3", config="configs/fashion.py:sdedit")
    assert "noise_scale" in message
    message = refused("--config.clip.path=nowhere", config="configs/fashion.py:gif")
    assert "nowhere: no such directory" in message
