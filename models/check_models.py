"""Run every model in onnxruntime and measure what batching does to its bits.

For each batchable model, every row of a seeded pool is run alone and as part
of batches of many sizes, and the outputs are compared bit for bit.  The result
belongs to the processor and the onnxruntime version it was measured with: the
matrix kernels are chosen by instruction set, and sum in different orders.

The policy is also run in closed loop through onnxruntime, so that the figures
hold for the model file and not only for the weights it was made from.
"""

from pathlib import Path

# Importing the trainer first is deliberate: it limits BLAS to one thread.
import train_policy

import numpy as np
import onnx
import onnxruntime

from lighthouse.runner import Runner

FOLDER = Path(__file__).resolve().parent
POOL_ROWS = 256
BATCH_SIZES = [*range(2, 34), 48, 64, 100, 128, 255, 256]

BATCHABLE = [
    "policy.onnx",
    "testdata/mlp.onnx",
    "testdata/cross_row.onnx",
    "testdata/dynamic_quantize.onnx",
    "testdata/two_inputs.onnx",
]
REFUSED = ["testdata/corrupt.onnx", "testdata/garbage.onnx"]


def open_session(name):
    # The default log level prints a line for every model that is refused.
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(FOLDER / name), options, providers=["CPUExecutionProvider"]
    )


def random_pool(session):
    random = np.random.default_rng(11)
    pool = {}
    for value in session.get_inputs():
        shape = (POOL_ROWS, *value.shape[1:])
        if value.type == "tensor(int64)":
            pool[value.name] = random.integers(-5, 6, shape)
        else:
            pool[value.name] = random.standard_normal(shape).astype(np.float32)
    return pool


def run(session, pool, start, stop):
    return session.run(None, {name: rows[start:stop] for name, rows in pool.items()})


def bits(array):
    """View floats as integers, so that -0.0 and NaN are compared as bits."""
    return array.view(np.int32) if array.dtype == np.float32 else array


def measure_batching(name):
    session = open_session(name)
    pool = random_pool(session)
    singles = [run(session, pool, row, row + 1) for row in range(POOL_ROWS)]
    alone = [np.concatenate(parts) for parts in zip(*singles)]
    differing_sizes, differing_rows, rows_compared = [], 0, 0
    largest_difference = 0.0
    for size in BATCH_SIZES:
        differs = np.zeros(0, dtype=bool)
        for start in range(0, POOL_ROWS - size + 1, size):
            together = run(session, pool, start, start + size)
            row_differs = np.zeros(size, dtype=bool)
            for one, many in zip(alone, together):
                one = one[start : start + size]
                row_differs |= np.any(bits(one) != bits(many), axis=1)
                difference = np.max(np.abs(one.astype(np.float64) - many))
                largest_difference = max(largest_difference, float(difference))
            differs = np.concatenate([differs, row_differs])
        rows_compared += len(differs)
        differing_rows += int(differs.sum())
        if differs.any():
            differing_sizes.append(size)
    verdict = "same bits" if not differing_rows else "DIFFERENT BITS"
    print(
        f"{name}: {verdict}: {differing_rows} of {rows_compared} rows differ,"
        f" largest difference {largest_difference:.2e};"
        f" batch sizes that differ: {differing_sizes or 'none'}"
    )


def expect(condition, message):
    if not condition:
        raise SystemExit(f"check failed: {message}")


def check_results():
    """Compare each test model with what it is meant to compute."""
    session = open_session("testdata/two_inputs.onnx")
    a = np.array([[0.5, 1.5, 2.5], [0.0, 0.0, 0.0]], np.float32)
    b = np.array([[1, -2, 3], [0, 0, -1]], np.int64)
    total, count = session.run(None, {"a": a, "b": b})
    expect(np.array_equal(total, a + b.astype(np.float32)), "two_inputs sum")
    expect(np.array_equal(count, [[2], [0]]) and count.dtype == np.int64, "two_inputs count")

    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    (y,) = open_session("testdata/cross_row.onnx").run(None, {"x": x})
    expect(np.array_equal(y, x - x.mean(axis=0)), "cross_row")

    session = open_session("testdata/dynamic_output.onnx")
    (y,) = session.run(None, {"x": np.array([0, 3, 0, 4, 5], np.float32)})
    expect(np.array_equal(y, [[1, 3, 4]]), "dynamic_output")
    (y,) = session.run(None, {"x": np.zeros(5, np.float32)})
    expect(y.shape == (1, 0), "dynamic_output with nothing to report")

    session = open_session("testdata/fixed_batch.onnx")
    (y,) = session.run(None, {"x": np.ones((1, 4), np.float32)})
    expect(y.shape == (1, 2), "fixed_batch")
    try:
        session.run(None, {"x": np.ones((2, 4), np.float32)})
    except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument:
        pass
    else:
        expect(False, "fixed_batch must refuse two rows")

    session = open_session("testdata/dynamic_quantize.onnx")
    tensors = {
        t.name: onnx.numpy_helper.to_array(t)
        for t in onnx.load(FOLDER / "testdata/dynamic_quantize.onnx").graph.initializer
    }
    pool = random_pool(session)
    (y,) = session.run(None, pool)
    exact = pool["x"] @ (tensors["w"].astype(np.float32) * tensors["w_scale"])
    expect(np.max(np.abs(y - exact)) < 0.1, "dynamic_quantize is near the exact product")

    for name in REFUSED:
        try:
            open_session(name)
        except Exception as error:
            print(f"{name}: refused ({type(error).__name__})")
        else:
            expect(False, f"{name} must be refused")


def check_policy():
    session = open_session("policy.onnx")

    def policy(observation):
        (action,) = session.run(None, {"observation": observation})
        return action[:, 0].astype(np.float64)

    standing = np.mean(train_policy.evaluate(policy) == 0)
    print(
        f"policy.onnx in closed loop: {100 * standing:.1f} % of"
        f" {train_policy.EVALUATION_POLES} poles stand after"
        f" {train_policy.EVALUATION_TICKS} ticks"
    )
    expect(standing >= 0.995, "the policy keeps the poles up")


def check_talk():
    """The decoder gives the same logits whole, token by token and with masked slots."""
    runner = Runner(FOLDER / "talk/model.onnx")
    tokens = np.random.default_rng(12).integers(5, 1024, 48)
    whole, _ = runner.step(tokens[None], runner.empty_past(1))
    past, logits = runner.empty_past(1), []
    for token in tokens[:32]:
        (row,), past = runner.step([[token]], past)
        logits.append(row)
    room = [np.full((1, part.shape[1], 9, part.shape[3]), 7, np.float32) for part in past]
    past = [np.concatenate(parts, axis=2) for parts in zip(past, room)]
    mask = np.ones((1, 32 + 9 + 16), np.int64)
    mask[0, 32:41] = 0
    (rest,), _ = runner.step(tokens[None, 32:], past, mask, np.arange(32, 48)[None])
    difference = np.max(np.abs(np.concatenate([*logits, rest]) - whole[0]))
    print(f"talk: largest difference of logits, whole and in parts: {difference:.1e}")
    expect(difference < 2e-3, "talk agrees with itself, whole and in parts")


def check_encoder():
    """A row of the encoder does not depend on what it is padded with."""
    session = open_session("encoder/model.onnx")
    random = np.random.default_rng(13)
    tokens = random.integers(3, 1024, (2, 24))
    mask = np.ones((2, 24), np.int64)
    mask[1, 10:] = 0
    (both,) = session.run(None, {"input_ids": tokens, "attention_mask": mask})
    alone = {"input_ids": tokens[1:, :10], "attention_mask": mask[1:, :10]}
    difference = np.max(np.abs(session.run(None, alone)[0][0] - both[1, :10]))
    print(f"encoder: largest difference, a row alone and padded: {difference:.1e}")
    expect(difference < 1e-4, "the encoder does not see its padding")


def main():
    print(f"onnxruntime {onnxruntime.__version__}")
    check_results()
    for name in BATCHABLE:
        measure_batching(name)
    check_policy()
    check_talk()
    check_encoder()


if __name__ == "__main__":
    main()
