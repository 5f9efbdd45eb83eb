"""Keras' own fit of the same windows, in an interpreter that has TensorFlow: fit.py starts it.

    python keras_fit.py WINDOWS.npz THREADS

Answers one line of JSON on stdout for each line of JSON on stdin ({"batch": 32}): seconds and processor seconds of an epoch.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", KERAS_BACKEND="tensorflow")

import keras
import numpy as np
import tensorflow as tf


def main() -> None:
    threads = int(sys.argv[2])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    with np.load(sys.argv[1]) as file:
        inputs, targets = file["inputs"], file["targets"]
    models = {}
    for line in sys.stdin:
        batch = json.loads(line)["batch"]
        if batch not in models:
            keras.utils.set_random_seed(0)
            model = models[batch] = keras.Sequential(
                [keras.Input(inputs.shape[1:]), keras.layers.LSTM(64), keras.layers.Dense(targets.shape[1])]
            )
            model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
            # A first fit, so that the model is traced before the clock starts.
            model.fit(inputs[: 4 * batch], targets[: 4 * batch], batch_size=batch, verbose=0)
        started, used = time.perf_counter(), time.process_time()
        models[batch].fit(inputs, targets, batch_size=batch, epochs=1, shuffle=True, verbose=0)
        took = {"seconds": time.perf_counter() - started, "processor": time.process_time() - used}
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main()
