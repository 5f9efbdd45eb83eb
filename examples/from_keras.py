# %% [markdown]
# # From a Keras loop to lstm-relay
#
# The loop that everybody writes first fits one LSTM on one dataset after the other and lowers the learning rate each time:
#
# ```python
# model = keras.Sequential([keras.layers.LSTM(64), keras.layers.Dense(1)])
# for k, (X, y) in enumerate(datasets):
#     model.compile(keras.optimizers.Adam(1e-3 * 0.8**k), "mse")
#     model.fit(X, y, epochs=5, batch_size=32, validation_split=0.2)
# ```
#
# It forgets: the model is good on the last dataset only. Here is the same, with replay against it.

# %%
import numpy as np

from workflows import train

random = np.random.default_rng(0)


def make_dataset(period: float, samples: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return windows of 24 steps of a noisy wave, and the value that follows each."""
    steps = np.arange(samples + 25)
    wave = np.sin(2 * np.pi * steps / period) + 0.05 * random.normal(size=len(steps))
    windows = np.lib.stride_tricks.sliding_window_view(wave, 25)[:samples]
    return windows[:, :24, None], windows[:, 24:]


datasets = {"slow": make_dataset(31.0), "middle": make_dataset(17.0), "fast": make_dataset(7.0)}

# %% [markdown]
# The loop: `head="shared"` is one output layer for all datasets, `method="none"` keeps nothing of earlier ones.

# %%
settings = {
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 5e-3,
    "decay_rate": 0.8,
    "hidden_size": 16,
    "validation_split": 0.2,
}
loop = train(datasets, name="loop", head="shared", method="none", **settings)
print(loop.error_matrix)

# %% [markdown]
# Replay mixes samples of earlier datasets into each batch. Everything else is the same.

# %%
relay = train(datasets, name="relay", head="shared", method="replay", **settings)
print(relay.error_matrix)
print(f"average forgetting: {loop.forgetting:.3f} in the loop, {relay.forgetting:.3f} with replay")

# %% [markdown]
# What Keras calls `History.history`, a prediction, and a picture.

# %%
print(relay.history["fast"]["val_loss"])
print(relay.predict(datasets["slow"][0][:3], "slow"))
figure = relay.plot()
