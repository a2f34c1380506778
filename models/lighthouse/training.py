"""The training loop of the decoder: drills, then everything, then rows as long as the context.

The rate is constant, and for the last part goes to zero in a straight line.  The
rows of the last phase are as long as the context, so that the model meets every
distance that it will be asked about.
"""

import functools
import pickle
import time
from dataclasses import dataclass

import jax
import numpy as np

from . import corpus, decoder, drills, optimiser

RATE = 0.02
WARM_UP_STEPS = 30
DECAY_SHARE = 0.14
STEPS_BETWEEN_STATES = 50


@dataclass(frozen=True)
class Phase:
    make: object
    steps: int
    rows: int
    length: int
    seed: int


PHASES = (
    Phase(drills.drill, steps=450, rows=16, length=128, seed=101),
    Phase(corpus.mixed, steps=1690, rows=8, length=320, seed=102),
    Phase(corpus.long, steps=60, rows=3, length=1024, seed=103),
)


def rate_at(step, steps):
    decay_from = steps * (1 - DECAY_SHARE)
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return RATE * warm * min(1.0, (steps - step) / (steps - decay_from))


def schedule(phases):
    """The phase of every step."""
    return [phase for phase in phases for _ in range(phase.steps)]


def train(shape, encoder, seed, state_file=None, phases=PHASES, report=print):
    """Trained weights.  `state_file` keeps the state, so that a later call goes on."""
    weights = decoder.initial_weights(shape, seed)
    state = optimiser.start(weights)
    rows = {phase.seed: corpus.Rows(None, phase.make, phase.seed, phase.length)
            for phase in phases}
    first_step = 0
    if state_file and state_file.exists():
        first_step, weights, state, rows = pickle.loads(state_file.read_bytes())
        report(f"going on at step {first_step}")
    for source in rows.values():
        source.encoder = encoder

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def advance(weights, state, batch, rate):
        loss, gradients = jax.value_and_grad(
            lambda values: decoder.mean_loss(shape, values, *batch))(weights)
        return *optimiser.update(weights, gradients, state, rate), loss

    def keep(step):
        for source in rows.values():
            source.encoder = None
        kept = (step, jax.device_get(weights), jax.device_get(state), rows)
        state_file.write_bytes(pickle.dumps(kept))
        for source in rows.values():
            source.encoder = encoder

    plan = schedule(phases)
    started, losses, tokens = time.perf_counter(), [], 0
    for step in range(first_step, len(plan)):
        batch = rows[plan[step].seed].batch(plan[step].rows)
        weights, state, loss = advance(weights, state, batch, rate_at(step, len(plan)))
        losses.append(float(loss))
        tokens += int((batch[1] > 0).sum())
        if (step + 1) % STEPS_BETWEEN_STATES == 0:
            seconds = time.perf_counter() - started
            report(f"step {step + 1} of {len(plan)}:"
                   f" loss {np.mean(losses[-STEPS_BETWEEN_STATES:]):.4f},"
                   f" {tokens} tokens, {seconds:.0f} s")
            if state_file:
                keep(step + 1)
    return jax.device_get(weights)
