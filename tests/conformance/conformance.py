#!/usr/bin/env python3
"""Runs the test cases that the `onnx` package carries through `lockstep infer`.

Every case is a model with inputs and the outputs that the standard expects. Each
goes through a real inference host and the rings, and through ONNX Runtime for
Python of the same version, so that what is the engine's and what is ours can be
told apart. What passed then goes through fleets: an agent for each case asks its
model and gives out the answer, the run is replayed with its models run again,
and the bits must be those of `lockstep infer`. Writes the table
docs/conformance.md; exits with 1 if a case that passes with ONNX Runtime alone
does not pass here, or a fleet gives other bits.

usage: conformance.py LOCKSTEP [--only PART_OF_NAME] [--table FILE]
"""

import argparse
import base64
import collections
import concurrent.futures
import json
import pathlib
import re
import subprocess
import tempfile

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

DATA = pathlib.Path(onnx.__file__).parent / "backend/test/data"
# As onnx.backend.test compares; the light models are compared as their own runner does.
RTOL, ATOL = 1e-3, 1e-7
# Types of ONNX that NumPy can hold only with the help of ml_dtypes: those that have the same bits in a file,
BY_BITS = {
    "bf16": ml_dtypes.bfloat16,
    "f8e4m3fn": ml_dtypes.float8_e4m3fn,
    "f8e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "f8e5m2": ml_dtypes.float8_e5m2,
    "f8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "f8e8m0": ml_dtypes.float8_e8m0fnu,
    "f4e2m1": ml_dtypes.float4_e2m1fn,
}
# and integers that have a byte each there.
BY_VALUE = {"i4": ml_dtypes.int4, "u4": ml_dtypes.uint4, "i2": ml_dtypes.int2, "u2": ml_dtypes.uint2}


def value(path, declared):
    """A tensor of a test case, or None for what is not a tensor."""
    kind = declared.WhichOneof("value")
    if kind != "tensor_type":
        return None
    proto = onnx.TensorProto()
    proto.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(proto)


def cases():
    """Name, model file, and pairs of inputs and expected outputs."""
    for group in ["node", "simple", "pytorch-converted", "pytorch-operator"]:
        for folder in sorted((DATA / group).iterdir()):
            if (folder / "model.onnx").exists():
                yield group, folder.name, folder / "model.onnx", sorted(folder.glob("test_data_set_*"))
    for model in sorted((DATA / "light").glob("*.onnx")):
        yield "light", model.stem, model, None


def arrays_of(model, sets, path):
    """The first set of inputs and outputs of a case."""
    initialized = {tensor.name for tensor in model.graph.initializer}
    declared = [port for port in model.graph.input if port.name not in initialized]
    if sets is None:
        # Their runner makes the input itself, and they carry one output.
        shape = [dim.dim_value for dim in declared[0].type.tensor_type.shape.dim]
        count = np.prod(shape)
        data = (np.arange(count).reshape(shape) / count).astype(np.float32)
        proto = onnx.TensorProto()
        proto.ParseFromString(path.with_name(path.stem + "_output_0.pb").read_bytes())
        return {declared[0].name: data}, [numpy_helper.to_array(proto)]
    inputs = {
        port.name: value(sets[0] / f"input_{number}.pb", port.type)
        for number, port in enumerate(declared)
        if (sets[0] / f"input_{number}.pb").exists()
    }
    outputs = [value(sets[0] / f"output_{number}.pb", port.type) for number, port in enumerate(model.graph.output)]
    return inputs, outputs


def agrees(got, expected):
    if expected is None:
        return "the expected output is not a tensor"
    if got.shape != expected.shape:
        return f"shape {got.shape} where {expected.shape} is expected"
    if got.dtype != expected.dtype:
        return f"type {got.dtype} where {expected.dtype} is expected"
    if got.dtype.kind not in "fiub":
        got, expected = got.astype(np.float32), expected.astype(np.float32)
    if got.dtype == bool:
        return None if np.array_equal(got, expected) else "other values"
    close = np.allclose(got, expected, rtol=RTOL, atol=ATOL, equal_nan=True)
    return None if close else "other values"


def with_python(path, inputs, outputs):
    """None if ONNX Runtime for Python passes the case, otherwise why not."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = {}
        for port in session.get_inputs():
            held = inputs[port.name]
            if held.dtype.kind in "fiubUO":
                feed[port.name] = held
            else:
                # What Python's values cannot be made of is handed over by its bits.
                proto = numpy_helper.from_array(held)
                feed[port.name] = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
                    held.view(np.uint8 if held.dtype.itemsize == 1 else np.uint16), proto.data_type
                )
        if all(isinstance(held, np.ndarray) for held in feed.values()):
            got = session.run(None, feed)
        else:
            feed = {
                name: held if not isinstance(held, np.ndarray) else onnxruntime.OrtValue.ortvalue_from_numpy(held)
                for name, held in feed.items()
            }
            got = [held.numpy() for held in session.run_with_ort_values(None, feed)]
    except Exception as error:  # the engine's own reasons are of many types
        return "engine: " + str(error).splitlines()[0][:160]
    for got_one, expected in zip(got, outputs):
        trouble = agrees(np.asarray(got_one), expected)
        if trouble:
            return trouble
    return None


def with_lockstep(program, path, inputs, outputs):
    """("passed", the bytes of the outputs by topic), ("refused", reason) or ("failed", reason)."""
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "infer", str(path), "--out", folder + "/out", "--json", "--tensor-mib", "4"]
        for number, (name, array) in enumerate(inputs.items()):
            file = f"{folder}/{number}.npy"
            np.save(file, array)
            command += ["--input", f"{name}={file}"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if ran.returncode != 0:
            said = ran.stderr.strip().replace(str(path), "MODEL")
            return ("refused" if ran.returncode in (2, 3) else "failed"), said
        listed = json.loads(ran.stdout.splitlines()[-1])["outputs"]
        topics = {}
        for one, expected in zip(listed, outputs):
            got = np.load(one["file"])
            topics[topic(one)] = packed(got, one["dtype"])
            if one["dtype"] in BY_BITS:
                got = got.view(BY_BITS[one["dtype"]])
            elif one["dtype"] in BY_VALUE:
                got = got.astype(BY_VALUE[one["dtype"]])
            trouble = agrees(got, expected)
            if trouble:
                return "failed", f"output {one['name']}: {trouble}"
    return "passed", topics


# What the agent interface calls an element type, by what is said of outputs.
INTERFACE = {
    "bool": "boolean", "u8": "uint8", "i8": "int8", "u16": "uint16", "i16": "int16", "u32": "uint32", "i32": "int32",
    "u64": "uint64", "i64": "int64", "f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64",
    "f8e4m3fn": "float8e4m3fn", "f8e4m3fnuz": "float8e4m3fnuz", "f8e5m2": "float8e5m2",
    "f8e5m2fnuz": "float8e5m2fnuz", "u4": "uint4", "i4": "int4", "f8e8m0": "float8e8m0", "f4e2m1": "float4e2m1",
    "u2": "uint2", "i2": "int2",
}
BITS = {"i4": 4, "u4": 4, "i2": 2, "u2": 2, "f4e2m1": 4}


def topic(output):
    dims = ",".join(str(dim) for dim in output["shape"])
    return f"output {output['name']} {INTERFACE[output['dtype']]}[{dims}]"


def packed(array, dtype):
    """The elements as a tensor has them: several of less than eight bits in a byte."""
    data = np.ascontiguousarray(array).tobytes()
    if dtype not in BITS:
        return data
    bits, per_byte = BITS[dtype], 8 // BITS[dtype]
    groups = [data[start : start + per_byte] for start in range(0, len(data), per_byte)]
    return bytes(
        sum((one & ((1 << bits) - 1)) << (position * bits) for position, one in enumerate(group)) for group in groups
    )


def in_fleet(program, asker, cases, folder):
    """What differs when these cases, (name, model, inputs, topics), run as one fleet; and its chain."""
    lines = ["[fleet]", 'name = "conformance"', "ticks = 2"]
    for number, (_, path, inputs, _) in enumerate(cases):
        lines += ["[[models]]", f'name = "m{number}"', f"file = {json.dumps(str(path))}"]
        lines += ["[[agents]]", f'name = "a{number}"', f"component = {json.dumps(str(asker))}", 'memory = "32 MiB"']
        settings = [f'model = "m{number}"']
        types = {port.name: port.type.tensor_type.elem_type for port in onnx.load(path, load_external_data=False).graph.input}
        for name, array in inputs.items():
            ours = ELEMENTS[types[name]]
            dims = ",".join(str(dim) for dim in array.shape)
            data = base64.b64encode(packed(array, ours)).decode()
            settings.append(f"{json.dumps('input ' + name)} = {json.dumps(f'{INTERFACE[ours]}[{dims}] {data}')}")
        lines.append("settings = { " + ", ".join(settings) + " }")
    fleet = folder / "fleet.toml"
    fleet.write_text("\n".join(lines) + "\n")
    run = folder / "run"
    ran = subprocess.run([program, "run", fleet, "--dir", run, "--json"], capture_output=True, text=True)
    if ran.returncode != 0:
        return [f"the fleet did not run: {ran.stderr.strip()[-600:]}"], None
    got = [collections.defaultdict(bytes) for _ in cases]
    for line in (run / "outbox.jsonl").read_text().splitlines():
        entry = json.loads(line)
        data = base64.b64decode(entry["base64"]) if "base64" in entry else entry["text"].encode()
        got[int(entry["agent"][1:])][entry["topic"]] += data
    differing = [
        f"{name}: {sorted(outputs)} instead of {sorted(expected)}" if sorted(outputs) != sorted(expected) else f"{name}: other bits"
        for (name, _, _, expected), outputs in zip(cases, got)
        if dict(outputs) != expected
    ]
    replayed = subprocess.run([program, "replay", run, "--reinfer"], capture_output=True, text=True)
    if replayed.returncode != 0:
        differing.append(f"the replay differs: {(replayed.stdout + replayed.stderr).strip()[-600:]}")
    return differing, json.loads(ran.stdout.splitlines()[-1])["chain"]


# Our names of the element types of ONNX, by their numbers.
ELEMENTS = {
    getattr(onnx.TensorProto, name): ours
    for name, ours in {
        "BOOL": "bool", "UINT8": "u8", "INT8": "i8", "UINT16": "u16", "INT16": "i16", "UINT32": "u32", "INT32": "i32",
        "UINT64": "u64", "INT64": "i64", "FLOAT16": "f16", "BFLOAT16": "bf16", "FLOAT": "f32", "DOUBLE": "f64",
        "FLOAT8E4M3FN": "f8e4m3fn", "FLOAT8E4M3FNUZ": "f8e4m3fnuz", "FLOAT8E5M2": "f8e5m2",
        "FLOAT8E5M2FNUZ": "f8e5m2fnuz", "UINT4": "u4", "INT4": "i4", "FLOAT8E8M0": "f8e8m0", "FLOAT4E2M1": "f4e2m1",
        "UINT2": "u2", "INT2": "i2",
    }.items()
    if hasattr(onnx.TensorProto, name)
}


def one(program, case):
    group, name, path, sets = case
    model = onnx.load(path, load_external_data=False)
    if sets == []:
        return group, name, "no data", None, None
    ports = [*model.graph.input, *model.graph.output]
    try:
        inputs, outputs = arrays_of(model, sets, path)
    except Exception as error:
        return group, name, "unreadable", str(error).splitlines()[0], None
    other = [port for port in ports if port.type.WhichOneof("value") != "tensor_type"]
    strings = [
        port for port in ports
        if port.type.WhichOneof("value") == "tensor_type" and port.type.tensor_type.elem_type == onnx.TensorProto.STRING
    ]
    if other or strings:
        # There is nothing to hand over; the model must be refused by the name of what is not supported.
        ran = subprocess.run([program, "infer", str(path)], capture_output=True, text=True, timeout=120)
        said = ran.stderr.strip().replace(str(path), "MODEL")
        names_it = any(f"`{port.name}`" in said for port in other + strings)
        if ran.returncode == 2 and names_it:
            return group, name, "refused", said, "not tried"
        if ran.returncode == 2:
            # The engine cannot even load it.
            return group, name, "refused", said, "not tried"
        return group, name, "failed", f"not refused: exit code {ran.returncode} {said}", "not tried"
    python = with_python(path, inputs, outputs)
    what, said = with_lockstep(program, path, inputs, outputs)
    if what == "passed":
        PASSED[name] = (name, path, inputs, said)
        said = None
    return group, name, what, said, python


# Cases that passed alone, for the fleets.
PASSED = {}
FLEET_CASES = 200
# What an agent may ask for in one step.
STEP_BYTES = 1 << 20


def reason(said):
    """A refusal without the names of the one case, so that equal reasons are counted together."""
    said = said.removeprefix("error: ").replace("model `MODEL`: ", "").replace("model `MODEL` ", "")
    said = re.sub(r"^model MODEL: ", "", said)
    for pattern, general in [
        (r".*its (input|output) `[^`]*` is not a tensor.*", r"an \1 is a sequence, an optional or a map"),
        (r".*its (input|output) `[^`]*` has elements of type (\w+).*", r"an \1 has elements of type \2"),
        (r".*Could not find an implementation for.*", "the engine has no kernel for an operator"),
        (r".*NOT_IMPLEMENTED.*", "the engine has no kernel for an operator"),
        (r".*(is not a registered function/op|No Op registered for|not supported on this|unsupported).*", "the engine does not know an operator or a type"),
        (r".*(opset|Opset|IR version|ir_version).*", "the engine does not know the version of the standard"),
        (r".*external.*", "its weights are in other files"),
        (r"cannot be loaded: Exception during initialization: .*/(\w+)\.\w+:.*", r"the engine refuses an attribute or a locale (\1)"),
        (r"cannot be loaded: Failed to find kernel for .*", "the engine has no kernel for an operator"),
        (r"did not run: Non-zero status code returned while running (\w+) node.*", r"the engine does not run its \1"),
    ]:
        match = re.match(pattern, said, re.DOTALL)
        if match:
            return match.expand(general)
    return said.splitlines()[0][:140]


def table(results, version, fleets):
    groups = sorted({group for group, *_ in results})
    lines = [
        "# Conformance",
        "",
        f"The test cases that the `onnx` package {onnx.__version__} carries, each through `lockstep infer` with ONNX Runtime {version}:",
        "a real inference host, tensors through the rings. Made by `tests/conformance/conformance.py`; do not edit.",
        "",
        "| cases | passed | refused | failed | without data | pass with ONNX Runtime for Python alone | of these pass here |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    def row(name, chosen):
        count = collections.Counter(what for _, _, what, _, _ in chosen)
        engine = [result for result in chosen if result[4] is None and result[2] not in ("no data", "unreadable")]
        here = sum(result[2] == "passed" for result in engine)
        lines.append(
            f"| {name} | {count['passed']} | {count['refused']} | {count['failed']} | "
            f"{count['no data'] + count['unreadable']} | {len(engine)} | {here} |"
        )
    for group in groups:
        row(group, [result for result in results if result[0] == group])
    row("**all**", results)
    passed, cases, ran, differing = fleets
    lines += ["", "## In fleets", ""]
    lines.append(
        f"Of the {passed} cases that passed, the {cases} whose inputs are below the 1 MiB of a step, as {ran} fleets with an agent and a model for each case: "
        + ("all outputs have the bits that `lockstep infer` gave, and `replay --reinfer` agrees." if not differing else "")
    )
    lines += [f"* {one}" for one in differing]
    refused = collections.defaultdict(list)
    for _, name, what, said, python in results:
        if what == "refused":
            refused[reason(said)].append((name, python))
    lines += ["", "## Refused", "", "| reason | cases | of these pass with ONNX Runtime alone |", "| --- | ---: | ---: |"]
    for why, names in sorted(refused.items(), key=lambda item: -len(item[1])):
        alone = sum(python is None for _, python in names)
        lines.append(f"| {why.replace('|', '/')} | {len(names)} | {alone} |")
    lines += ["", "## Failed", ""]
    failed = [(name, said, python) for _, name, what, said, python in results if what == "failed"]
    if not failed:
        lines.append("None.")
    else:
        lines += ["| case | here | ONNX Runtime alone |", "| --- | --- | --- |"]
        for name, said, python in failed:
            lines.append(f"| {name} | {reason(said).replace('|', '/')} | {'passes' if python is None else python.replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lockstep")
    parser.add_argument("--only", default="")
    parser.add_argument("--table", type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    chosen = [case for case in cases() if arguments.only in case[1]]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(lambda case: one(arguments.lockstep, case), chosen))
    asker = pathlib.Path(__file__).resolve().parents[2] / "agents/built/asker.wasm"
    differing, fleets = [], 0
    passed = [PASSED[name] for _, name, what, *_ in results if what == "passed"]
    all_passed = len(passed)
    passed = [case for case in passed if sum(array.nbytes for array in case[2].values()) < STEP_BYTES]
    for start in range(0, len(passed), FLEET_CASES):
        with tempfile.TemporaryDirectory() as folder:
            found, _ = in_fleet(arguments.lockstep, asker, passed[start : start + FLEET_CASES], pathlib.Path(folder))
            differing += found
            fleets += 1
    text = table(results, onnxruntime.__version__, (all_passed, len(passed), fleets, differing))
    if arguments.table:
        arguments.table.write_text(text)
    print(text)
    lost = [
        (name, what, said) for _, name, what, said, python in results
        if python is None and what in ("refused", "failed")
    ]
    for name, what, said in lost:
        print(f"lost: {name}: {what}: {said}")
    raise SystemExit(1 if lost or differing else 0)


if __name__ == "__main__":
    main()
