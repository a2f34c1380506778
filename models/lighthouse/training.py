"""The training loop of the decoder: constant rate, then a straight line to zero.

The last steps of the constant part and the decay use rows as long as the context,
so that the model meets every distance it will be asked about.
"""

import functools
import pickle
import time

import jax
import numpy as np

from . import decoder, optimiser
from .corpus import Rows

RATE = 0.02
WARM_UP_STEPS = 40
DECAY_SHARE = 0.3
SHORT_LENGTH, SHORT_ROWS = 320, 8
LONG_SHARE, LONG_LENGTH, LONG_ROWS = 0.08, 1024, 3
SHORT_SEED, LONG_SEED = 101, 202


def rate_at(step, steps):
    decay_from = steps * (1 - DECAY_SHARE)
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return RATE * warm * min(1.0, max(0.0, (steps - step) / (steps - decay_from)))


def train(shape, encoder, seed, steps, state_file=None, report=print):
    """Trained weights.  `state_file` keeps the state between calls, every 100 steps."""
    weights = decoder.initial_weights(shape, seed)
    state = optimiser.start(weights)
    first_step = 0
    short = Rows(encoder, SHORT_SEED, SHORT_LENGTH)
    long = Rows(encoder, LONG_SEED, LONG_LENGTH, long=True)
    if state_file and state_file.exists():
        first_step, weights, state, short, long = pickle.loads(state_file.read_bytes())
        short.encoder = long.encoder = encoder
        report(f"going on at step {first_step}")

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def advance(weights, state, batch, rate):
        loss, gradients = jax.value_and_grad(
            lambda values: decoder.mean_loss(shape, values, *batch))(weights)
        return *optimiser.update(weights, gradients, state, rate), loss

    started, losses, tokens = time.perf_counter(), [], 0
    for step in range(first_step, steps):
        is_long = step >= steps * (1 - LONG_SHARE)
        batch = long.batch(LONG_ROWS) if is_long else short.batch(SHORT_ROWS)
        weights, state, loss = advance(weights, state, batch, rate_at(step, steps))
        losses.append(float(loss))
        tokens += int((batch[1] > 0).sum())
        if (step + 1) % 50 == 0:
            seconds = time.perf_counter() - started
            report(f"step {step + 1} of {steps}: loss {np.mean(losses[-50:]):.4f},"
                   f" {tokens / seconds:.0f} tokens/s, {seconds:.0f} s")
        if state_file and (step + 1) % 100 == 0:
            short.encoder = long.encoder = None
            kept = (step + 1, jax.device_get(weights), jax.device_get(state), short, long)
            state_file.write_bytes(pickle.dumps(kept))
            short.encoder = long.encoder = encoder
    return jax.device_get(weights)
