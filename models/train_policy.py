"""Train the cart-pole policy and write `policy.onnx`.

The policy is a small multilayer perceptron, 4 -> 32 -> 32 -> 1 with tanh on
every layer.  It is trained by backpropagation through the dynamics: the
cart-pole's equations are differentiable, so the gradient of a quadratic cost
along a simulated trajectory with respect to the network's weights is computed
exactly, step by step backwards, and followed with Adam.

Run `python train_policy.py` to train, evaluate and write the model next to
this script.  Run `python train_policy.py --evaluate` to evaluate the model
that is already there without training a new one.
"""

import os

# One BLAS thread fixes the order in which sums are taken, so that two runs on
# the same machine give the same weights.  It must be set before NumPy loads.
for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MODEL_PATH = Path(__file__).resolve().parent / "policy.onnx"

# The constants of Barto, Sutton and Anderson (1983), as in Gym's CartPole.
GRAVITY = 9.8
CART_MASS = 1.0
POLE_MASS = 0.1
TOTAL_MASS = CART_MASS + POLE_MASS
POLE_HALF_LENGTH = 0.5
POLE_MASS_LENGTH = POLE_MASS * POLE_HALF_LENGTH
FORCE_MAGNITUDE = 10.0
TICK_SECONDS = 0.02

START_RANGE = 0.05
GUST_PROBABILITY = 1.0 / 40.0
GUST_RANGE = 0.25
ANGLE_LIMIT = 24.0 * np.pi / 180.0
POSITION_LIMIT = 2.4

HIDDEN_WIDTH = 32

# Training and evaluation draw from different seeds, so that no pole on which
# the policy is judged was seen while it was trained.
TRAINING_SEED = 20_240_601
EVALUATION_SEED = 977_001

TRAINING_ITERATIONS = 900
TRAINING_POLES = 128
# The horizon is long enough (2.4 s) for a displaced cart to return to the
# middle, so that the cost of the cart's position is felt by the gradient.
TRAINING_HORIZON = 120
LEARNING_RATE_START = 3e-3
LEARNING_RATE_END = 1e-4
GRADIENT_NORM_LIMIT = 1.0

EVALUATION_POLES = 1000
EVALUATION_TICKS = 5000


# --- The cart-pole -----------------------------------------------------------


def accelerations(state, force):
    """Return the cart's and the pole's acceleration, from the old state."""
    sine, cosine = np.sin(state[:, 2]), np.cos(state[:, 2])
    shared = (force + POLE_MASS_LENGTH * state[:, 3] ** 2 * sine) / TOTAL_MASS
    denominator = POLE_HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * cosine**2 / TOTAL_MASS)
    angle_acceleration = (GRAVITY * sine - cosine * shared) / denominator
    position_acceleration = (
        shared - POLE_MASS_LENGTH * angle_acceleration * cosine / TOTAL_MASS
    )
    return position_acceleration, angle_acceleration


def euler_step(state, force):
    """Advance every pole by one tick of explicit Euler."""
    position_acceleration, angle_acceleration = accelerations(state, force)
    advanced = np.empty_like(state)
    advanced[:, 0] = state[:, 0] + TICK_SECONDS * state[:, 1]
    advanced[:, 1] = state[:, 1] + TICK_SECONDS * position_acceleration
    advanced[:, 2] = state[:, 2] + TICK_SECONDS * state[:, 3]
    advanced[:, 3] = state[:, 3] + TICK_SECONDS * angle_acceleration
    return advanced


def euler_step_gradient(state, force, gradient):
    """Carry `gradient` (with respect to the new state) back over one step.

    Returns the gradients with respect to the old state and to the force.
    """
    sine, cosine = np.sin(state[:, 2]), np.cos(state[:, 2])
    angle_speed = state[:, 3]
    shared = (force + POLE_MASS_LENGTH * angle_speed**2 * sine) / TOTAL_MASS
    denominator = POLE_HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * cosine**2 / TOTAL_MASS)
    angle_acceleration = (GRAVITY * sine - cosine * shared) / denominator

    to_position_acceleration = TICK_SECONDS * gradient[:, 1]
    to_angle_acceleration = (
        TICK_SECONDS * gradient[:, 3]
        - to_position_acceleration * POLE_MASS_LENGTH * cosine / TOTAL_MASS
    )
    to_numerator = to_angle_acceleration / denominator
    to_denominator = -to_angle_acceleration * angle_acceleration / denominator
    to_shared = to_position_acceleration - cosine * to_numerator
    to_cosine = (
        -to_position_acceleration * POLE_MASS_LENGTH * angle_acceleration / TOTAL_MASS
        - shared * to_numerator
        - to_denominator * 2.0 * POLE_HALF_LENGTH * POLE_MASS * cosine / TOTAL_MASS
    )
    to_sine = (
        GRAVITY * to_numerator
        + to_shared * POLE_MASS_LENGTH * angle_speed**2 / TOTAL_MASS
    )

    to_state = np.empty_like(state)
    to_state[:, 0] = gradient[:, 0]
    to_state[:, 1] = gradient[:, 1] + TICK_SECONDS * gradient[:, 0]
    to_state[:, 2] = gradient[:, 2] + to_sine * cosine - to_cosine * sine
    to_state[:, 3] = (
        gradient[:, 3]
        + TICK_SECONDS * gradient[:, 2]
        + to_shared * 2.0 * POLE_MASS_LENGTH * angle_speed * sine / TOTAL_MASS
    )
    return to_state, to_shared / TOTAL_MASS


def draw_gusts(random, count):
    """Draw each pole's kick for one tick: mostly zero, sometimes a shove."""
    struck = random.random(count) < GUST_PROBABILITY
    return np.where(struck, random.uniform(-GUST_RANGE, GUST_RANGE, count), 0.0)


def has_fallen(state):
    return (np.abs(state[:, 2]) > ANGLE_LIMIT) | (np.abs(state[:, 0]) > POSITION_LIMIT)


# --- The network -------------------------------------------------------------


def initial_weights(random):
    """Draw the weights, with the inputs brought to comparable ranges.

    The observation is not normalised outside of the network, so the first
    layer starts with its rows scaled by the size each component usually has.
    """
    usual_size = np.array([1.0, 1.0, 0.2, 1.0])
    first = random.standard_normal((4, HIDDEN_WIDTH)) / 2.0 / usual_size[:, None]
    second = random.standard_normal((HIDDEN_WIDTH, HIDDEN_WIDTH)) / np.sqrt(HIDDEN_WIDTH)
    third = random.standard_normal((HIDDEN_WIDTH, 1)) * 0.1 / np.sqrt(HIDDEN_WIDTH)
    return [
        first,
        np.zeros(HIDDEN_WIDTH),
        second,
        np.zeros(HIDDEN_WIDTH),
        third,
        np.zeros(1),
    ]


def forward(weights, observation):
    first = np.tanh(observation @ weights[0] + weights[1])
    second = np.tanh(first @ weights[2] + weights[3])
    action = np.tanh(second @ weights[4] + weights[5])
    return first, second, action


# --- Training ----------------------------------------------------------------


def draw_training_states(random, count):
    """Start training from a wide box of states, not only from rest.

    Gusts push a pole into states that a short rollout from rest never
    reaches.  Starting there teaches the recovery directly.
    """
    half_ranges = np.array([1.5, 1.5, 0.25, 1.5])
    return random.uniform(-1.0, 1.0, (count, 4)) * half_ranges


COST_WEIGHTS = np.array([0.3, 0.03, 1.0, 0.03])
ACTION_COST = 0.01


def trajectory_gradient(weights, state, random):
    """Roll out one batch of trajectories; return mean cost and its gradient."""
    count = len(state)
    scale = 1.0 / (count * TRAINING_HORIZON)
    states, hiddens, kicked_states, alive_masks = [], [], [], []
    alive = np.ones(count, dtype=bool)
    cost = 0.0
    for _ in range(TRAINING_HORIZON):
        first, second, action = forward(weights, state)
        states.append(state)
        hiddens.append((first, second, action))
        kicked = state.copy()
        kicked[:, 3] += draw_gusts(random, count)
        kicked_states.append(kicked)
        # A fallen pole stays where it fell and costs nothing further: what
        # happens beyond the limits would only add noise to the gradient.
        alive_masks.append(alive)
        advanced = euler_step(kicked, FORCE_MAGNITUDE * action[:, 0])
        state = np.where(alive[:, None], advanced, state)
        cost += scale * np.sum(alive * (state**2 @ COST_WEIGHTS))
        cost += scale * ACTION_COST * np.sum(alive * action[:, 0] ** 2)
        alive = alive & ~has_fallen(state)

    gradients = [np.zeros_like(w) for w in weights]
    # This is the gradient of the cost with respect to the state after a tick.
    to_state = np.zeros((count, 4))
    for tick in range(TRAINING_HORIZON - 1, -1, -1):
        first, second, action = hiddens[tick]
        alive = alive_masks[tick]
        after = states[tick + 1] if tick + 1 < TRAINING_HORIZON else state
        incoming = np.where(
            alive[:, None], to_state + 2.0 * scale * COST_WEIGHTS * after, 0.0
        )
        to_old_state, to_force = euler_step_gradient(
            kicked_states[tick], FORCE_MAGNITUDE * action[:, 0], incoming
        )
        to_action = FORCE_MAGNITUDE * to_force[:, None]
        to_action += 2.0 * scale * ACTION_COST * action * alive[:, None]
        to_third = to_action * (1.0 - action**2)
        to_second = (to_third @ weights[4].T) * (1.0 - second**2)
        to_first = (to_second @ weights[2].T) * (1.0 - first**2)
        gradients[0] += states[tick].T @ to_first
        gradients[1] += to_first.sum(axis=0)
        gradients[2] += first.T @ to_second
        gradients[3] += to_second.sum(axis=0)
        gradients[4] += second.T @ to_third
        gradients[5] += to_third.sum(axis=0)
        to_state = to_old_state + to_first @ weights[0].T
    return cost, gradients


def train():
    """Follow the gradient with Adam and a falling learning rate."""
    random = np.random.default_rng(TRAINING_SEED)
    weights = initial_weights(random)
    means = [np.zeros_like(w) for w in weights]
    squares = [np.zeros_like(w) for w in weights]
    for iteration in range(1, TRAINING_ITERATIONS + 1):
        start = draw_training_states(random, TRAINING_POLES)
        cost, gradients = trajectory_gradient(weights, start, random)
        # An unstable system can make single gradients enormous, so their
        # common norm is limited while their direction is kept.
        norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
        shrink = min(1.0, GRADIENT_NORM_LIMIT / max(norm, 1e-12))
        progress = iteration / TRAINING_ITERATIONS
        rate = LEARNING_RATE_START * (LEARNING_RATE_END / LEARNING_RATE_START) ** progress
        for weight, gradient, mean, square in zip(weights, gradients, means, squares):
            gradient = gradient * shrink
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            mean_corrected = mean / (1.0 - 0.9**iteration)
            square_corrected = square / (1.0 - 0.999**iteration)
            weight -= rate * mean_corrected / (np.sqrt(square_corrected) + 1e-8)
        if iteration % 100 == 0:
            print(f"iteration {iteration:4d}: cost {cost:.5f}, gradient norm {norm:.4f}")
    return [w.astype(np.float32) for w in weights]


# --- Evaluation --------------------------------------------------------------


def evaluate(policy, extra_delay=0, seed=EVALUATION_SEED):
    """Run fresh poles and return the tick at which each fell (0: it stood).

    The action applied in a tick answers the observation of the previous tick,
    and is zero in the first.  `extra_delay` makes it that many ticks older,
    which shows how much slack the policy has.
    """
    random = np.random.default_rng(seed)
    count = EVALUATION_POLES
    state = random.uniform(-START_RANGE, START_RANGE, (count, 4))
    fell_at = np.zeros(count, dtype=np.int64)
    pending = [np.zeros(count)] * (1 + extra_delay)
    for tick in range(1, EVALUATION_TICKS + 1):
        action = pending.pop(0)
        state[:, 3] += draw_gusts(random, count)
        advanced = euler_step(state, FORCE_MAGNITUDE * np.clip(action, -1.0, 1.0))
        state = np.where(fell_at[:, None] == 0, advanced, state)
        fell_at[(fell_at == 0) & has_fallen(state)] = tick
        if np.all(fell_at):
            break
        pending.append(policy(state.astype(np.float32)))
    return fell_at


def print_evaluation(weights):
    def trained(observation):
        return forward(weights, observation)[2][:, 0].astype(np.float64)

    def idle(observation):
        return np.zeros(len(observation))

    for extra_delay in (0, 1, 2):
        standing = np.mean(evaluate(trained, extra_delay) == 0)
        note = "" if extra_delay == 0 else f" with actions {extra_delay} tick(s) later"
        print(
            f"trained policy{note}: {100 * standing:.1f} % of {EVALUATION_POLES} poles"
            f" stand after {EVALUATION_TICKS} ticks"
        )
    fell_at = evaluate(idle)
    fallen = fell_at[fell_at > 0]
    print(
        f"zero force: {np.sum(fell_at == 0)} of {EVALUATION_POLES} poles stand after"
        f" {EVALUATION_TICKS} ticks; {100 * np.mean((fell_at > 0) & (fell_at <= 150)):.1f} %"
        f" have fallen by tick 150; falls at tick"
        f" {fallen.min()} (first), {int(np.median(fallen))} (median),"
        f" {int(np.percentile(fallen, 99))} (99th percentile), {fallen.max()} (last)"
    )


# --- The model file ----------------------------------------------------------


def build_model(weights):
    names = ["w1", "b1", "w2", "b2", "w3", "b3"]
    nodes = []
    previous = "observation"
    for layer in (1, 2, 3):
        output = "action" if layer == 3 else f"h{layer}"
        nodes.append(
            helper.make_node("Gemm", [previous, f"w{layer}", f"b{layer}"], [f"z{layer}"])
        )
        nodes.append(helper.make_node("Tanh", [f"z{layer}"], [output]))
        previous = output
    graph = helper.make_graph(
        nodes,
        "cart_pole_policy",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(w, n) for w, n in zip(weights, names)],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def load_weights():
    graph = onnx.load(MODEL_PATH).graph
    tensors = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    return [tensors[name] for name in ("w1", "b1", "w2", "b2", "w3", "b3")]


def main():
    parser = argparse.ArgumentParser(description="Train or evaluate the cart-pole policy.")
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="evaluate the existing policy.onnx instead of training a new one",
    )
    if not parser.parse_args().evaluate:
        started = time.monotonic()
        model = build_model(train())
        MODEL_PATH.write_bytes(model.SerializeToString(deterministic=True))
        print(f"trained in {time.monotonic() - started:.0f} s")
    print_evaluation(load_weights())


if __name__ == "__main__":
    main()
