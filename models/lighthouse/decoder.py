"""The decoder that is trained here, in JAX: a small model of the Llama family.

RMS normalisation before each block, rotary positions in two halves (the
`rotate_half` convention of Hugging Face), grouped key and value heads, a gated
SiLU feed-forward block, no biases, and an output matrix tied to the embedding.
Llama: Touvron et al. 2023 (arXiv 2302.13971); rotary positions: Su et al. 2021
(arXiv 2104.09864); grouped heads: Ainslie et al. 2023 (arXiv 2305.13245).

Several documents share one row of a training batch.  `segments` numbers them,
and no token sees another document.  Rotary positions are relative, so a
document may start anywhere in its row.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Shape:
    vocabulary: int = 1024
    width: int = 160
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_width: int = 40
    hidden: int = 416
    context: int = 1024
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-5


def initial_weights(shape, seed):
    """Seeded normal weights; the matrices that end a block start smaller."""
    random = np.random.default_rng(seed)

    def normal(rows, columns, scale=1.0):
        deviation = scale * rows**-0.5
        return jnp.asarray(deviation * random.standard_normal((rows, columns)), jnp.float32)

    out_scale = (2 * shape.layers) ** -0.5
    kv_width = shape.kv_heads * shape.head_width
    layers = []
    for _ in range(shape.layers):
        layers.append(
            {
                "attention_norm": jnp.ones(shape.width),
                "q": normal(shape.width, shape.heads * shape.head_width),
                "k": normal(shape.width, kv_width),
                "v": normal(shape.width, kv_width),
                "o": normal(shape.heads * shape.head_width, shape.width, out_scale),
                "feed_forward_norm": jnp.ones(shape.width),
                "gate": normal(shape.width, shape.hidden),
                "up": normal(shape.width, shape.hidden),
                "down": normal(shape.hidden, shape.width, out_scale),
            }
        )
    embedding = 0.02 * random.standard_normal((shape.vocabulary, shape.width))
    return {
        "embedding": jnp.asarray(embedding, jnp.float32),
        "layers": layers,
        "norm": jnp.ones(shape.width),
    }


def rotary_tables(shape):
    """Cosine and sine, f32[context, head_width / 2], computed in f64."""
    half = shape.head_width // 2
    frequencies = shape.rope_theta ** (-np.arange(half, dtype=np.float64) / half)
    angles = np.arange(shape.context, dtype=np.float64)[:, None] * frequencies
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rms_norm(x, weight, epsilon):
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def rotate(x, cosine, sine):
    """x: [rows, length, heads, head_width]; the tables: [length, head_width / 2]."""
    first, second = jnp.split(x, 2, axis=-1)
    cosine, sine = cosine[None, :, None, :], sine[None, :, None, :]
    return jnp.concatenate(
        [first * cosine - second * sine, second * cosine + first * sine], axis=-1
    )


def attention(shape, layer, x, allowed, cosine, sine):
    rows, length, _ = x.shape
    group = shape.heads // shape.kv_heads
    joined = jnp.concatenate([layer["q"], layer["k"], layer["v"]], axis=1)
    projected = x @ joined
    q_width = shape.heads * shape.head_width
    kv_width = shape.kv_heads * shape.head_width
    q, k, v = jnp.split(projected, [q_width, q_width + kv_width], axis=-1)
    q = rotate(q.reshape(rows, length, shape.heads, shape.head_width), cosine, sine)
    k = rotate(k.reshape(rows, length, shape.kv_heads, shape.head_width), cosine, sine)
    v = v.reshape(rows, length, shape.kv_heads, shape.head_width)
    q = q.reshape(rows, length, shape.kv_heads, group, shape.head_width)
    q = q.transpose(0, 2, 3, 1, 4).reshape(
        rows * shape.kv_heads, group * length, shape.head_width
    )
    k = k.transpose(0, 2, 1, 3).reshape(rows * shape.kv_heads, length, shape.head_width)
    v = v.transpose(0, 2, 1, 3).reshape(rows * shape.kv_heads, length, shape.head_width)
    scores = jnp.einsum("bqd,bkd->bqk", q, k) * shape.head_width**-0.5
    scores = scores.reshape(rows, shape.heads, length, length)
    scores = jnp.where(allowed[:, None], scores, -1e9)
    weights = jax.nn.softmax(scores, axis=-1)
    weights = weights.reshape(rows * shape.kv_heads, group * length, length)
    mixed = jnp.einsum("bqk,bkd->bqd", weights, v)
    mixed = mixed.reshape(rows, shape.kv_heads, group, length, shape.head_width)
    mixed = mixed.transpose(0, 3, 1, 2, 4).reshape(rows, length, q_width)
    return mixed @ layer["o"]


def forward(shape, weights, tokens, segments):
    """Logits f32[rows, length, vocabulary] of tokens i32[rows, length]."""
    length = tokens.shape[1]
    cosine, sine = (jnp.asarray(table[:length]) for table in rotary_tables(shape))
    causal = jnp.tril(jnp.ones((length, length), bool))
    allowed = causal[None] & (segments[:, :, None] == segments[:, None, :])
    x = weights["embedding"][tokens]
    for layer in weights["layers"]:
        normed = rms_norm(x, layer["attention_norm"], shape.norm_epsilon)
        x = x + attention(shape, layer, normed, allowed, cosine, sine)
        normed = rms_norm(x, layer["feed_forward_norm"], shape.norm_epsilon)
        both = normed @ jnp.concatenate([layer["gate"], layer["up"]], axis=1)
        gate, up = jnp.split(both, 2, axis=-1)
        x = x + (jax.nn.silu(gate) * up) @ layer["down"]
    x = rms_norm(x, weights["norm"], shape.norm_epsilon)
    return x @ weights["embedding"].T


def mean_loss(shape, weights, tokens, segments, targets, importance):
    """Weighted mean of the cross-entropy, in nats per token."""
    logits = forward(shape, weights, tokens, segments)
    largest = jax.scipy.special.logsumexp(logits, axis=-1)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jnp.sum((largest - chosen) * importance) / jnp.maximum(jnp.sum(importance), 1.0)


def count(weights):
    return sum(int(leaf.size) for leaf in jax.tree.leaves(weights))
