"""The sentence encoder, in JAX: a small BERT whose last states are averaged.

Word and position embeddings, then blocks with normalisation after each sum
(Devlin et al. 2018, arXiv 1810.04805).  The vector of a sentence is the mean of
its last states over the tokens that are not masked, at unit length.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Shape:
    vocabulary: int = 1024
    width: int = 128
    layers: int = 2
    heads: int = 4
    hidden: int = 256
    context: int = 128
    norm_epsilon: float = 1e-12


PRODUCTS = ("query", "key", "value", "attention_output", "intermediate", "output")


def initial_weights(shape, seed):
    random = np.random.default_rng(seed)

    def normal(rows, columns, deviation):
        return jnp.asarray(deviation * random.standard_normal((rows, columns)), jnp.float32)

    def norm():
        return {"scale": jnp.ones(shape.width), "shift": jnp.zeros(shape.width)}

    sizes = {name: (shape.width, shape.width) for name in PRODUCTS}
    sizes["intermediate"] = (shape.width, shape.hidden)
    sizes["output"] = (shape.hidden, shape.width)
    layers = []
    for _ in range(shape.layers):
        layer = {name: {"weight": normal(*size, size[0] ** -0.5), "bias": jnp.zeros(size[1])}
                 for name, size in sizes.items()}
        layers.append({**layer, "attention_norm": norm(), "output_norm": norm()})
    return {
        "word_embedding": normal(shape.vocabulary, shape.width, 0.05),
        "position_embedding": normal(shape.context, shape.width, 0.02),
        "embedding_norm": norm(),
        "layers": layers,
    }


def layer_norm(x, norm, epsilon):
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon) * norm[
        "scale"] + norm["shift"]


def dense(x, part):
    return x @ part["weight"] + part["bias"]


def forward(shape, weights, tokens, mask):
    """Last states f32[rows, length, width]."""
    rows, length = tokens.shape
    by_head = (rows, length, shape.heads, shape.width // shape.heads)
    x = weights["word_embedding"][tokens] + weights["position_embedding"][:length]
    x = layer_norm(x, weights["embedding_norm"], shape.norm_epsilon)
    for layer in weights["layers"]:
        q, k, v = (dense(x, layer[name]).reshape(by_head) for name in PRODUCTS[:3])
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * by_head[-1] ** -0.5
        shares = jax.nn.softmax(jnp.where(mask[:, None, None, :] > 0, scores, -1e9), axis=-1)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", shares, v).reshape(x.shape)
        x = layer_norm(x + dense(mixed, layer["attention_output"]), layer["attention_norm"],
                       shape.norm_epsilon)
        hidden = jax.nn.gelu(dense(x, layer["intermediate"]), approximate=False)
        x = layer_norm(x + dense(hidden, layer["output"]), layer["output_norm"],
                       shape.norm_epsilon)
    return x


def pooled(states, mask, library=jnp):
    """Unit vectors f32[rows, width]: the mean over the tokens that count."""
    weight = mask[..., None].astype(states.dtype)
    mean = (states * weight).sum(axis=1) / weight.sum(axis=1)
    return mean / library.linalg.norm(mean, axis=-1, keepdims=True)


def contrast(shape, weights, tokens, mask, temperature=0.06):
    """InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) in both directions.

    The first half of the rows are the ones, the second half the others of the pairs.
    """
    vectors = pooled(forward(shape, weights, tokens, mask), mask)
    one, other = jnp.split(vectors, 2)
    alike = one @ other.T / temperature
    right = jnp.arange(len(one))
    return -0.5 * (jax.nn.log_softmax(alike, axis=1)[right, right].mean()
                   + jax.nn.log_softmax(alike, axis=0)[right, right].mean())
