"""Whether the exported graph computes what was trained, however it is fed."""

import jax.numpy as jnp
import numpy as np

from . import decoder

TOLERANCE = 2e-3


def expect_near(name, one, other, report):
    difference = float(np.max(np.abs(one - other)))
    report(f"{name}: largest difference of logits {difference:.1e}")
    if not difference < TOLERANCE:
        raise SystemExit(f"check failed: {name} differs by {difference}, over {TOLERANCE}")


def check(shape, weights, runner, prompts, report=print):
    """`prompts`: two token lists of different lengths."""
    longer, shorter = sorted(prompts, key=len, reverse=True)[:2]
    expected = {}
    for prompt in (longer, shorter):
        tokens = jnp.asarray([prompt], jnp.int32)
        logits = decoder.forward(shape, weights, tokens, jnp.zeros_like(tokens))
        expected[len(prompt)] = np.asarray(logits)[0]
    reference = expected[len(longer)]

    logits, _ = runner.step([longer], runner.empty_past(1))
    expect_near("whole prompt at once against the training code", logits[0], reference, report)

    past, rows = runner.empty_past(1), []
    for token in longer:
        logits, past = runner.step([[token]], past)
        rows.append(logits[0, 0])
    expect_near("token by token", np.array(rows), reference, report)

    half = len(longer) // 2
    first, past = runner.step([longer[:half]], runner.empty_past(1))
    second, _ = runner.step([longer[half:]], past)
    joined = np.concatenate([first[0], second[0]])
    expect_near("in two parts", joined, reference, report)

    # The past in a longer buffer: slots that hold rubbish, and are masked.
    room = 37
    rubbish = np.random.default_rng(3).standard_normal
    padded = [np.concatenate([part, 50 * rubbish((1, part.shape[1], room, part.shape[3]))
                              .astype(np.float32)], axis=2) for part in past]
    mask = np.ones((1, half + room + len(longer) - half), np.int64)
    mask[0, half : half + room] = 0
    positions = np.arange(half, len(longer))[None]
    second, _ = runner.step([longer[half:]], padded, mask, positions)
    expect_near("past padded with masked slots", second[0], reference[half:], report)

    missing = len(longer) - len(shorter)
    tokens = np.array([longer, [0] * missing + shorter])
    mask = np.ones(tokens.shape, np.int64)
    mask[1, :missing] = 0
    logits, past = runner.step(tokens, runner.empty_past(2), mask)
    expect_near("row 0 of a batch", logits[0], reference, report)
    expect_near("row 1 of a batch, padded on the left", logits[1, missing:],
                expected[len(shorter)], report)
