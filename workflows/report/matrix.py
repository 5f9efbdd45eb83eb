"""Draw the error matrix as a heat map: the error on every dataset after each stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from workflows.results.picture import WIDTH, Axes, Pictures, short

Row = Sequence[float | None]
LARGEST_RATIO = 4.0  # the colour scale ends at 1/4 and 4
NUMBERS_FIT = 12  # columns; with more, the cells have no numbers
NAMES_FIT = 40  # columns; with more, datasets are numbered
PHONE_FITS = 6  # columns; a heat map with more is wider than a phone


@dataclass(frozen=True)
class Relative:
    """Errors as multiples of `what` (the naive forecast's error or the dataset's lowest error); NaN: not measured."""

    values: npt.NDArray[np.float64]
    what: str


def relative_errors(scaled: Sequence[Row], validation: Sequence[Row]) -> Relative | None:
    """Divide by the naive error if every dataset has one, else by the dataset's lowest error; None without errors."""
    naive, plain = (
        np.array([[np.nan if v is None else v for v in row] for row in rows], float) for rows in (scaled, validation)
    )
    measured = ~np.isnan(plain).all(axis=0)
    if not measured.any():
        return None
    if not np.isnan(naive[:, measured]).all(axis=0).any():
        return Relative(naive, "the naive forecast's error")
    lowest = np.nanmin(np.where(measured, plain, 1.0), axis=0)
    return Relative(plain / np.where(lowest > 0, lowest, 1.0), "the lowest error of the dataset")


def draw_matrix(
    pictures: Pictures, relative: Relative, after: Sequence[str], names: Sequence[str], trained_columns: Sequence[int | None]
) -> Markup:
    """Draw one row for each stage and one column for each dataset; `trained_columns` has the dataset of each stage."""
    from matplotlib.patches import Rectangle

    values = relative.values
    num_rows, num_columns = values.shape
    shades = np.clip(np.log2(np.maximum(values, 1e-9)) / np.log2(LARGEST_RATIO), -1, 1)

    def paint(axes: Axes) -> None:
        # Blue and orange are safe for the colour-blind; cells are opaque, so they look the same on a light and a dark page.
        axes.set_facecolor("#9aa0a6")
        if num_rows * num_columns <= NAMES_FIT**2:
            axes.pcolormesh(shades, cmap=_blue_to_orange(), vmin=-1, vmax=1, edgecolors="none", snap=True)
        else:
            axes.pcolormesh(shades, cmap=_blue_to_orange(), vmin=-1, vmax=1, rasterized=True)
        axes.invert_yaxis()
        for row, column in np.ndindex(values.shape) if num_columns <= NUMBERS_FIT else ():
            if np.isnan(values[row, column]):
                continue
            color = "#111111" if abs(shades[row, column]) < 0.7 else "#ffffff"
            text = _number(float(values[row, column]))
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=color, fontsize=8 - num_columns // 7)
        for row, trained in enumerate(trained_columns) if num_columns <= NAMES_FIT else ():
            if trained is not None:
                # A black frame on a white one: one of them is visible on any cell and any page.
                for color, width in (("#ffffff", 3.0), ("#111111", 1.2)):
                    frame = Rectangle((trained + 0.05, row + 0.07), 0.9, 0.86, fill=False, edgecolor=color, linewidth=width)
                    axes.add_patch(frame)
        fits = num_columns <= NAMES_FIT
        every = 1 if fits else num_columns // 20
        shown = (
            ([short(n) for n in names], [short(n) for n in after]) if fits else (range(1, num_columns + 1), range(num_rows))
        )
        upright = num_columns > 4 or max(map(len, names)) > 9
        axes.set_xticks(np.arange(num_columns)[::every] + 0.5, shown[0][::every], rotation=90 if upright else 0)
        axes.set_yticks(np.arange(num_rows)[::every] + 0.5, shown[1][::every])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_ylabel("after training")

    alt = f"Heat map of {num_rows} by {num_columns} errors as multiples of {relative.what}; the table below has the numbers."
    width = min(WIDTH + 0.24 * max(num_columns - PHONE_FITS, 0), 9.0)
    return pictures.draw(paint, alt, width=width, height=min(1.2 + 0.24 * max(num_rows, 3), 7.5))


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.3g}"


def _blue_to_orange() -> object:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blue_to_orange", ["#0b5394", "#7fb6de", "#f4f1ea", "#f0a35e", "#a83f00"])
