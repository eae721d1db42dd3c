"""The images of batches."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure


def acquired_images(batches: dict[str, pd.DataFrame], images: dict[int, np.ndarray]) -> Figure:
    """The images of batches, a row each.

    Args:
        batches: by title, rows of acquired.csv in the order of acquisition.
        images: by index in the training set.
    """
    columns = max(len(batch) for batch in batches.values())
    figure, grid = plt.subplots(
        len(batches), columns, figsize=(0.75 * columns, 1.2 * len(batches)), layout="constrained", squeeze=False
    )
    for row, (title, batch) in zip(grid, batches.items(), strict=True):
        for axes in row:
            axes.axis("off")
        gains = batch["score"].astype(float).diff().fillna(batch["score"].astype(float))
        points = zip(row, batch["index"], batch["label"], gains, strict=False)  # a shorter batch leaves places empty
        for axes, index, label, gain in points:
            axes.imshow(images[index], cmap="gray_r", interpolation="nearest")
            axes.set_title(f"{label}\n{gain:+.2f}", fontsize=7)
        row[0].text(-0.15, 0.5, title, rotation=90, ha="right", va="center", transform=row[0].transAxes, fontsize=8)
    return figure
