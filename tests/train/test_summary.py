"""The lines a training begins with, and the table of its runs."""

import json
import re
import statistics

import pytest

from dreamda_jax.algorithms.metrics.intervals import mean_and_std
from dreamda_jax.data.sources.sample_source import SampleSource
from dreamda_jax.runtime.forecast import from_last_run
from dreamda_jax.train import summary
from dreamda_jax.train.summary import RunResult, closing_table

RUN = RunResult(
    seed=0,
    test_accuracy=0.9,
    best_test_accuracy=0.91,
    best_step=1_200,
    train_loss=0.25,
    images_per_second=1_234.5,
    seconds=60.04,
)


def test_mean_and_sample_deviation():
    values = [0.912, 0.905, 0.921]
    mean, std = mean_and_std(values)
    # The standard library's exact sums; a few roundings of a double apart.
    assert mean == pytest.approx(statistics.fmean(values), rel=1e-14)
    assert std == pytest.approx(statistics.stdev(values), rel=1e-12)
    assert mean_and_std([0.5]) == (0.5, None)
    with pytest.raises(ValueError, match="nothing"):
        mean_and_std([])


def test_table_of_runs():
    other = RUN._replace(seed=17, test_accuracy=0.92, best_test_accuracy=0.93, best_step=400)
    table = closing_table([RUN, other])
    header, first, second, mean = table.splitlines()
    titles = ["run", "test accuracy", "best on validation", "train loss", "images/s", "seconds"]
    assert re.split(r"  +", header) == titles
    numbers = ["0.2500", "1,234.5", "60.0"]
    assert re.split(r"  +", first) == ["seed 0", "90.00%", "91.00% (step 1,200)", *numbers]
    assert re.split(r"  +", second) == ["seed 17", "92.00%", "93.00% (step 400)", *numbers]
    assert mean.startswith("mean ")
    assert "91.00% ± 1.41%  " in mean
    assert "92.00% ± 1.41%  0.2500 ± 0.0000" in mean
    assert len({len(line) for line in table.splitlines()}) == 1  # columns stand below each other


def test_table_of_one_run_without_validation():
    table = closing_table([RUN._replace(best_test_accuracy=None, best_step=None)])
    assert "validation" not in table
    assert "±" not in table
    assert len(table.splitlines()) == 3


def test_results_can_be_written_as_json():
    assert RunResult(**json.loads(json.dumps(RUN._asdict()))) == RUN


def test_start():
    settings = {
        "devices": "8 x TPU v5 lite",
        "classifier": "resnet50",
        "num_params": 23_528_522,
        "num_real": 400,
        "num_synthetic": 4_000,
        "source": SampleSource(split="train"),
        "resolution": 224,
        "num_steps": 10_000,
        "num_epochs": 290.9,
        "batch_size": 128,
        "optimizer": "SGD 0.1, momentum 0.9",
        "schedule": "cosine to 0",
        "output": "out",
    }
    settings |= {"num_runs": 2, "forward_flops": 8.2e9, "num_views": 3 * 128 * 10_000}
    settings |= {"method": "amst, labels: amst"}
    settings |= {"time": from_last_run(0.5, unit="step", count=20_000)}
    text = summary.start(weights="in1k.safetensors", **settings)
    assert "resnet50, 23.53 M parameters, weights: in1k.safetensors" in text
    assert "400 real + 4,000 synthetic images of 10 classes, 224x224" in text
    assert "10,000, batches of 128, 290.9 epochs, 2 runs\n" in text
    # 3 · 8.2e9 · three views of 128 · 10,000 · 2 runs
    assert "about 188,928 TFLOP in all, 24.6 GFLOP an image" in text
    assert "\ntime        500 ms per step, 2 h 46 min in all, until " in text
    assert "\nmethod      amst, labels: amst\n" in text
    assert "SGD 0.1, momentum 0.9, cosine to 0" in text
    scratch = summary.start(weights="scratch", **{**settings, "num_synthetic": 0})
    assert "from scratch" in scratch
    assert "400 real images" in scratch
    for line in text.splitlines():
        assert re.match(r"(?=.{12}\S)\w+ +\S", line), line  # the words after the titles line up


def test_a_run_that_takes_every_image_for_one_class_is_named():
    runs = [RUN, RUN._replace(seed=1, only_class="bag"), RUN]
    (line,) = summary.collapsed(runs, measured_on="test")
    assert line.startswith("warning     run 1: every test image is taken for 'bag'")
    assert "--config.train.num_steps" in line
    assert summary.collapsed([RUN], measured_on="test") == []
