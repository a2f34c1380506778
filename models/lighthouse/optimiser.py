"""Muon for the matrices of the blocks, Adam for the embedding and the norms.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) replaces the
momentum of a matrix by the nearest matrix with equal singular values, found by
five Newton-Schulz steps.  At this size it needs about half as many steps as Adam.
"""

import jax
import jax.numpy as jnp

MOMENTUM = 0.95
ADAM_DECAY, ADAM_SQUARE_DECAY, ADAM_EPSILON = 0.9, 0.98, 1e-9
ADAM_SHARE = 0.2
WEIGHT_DECAY = 0.05


def orthogonal(matrix):
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (jnp.linalg.norm(x) + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


def is_block_matrix(path, leaf):
    return leaf.ndim == 2 and "embedding" not in jax.tree_util.keystr(path)


def start(weights):
    zeros = jax.tree.map(jnp.zeros_like, weights)
    return {"first": zeros, "second": jax.tree.map(jnp.zeros_like, weights),
            "step": jnp.zeros((), jnp.int32)}


def update(weights, gradients, state, rate):
    """One step; `rate` is Muon's, and Adam's is a fixed share of it."""
    step = state["step"] + 1
    norm = jnp.sqrt(sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(gradients)))
    gradients = jax.tree.map(lambda leaf: leaf * jnp.minimum(1.0, 1.0 / norm), gradients)

    def one(path, weight, gradient, first, second):
        if is_block_matrix(path, weight):
            first = MOMENTUM * first + gradient
            direction = orthogonal(gradient + MOMENTUM * first)
            rows, columns = weight.shape
            scale = max(1.0, columns / rows) ** 0.5
            weight = weight * (1 - rate * WEIGHT_DECAY)
            return weight - rate * scale * direction, first, second
        first = ADAM_DECAY * first + (1 - ADAM_DECAY) * gradient
        second = ADAM_SQUARE_DECAY * second + (1 - ADAM_SQUARE_DECAY) * gradient**2
        mean = first / (1 - ADAM_DECAY**step)
        spread = jnp.sqrt(second / (1 - ADAM_SQUARE_DECAY**step))
        return weight - ADAM_SHARE * rate * mean / (spread + ADAM_EPSILON), first, second

    combined = jax.tree_util.tree_map_with_path(
        one, weights, gradients, state["first"], state["second"])
    pick = [jax.tree.map(lambda parts: parts[index], combined,
                         is_leaf=lambda node: isinstance(node, tuple)) for index in range(3)]
    return pick[0], {"first": pick[1], "second": pick[2], "step": step}
