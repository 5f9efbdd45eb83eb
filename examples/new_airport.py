# %% [markdown]
# # Three airports, and a new one arrives
#
# The passengers of each airport by month are a dataset. Later another airport opens: `extend` trains its epochs alone, and
# needs none of the earlier data.

# %%
import numpy as np
import pandas as pd

from workflows import train

random = np.random.default_rng(1)


def passengers(first: float, growth: float, months: int = 180) -> pd.DataFrame:
    """Return a monthly series with a trend and a summer peak, in thousands."""
    month = np.arange(months)
    trend = first * growth ** (month / 12)
    season = 1 + 0.3 * np.sin(2 * np.pi * (month - 4) / 12)
    return pd.DataFrame(
        {
            "ds": pd.date_range("2010-01-01", periods=months, freq="MS"),
            "y": trend * season * (1 + 0.03 * random.normal(size=months)),
        }
    )


airports = {"north": passengers(120, 1.05), "south": passengers(900, 1.02), "west": passengers(40, 1.1)}

# %% [markdown]
# Columns called `ds` and `y` need no keyword. Windows of two years forecast the next half year. The levels drift, so each
# window is normalized by itself.

# %%
settings = {"lookback": 24, "horizon": 6, "frequency": "1mo", "calendar": ["month"], "split": [0.6, 0.2, 0.2]}
model = {"hidden_size": 16, "window_normalization": "instance"}
result = train(airports, name="airports", epochs=5, learning_rate=1e-2, batch_size=16, method="replay", **settings, **model)
print(result)

# %% [markdown]
# A new airport opens. A model that does not know it says which airport is most similar.

# %%
east = passengers(300, 1.08)
try:
    result.predict({"east": east})
except ValueError as error:
    print(error)

# %%
extended = result.extend(east, "east", epochs=5)
print(extended)
print(f"{extended.document['epochs_trained']} epochs were trained, those of the new airport")

# %% [markdown]
# `time` is the month of each forecast, so it joins what will be observed.

# %%
forecast = extended.predict({**airports, "east": east})
print(forecast[forecast["step"] <= 2])
