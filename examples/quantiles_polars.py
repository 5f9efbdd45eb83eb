# %% [markdown]
# # A quantile forecast from a polars frame
#
# Two substations in one long frame: `unique_id`, `ds` and `y` are understood, `site` tells the datasets apart.

# %%
import numpy as np
import polars as pl

from workflows import train

random = np.random.default_rng(2)
HOURS = 24 * 25


def load_of(site: str, level: float) -> pl.DataFrame:
    """Return the hourly load of two feeders of a substation; some hours are absent."""
    frames = []
    for feeder in ("a", "b"):
        hour = np.arange(HOURS)
        load = level * (1 + 0.4 * np.sin(2 * np.pi * (hour - 7) / 24)) + level * 0.05 * random.normal(size=HOURS)
        start = np.datetime64("2026-01-01", "us")
        times = start + hour * np.timedelta64(1, "h")
        frames.append(pl.DataFrame({"site": site, "unique_id": feeder, "ds": times, "y": load}))
    whole = pl.concat(frames)
    return whole.filter(pl.Series(random.random(len(whole)) > 0.001))


frame = pl.concat([load_of("hill", 40.0), load_of("port", 250.0)])

# %% [markdown]
# `frequency` inserts the absent hours as missing values. The pinball loss trains three levels at once.

# %%
result = train(
    frame,
    dataset="site",
    name="load",
    lookback=48,
    horizon=24,
    frequency="1h",
    calendar=["hour"],
    loss="quantile",
    quantiles=[0.1, 0.5, 0.9],
    epochs=3,
    learning_rate=1e-2,
    hidden_size=16,
    stride=2,
)
print(result)

# %% [markdown]
# A polars frame in, a polars frame out: one row for each series and hour, with a column for each level.

# %%
forecast = result.predict(frame)
print(forecast.head())

# %% [markdown]
# How often the truth lies between the outer levels, on all windows of the frame (0.8 is what the levels say).

# %%
every = result.predict(frame, every=True)
keys = {"dataset": "site", "series": "unique_id", "time": "ds"}
joined = every.rename({"y": "forecast"}).join(frame, left_on=list(keys), right_on=list(keys.values()))
inside = joined.select(pl.col("y").is_between(pl.col("y_q0.1"), pl.col("y_q0.9")).mean()).item()
print(f"{len(joined):,} forecasts, {inside:.0%} between the levels 0.1 and 0.9")
