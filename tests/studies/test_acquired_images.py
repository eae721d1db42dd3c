import numpy as np
from conftest import SMALL, make_figures, make_settings, run_script

from alkbald import loop
from alkbald.data import SOURCES
from alkbald.reporting.acquired import acquired_batches, read_images


def test_images_of_what_was_acquired(tmp_path, mnist_root):
    """The published pixels come back from the table, for the points of the runs' first round."""
    out = tmp_path / "learning_curves"
    for method in ("bald", "2bald"):
        settings = make_settings(
            out, *SMALL, f"method={method}", "data=mnist", f"data.root={mnist_root}", "pool_sample=100", "max_labels=30"
        )
        loop.run(settings)
    assert run_script("acquired_images", tmp_path, "--data", mnist_root).returncode == 0
    images = read_images(tmp_path / "acquired_images" / "images.csv")
    batches = acquired_batches(tmp_path)
    assert set(batches) == {"bald", "2bald"}
    source = SOURCES["mnist"](mnist_root)
    for batch in batches.values():
        assert len(batch) == 10
        for index, label in zip(batch["index"], batch["label"], strict=True):
            assert np.array_equal(images[index], (source.train_images[index, 0] * 255).round().byte().numpy())
            assert source.train_labels[index] == label
    assert make_figures("--results", tmp_path, "--only", "acquired").returncode == 0
    assert (tmp_path / "figures" / "acquired.png").stat().st_size > 10_000
