"""Summary: the lines a run begins and ends with."""

from pathlib import Path

from dreamda_jax.data.sets.dataset import Summary
from dreamda_jax.data.sources.sample_source import SampleSource
from dreamda_jax.generate import summary
from dreamda_jax.generate.cost import Cost
from dreamda_jax.generate.statistics import Statistics
from dreamda_jax.runtime.forecast import from_last_run


def test_summaries():
    price = Cost(flops=2e12, unet_flops=1.5e12, row_flops=0.1e12)
    assert price.unet_rows == 15
    text = summary.start(
        devices="8 x TPU v5 lite",
        model="sd, bfloat16",
        method="dreamda",
        num_seeds=100,
        seeds_left=60,
        source=SampleSource(split="train"),
        num_variants=10,
        resolution=512,
        price=price,
        time=from_last_run(0.25, unit="image", count=600),
        num_bytes=3_400_000_000,
        output="out",
    )
    assert "600 to make with dreamda, 10 per seed (400 are there already)" in text
    assert "\nclasses   t-shirt 20, trousers 20, " in text
    assert "15.0 U-Net rows, 2 TFLOP per image; 1,200 TFLOP in all" in text
    assert "250 ms per image, 2 min 30 s in all, until " in text
    assert "3.4 GB" in text
    done = Statistics(images=20, batches=2, seconds=10, device_wait_seconds=0.1)
    done.images_in_seconds, done.mean_square = 10, 2 * 4.0
    text = summary.made(done, noise_scale=3.0)
    assert "1.00 images/s after compilation" in text
    assert "1.0% of the time" in text
    assert "RMS of the perturbed features 2.00, noise_scale 3" in text
    end = summary.end(Path("out"), Summary(num_records=1200, num_skipped=2, num_bytes=5_000))
    assert "1,200 images, 5.0 kB, in out" in end
    assert "2 seed images" in end
    assert "python -m dreamda_jax.export --input out" in end


def test_a_stopped_run_says_what_it_keeps():
    none = summary.kept(Statistics(images=80, kept=0), seeds_per_shard=8)
    assert none.startswith("kept      0 of the 80 images made now; 80 of unfinished shards")
    assert "synthesis.seeds_per_shard than 8" in none
    every = summary.kept(Statistics(images=20, kept=20), seeds_per_shard=8)
    assert every == "kept      20 of the 20 images made now"
