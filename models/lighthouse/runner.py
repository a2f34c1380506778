"""Runs the exported decoder in onnxruntime: one step, and greedy text with the cache."""

import numpy as np
import onnxruntime


class Runner:
    def __init__(self, path, threads=1):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"])
        self.past_names = [value.name for value in self.session.get_inputs()[3:]]
        _, self.kv_heads, _, self.head_width = self.session.get_inputs()[3].shape

    def empty_past(self, batch, length=0):
        shape = (batch, self.kv_heads, length, self.head_width)
        return [np.zeros(shape, np.float32) for _ in self.past_names]

    def step(self, tokens, past, mask=None, positions=None):
        """Logits and the new past; by default every slot counts and positions go on."""
        tokens = np.asarray(tokens, np.int64)
        batch, length = tokens.shape
        before = past[0].shape[2]
        if mask is None:
            mask = np.ones((batch, before + length), np.int64)
        if positions is None:
            positions = np.cumsum(mask, axis=1)[:, before:] - 1
        feeds = {"input_ids": tokens, "attention_mask": np.asarray(mask, np.int64),
                 "position_ids": np.maximum(positions, 0), **dict(zip(self.past_names, past))}
        logits, *present = self.session.run(None, feeds)
        return logits, present

    def greedy(self, prompt, stops, limit=96):
        """The most likely continuation of a prompt, without the mark that ends it."""
        logits, past = self.step([prompt], self.empty_past(1))
        said = []
        while len(said) < limit:
            token = int(np.argmax(logits[0, -1]))
            if token in stops:
                break
            said.append(token)
            logits, past = self.step([[token]], past)
        return said

    def sample(self, prompt, stops, random, temperature=0.7, top_k=40, limit=160):
        """A continuation drawn with a temperature from the `top_k` most likely tokens."""
        logits, past = self.step([prompt], self.empty_past(1))
        said = []
        while len(said) < limit:
            last = logits[0, -1].astype(np.float64) / temperature
            last[last < np.sort(last)[-top_k]] = -np.inf
            chances = np.exp(last - last.max())
            token = int(random.choice(len(chances), p=chances / chances.sum()))
            if token in stops:
                break
            said.append(token)
            logits, past = self.step([[token]], past)
        return said
