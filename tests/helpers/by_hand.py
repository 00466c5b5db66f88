"""Transformer layers in plain numpy, for comparison with torch."""

import math

import numpy as np

_ERF = np.vectorize(math.erf)


def numbers(module):
    """Return the weights of a torch module as float64 arrays by name."""
    return {name: p.detach().double().numpy() for name, p in module.named_parameters()}


def gelu(x):
    return x * (1 + _ERF(x / math.sqrt(2))) / 2


def layer_norm(x, p, name):
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centred / deviation * p[f"{name}.weight"] + p[f"{name}.bias"]


def linear(x, p, name):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def attention(queries, context, p, name, heads):
    """Return softmax(q k / sqrt(D / heads)) v of one clip, queries (Q, D) and context (K, D)."""
    width = queries.shape[1]
    wq, wk, wv = np.split(p[f"{name}.in_proj_weight"], 3)
    bq, bk, bv = np.split(p[f"{name}.in_proj_bias"], 3)
    q, k, v = queries @ wq.T + bq, context @ wk.T + bk, context @ wv.T + bv
    size = width // heads
    found = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[:, part] @ k[:, part].T / math.sqrt(size)
        weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        found.append(weights @ v[:, part])
    return linear(np.concatenate(found, axis=1), p, f"{name}.out_proj")


def encoder_layer(x, p, name, heads):
    """Return a clip (T, D) after a pre-norm layer of self-attention and feed-forward."""
    seen = layer_norm(x, p, f"{name}.norm1")
    x = x + attention(seen, seen, p, f"{name}.self_attn", heads)
    hidden = gelu(linear(layer_norm(x, p, f"{name}.norm2"), p, f"{name}.linear1"))
    return x + linear(hidden, p, f"{name}.linear2")


def sinusoids(count, width):
    """Return the position codes of a row of `count` cells: sines, then cosines."""
    waves = width // 2
    rows = np.zeros((count, width))
    for cell in range(count):
        for wave in range(waves):
            angle = cell / 10000 ** (wave / max(1, waves - 1))
            rows[cell, wave], rows[cell, waves + wave] = math.sin(angle), math.cos(angle)
    return rows
