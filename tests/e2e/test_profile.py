#!/usr/bin/env python3
"""sluice profile: what it prints, what its JSON holds, and its trace, read back by Perfetto's own protobuf classes
(third_party/python, installed by scripts/deps.sh). Prints TAP. Environment as in test_run.py."""
import json
import os
import re
import shlex
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
sys.path.insert(0, os.path.join(ROOT, "third_party", "python"))
from tap import run as run_tests, test

SLUICE = shlex.split(os.environ.get("SLUICE_CMD", os.path.join(ROOT, "build", "sluice")))
DEVICE = os.environ.get("SLUICE_TEST_DEVICE", "cpu")
DATA = os.path.join(ROOT, "tests", "golden", "data")
DENSE, MOE, WINDOWED = (os.path.join(DATA, f"tiny-{name}.gguf") for name in ("qwen3", "qwen3moe", "gemma3"))
LAYERS = {DENSE: 3, MOE: 2}
TIMEOUT_S = 300
TMP = None

LAYER_LOG = os.environ.get("VK_LAYER_SETTINGS_PATH") and os.path.join(os.environ["VK_LAYER_SETTINGS_PATH"], "validation.log")
layer_logs = 0
MODES = ("serial", "concurrent", "layers")
CAUSES = {"barrier", "waiting for stream", "CPU submit", "start", "empty queue", "completion"}


def sluice(*arguments, code=0):
    global layer_logs
    arguments = ["profile", "--device", DEVICE, "--no-ceilings", "--warm", "0", *map(str, arguments)]
    process = subprocess.run(SLUICE + arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             timeout=TIMEOUT_S, check=False)
    if LAYER_LOG and os.path.exists(LAYER_LOG):  # tests/run.py looks at all that are kept
        layer_logs += 1
        os.rename(LAYER_LOG, f"{LAYER_LOG}.{layer_logs}")
    err = process.stderr.decode(errors="replace")
    assert process.returncode == code, f"{shlex.join(arguments)}: exit code {process.returncode}\n{err}"
    out = b"".join(line for line in process.stdout.splitlines(keepends=True)
                   if not line.startswith(b"Validation Layer Info"))
    return out.decode(), err


def profile(model, *arguments):
    return json.loads(sluice("-m", model, "--json", *arguments)[0])


def near(a, b, tolerance=1e-6):
    return abs(a - b) <= tolerance * max(abs(a), abs(b), 1)


# ---- the trace, by Perfetto's classes ----

class Slice:
    def __init__(self, event, begin_ns, parent):
        self.name, self.begin_ns, self.end_ns, self.parent = event.name, begin_ns, None, parent
        self.children = []
        self.flows = list(event.flow_ids)
        self.args = {}
        for note in event.debug_annotations:
            kind = note.WhichOneof("value")
            assert kind in ("uint_value", "double_value", "string_value") and note.name not in self.args, note
            self.args[note.name] = getattr(note, kind)

    @property
    def time_ns(self):
        return self.end_ns - self.begin_ns


class Track:
    def __init__(self, descriptor):
        self.name, self.parent, self.counter = descriptor.name, descriptor.parent_uuid, descriptor.HasField("counter")
        self.process = descriptor.process if descriptor.HasField("process") else None
        self.slices, self.open, self.values, self.last_ns = [], [], [], 0

    def all(self):
        """Slices, those inside others too."""
        return self.slices


def split(data):
    """The packets of a trace as bytes: field 1, length-delimited, again and again."""
    at = 0
    while at < len(data):
        assert data[at] == 1 << 3 | 2, f"byte {at} begins no packet"
        at, length, shift = at + 1, 0, 0
        while True:
            byte = data[at]
            at += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        assert at + length <= len(data)
        yield data[at:at + length]
        at += length


def read_trace(path):
    """Tracks by name; each packet is understood whole, and written back comes out as the same bytes."""
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb
    with open(path, "rb") as file:
        data = file.read()
    whole = pb.Trace()
    whole.ParseFromString(data)
    tracks, clocks = {}, None
    packets = list(split(data))
    assert len(whole.packet) == len(packets) > 0
    for packet, raw in zip(whole.packet, packets):
        assert packet.SerializeToString(deterministic=True) == raw, packet
        assert packet.trusted_packet_sequence_id == 1
        if packet.HasField("clock_snapshot"):
            clocks = {clock.clock_id: clock.timestamp for clock in packet.clock_snapshot.clocks}
        elif packet.HasField("track_descriptor"):
            descriptor = packet.track_descriptor
            assert descriptor.uuid and descriptor.uuid not in tracks
            assert descriptor.HasField("process") or descriptor.parent_uuid in tracks
            tracks[descriptor.uuid] = Track(descriptor)
        else:
            read_event(packet, tracks[packet.track_event.track_uuid], pb.TrackEvent)
    assert set(clocks) == {3, 6}, clocks  # MONOTONIC and BOOTTIME
    for track in tracks.values():
        assert not track.open, f"{track.name}: slices that do not end"
    return list(tracks.values())


def read_event(packet, track, kinds):
    event, now = packet.track_event, packet.timestamp
    assert packet.timestamp_clock_id == 3
    assert now >= track.last_ns, f"{track.name}: time goes back"
    track.last_ns = now
    if event.type == kinds.TYPE_SLICE_BEGIN:
        assert not track.counter and event.name
        slice_ = Slice(event, now, track.open[-1] if track.open else None)
        if slice_.parent:
            slice_.parent.children.append(slice_)
        track.slices.append(slice_)
        track.open.append(slice_)
    elif event.type == kinds.TYPE_SLICE_END:
        slice_ = track.open.pop()
        slice_.end_ns = now
        assert not slice_.parent or slice_.parent.begin_ns <= slice_.begin_ns
    else:
        assert event.type == kinds.TYPE_COUNTER and track.counter
        assert event.double_counter_value >= 0
        track.values.append((now, event.double_counter_value))


def named(tracks, name):
    track, = [track for track in tracks if track.name == name]
    return track


def traced(model, *arguments):
    path = os.path.join(TMP, "out.pftrace")
    result = profile(model, "--trace", path, *arguments)
    return result, read_trace(path)


# ---- the JSON by itself ----

def check_sums(result):
    for i, one in enumerate(result["passes"]):
        own = [gap for gap in result["gaps"] if gap["pass"] == i]
        assert {gap["cause"] for gap in own} <= CAUSES
        idle = sum(gap["time_ns"] for gap in own)
        assert one["busy_ns"] + idle == one["time_ns"], (one, idle)
        kernels = [kernel for kernel in result["slices"] if kernel["pass"] == i]
        assert kernels and near(sum(kernel["time_ns"] for kernel in kernels), one["busy_ns"], 0.01)
        for before, after in zip(kernels, kernels[1:]):
            assert before["begin_ns"] + before["time_ns"] <= after["begin_ns"] + 1
        assert sum(kernel["kernels"] for kernel in kernels) == one["dispatches"]


def check_report(result, report):
    passes = [i for i, one in enumerate(result["passes"]) if one["timed"] and one["kind"] == report["kind"]]
    kernels = [kernel for kernel in result["slices"] if kernel["pass"] in passes]
    assert report["passes"] == len(passes)
    for key in ("time_ns", "weight_bytes", "activation_bytes", "kv_bytes", "flops"):
        mean = sum(kernel[key] for kernel in kernels) / len(passes)
        assert near(report["total"][key], mean), key
        assert near(sum(row[key] for row in report["kernels"]), mean), key
    inside = sum(kernel["time_ns"] for kernel in kernels if kernel["layer"] is not None) / len(passes)
    assert near(sum(row["time_ns"] for row in report["layers"]), inside)
    times = [row["time_ns"] for row in report["kernels"]]
    assert times == sorted(times, reverse=True)
    assert near(report["idle_ns"], sum(report["idle_by_cause_ns"].values()))
    assert near(report["busy_ns"] + report["idle_ns"], report["time_ns"])
    assert report["untimed_time_ns"] > 0 and report["untimed_device_ns"] > 0


@test
def json_of_every_mode():
    for mode in MODES:
        result = profile(DENSE, "--mode", mode, "-p", 24, "-n", 3, "-d", 5, "-r", 2)
        assert result["mode"] == mode and result["clock"] == "calibrated" and result["weights"] == "resident"
        assert result["figures"]["time_ns"] == "measured" and result["figures"]["flops"] == "modelled"
        assert [one["kind"] for one in result["passes"]] == ["prefill"] * 4 + ["decode"] * 6
        assert [one["timed"] for one in result["passes"]] == [False] * 2 + [True] * 2 + [False] * 3 + [True] * 3
        assert [one["tokens"] for one in result["passes"]] == [24] * 4 + [1] * 6
        assert [one["depth"] for one in result["passes"]] == [5] * 4 + [5, 6, 7] * 2
        check_sums(result)
        prefill, decode = result["profiles"]
        for report in (prefill, decode):
            check_report(result, report)
            assert [row["layer"] for row in report["layers"]] == list(range(LAYERS[DENSE]))
        assert prefill["kind"] == "prefill" and decode["kind"] == "decode"
        assert decode["layer_dispatches"] * LAYERS[DENSE] < decode["dispatches"] <= decode["layer_dispatches"] * LAYERS[DENSE] + 8
        assert 0 < decode["layer_barriers"] < decode["layer_dispatches"]


@test
def modes_agree_on_what_runs():
    """The same kernels, bytes and operations, however they are timed; one kernel a slice in serial mode."""
    for model in (DENSE, MOE):
        totals = {}
        for mode in MODES:
            result = profile(model, "--mode", mode, "-p", 0, "-n", 2)
            total = result["profiles"][0]["total"]
            totals[mode] = [total[key] for key in ("kernels", "weight_bytes", "activation_bytes", "kv_bytes", "flops")]
            timed = [kernel for kernel in result["slices"] if result["passes"][kernel["pass"]]["timed"]]
            most = max(kernel["kernels"] for kernel in timed)
            assert (most == 1) == (mode == "serial"), (mode, most)
            assert any(kernel["label"] == "results" and kernel["kernels"] == 0 for kernel in timed)
        assert totals["serial"] == totals["concurrent"] == totals["layers"], totals


@test
def bytes_and_flops():
    """Sums from the model's sizes: 3 layers of 128, 4 heads of 64 over 2, feed-forward 224, vocabulary 320 (info)."""
    text = subprocess.run(SLUICE + ["info", DENSE], stdout=subprocess.PIPE, check=True).stdout.decode()
    assert "3 layers of 128, 4 heads of 64 over 2" in text, text
    depth, steps = 10, 4
    result = profile(DENSE, "-p", 0, "-n", steps, "-d", depth)
    report, = result["profiles"]
    keys = sum(depth + i + 1 for i in range(steps)) / steps
    assert near(report["total"]["kv_bytes"], 3 * (2 * 2 * 64 * 2) * (keys + 1)), report["total"]
    by_label = {row["label"]: row for row in report["kernels"]}
    assert near(by_label["attention"]["flops"], 3 * 4 * 4 * 64 * keys)
    assert by_label["attn_q"]["flops"] == 3 * 2 * 128 * 256
    assert by_label["attn_q"]["weight_bytes"] == 3 * 256 * 128 // 32 * 34  # Q8_0
    # Twice the sequences: the weights once, everything else twice.
    two = profile(DENSE, "-p", 0, "-n", steps, "-d", depth, "-b", 2)["profiles"][0]
    assert two["tokens"] == 2
    products = sum(row["weight_bytes"] for row in report["kernels"] if row["label"] != "embed")
    assert products == sum(row["weight_bytes"] for row in two["kernels"] if row["label"] != "embed")
    assert near(two["total"]["flops"], 2 * report["total"]["flops"])
    assert near(two["total"]["kv_bytes"], 2 * report["total"]["kv_bytes"])
    # Quantized: a byte or half a byte an element, and an f16 for 32.
    for kind, head in (("q8_0", 64 + 4), ("q4_0", 32 + 4)):
        quantized, = profile(DENSE, "-p", 0, "-n", steps, "-d", depth, "--kv-type", kind)["profiles"]
        assert near(quantized["total"]["kv_bytes"], 3 * (2 * 2 * head) * (keys + 1)), quantized["total"]


@test
def windows_bound_what_attention_reads():
    """Layers with a window of 8 stop growing where the others go on (every sixth, or none of so few layers)."""
    text = subprocess.run(SLUICE + ["info", WINDOWED], stdout=subprocess.PIPE, check=True).stdout.decode()
    window = int(re.search(r"sliding_window\s+\S+\s+(\d+)", text).group(1))
    near_end, beyond = (profile(WINDOWED, "-p", 0, "-n", 1, "-d", depth)["profiles"][0]["total"]["kv_bytes"]
                        for depth in (window // 2, window + 40))
    full = profile(DENSE, "-p", 0, "-n", 1, "-d", window + 40)["profiles"][0]["total"]["kv_bytes"]
    assert near_end < beyond and full > 0
    per_key = near_end / (window // 2 + 2)
    assert beyond < per_key * (window + 42), (near_end, beyond, window)


# ---- the trace against the JSON ----

@test
def trace_holds_what_the_json_says():
    for model, mode in ((DENSE, "serial"), (DENSE, "concurrent"), (MOE, "layers")):
        result, tracks = traced(model, "--mode", mode, "-p", 20, "-n", 2, "-d", 3, "-r", 1)
        process, = [track for track in tracks if track.process]
        assert result["model"] in process.process.process_name and process.process.pid > 0
        device = named(tracks, "device")
        kernels = [slice_ for slice_ in device.all() if "kernel" in slice_.args]
        assert len(kernels) == len(result["slices"])
        for slice_, wanted in zip(kernels, result["slices"]):
            assert slice_.name == wanted["label"] and not slice_.children
            assert slice_.begin_ns == wanted["begin_ns"] and slice_.time_ns == wanted["time_ns"]
            args = slice_.args
            assert args["kernel"] == wanted["kernel"] and args["variant"] == wanted["variant"]
            assert args.get("layer") == wanted["layer"] and args["kernels"] == wanted["kernels"]
            for arg, key in (("weight bytes", "weight_bytes"), ("activation bytes", "activation_bytes"),
                             ("KV bytes", "kv_bytes"), ("FLOPs", "flops")):
                assert args[f"{arg} (modelled)"] == wanted[key], arg
            total = wanted["weight_bytes"] + wanted["activation_bytes"] + wanted["kv_bytes"]
            assert near(args["GB/s (modelled bytes in measured time)"] * max(wanted["time_ns"], 1),
                        total if wanted["time_ns"] else 0)
        check_nesting(device, result)


def check_nesting(device, result):
    """Passes hold layers, layers hold their kernels; each within the other's time."""
    passes = [slice_ for slice_ in device.all() if slice_.parent is None]
    assert [(one.name, one.args["tokens"], one.args["depth"]) for one in passes] == \
        [(one["kind"], one["tokens"], one["depth"]) for one in result["passes"]]
    for slice_, one in zip(passes, result["passes"]):
        assert slice_.begin_ns == one["device_begin_ns"] and slice_.time_ns == one["device_ns"]
        layers = [child for child in slice_.children if "kernel" not in child.args]
        assert not layers or one["timed"]
        if one["timed"]:
            numbers = [int(layer.name.removeprefix("layer ")) for layer in layers]
            assert numbers == sorted(numbers) and len(numbers) >= 2, numbers
            for layer, number in zip(layers, numbers):
                assert layer.children and {child.args["layer"] for child in layer.children} == {number}
        for inner in [*slice_.children, *(child for layer in layers for child in layer.children)]:
            assert inner.parent.begin_ns <= inner.begin_ns <= inner.end_ns <= inner.parent.end_ns


@test
def trace_of_gaps_host_and_counters():
    result, tracks = traced(DENSE, "-p", 16, "-n", 3, "-r", 1)
    idle = named(tracks, "device idle").all()
    assert [(gap.name, gap.begin_ns, gap.time_ns) for gap in idle] == \
        [(gap["cause"], gap["begin_ns"], gap["time_ns"]) for gap in result["gaps"]]
    host = named(tracks, "host")
    passes = [slice_ for slice_ in host.all() if slice_.parent is None]
    assert [(one.begin_ns, one.time_ns) for one in passes] == [(one["begin_ns"], one["time_ns"]) for one in result["passes"]]
    events = [event for event in result["events"] if event["pass"] is not None]
    activities = [slice_ for slice_ in host.all() if slice_.parent]
    assert [(one.name, one.begin_ns, one.time_ns) for one in activities] == \
        [(event["activity"], event["begin_ns"], event["time_ns"]) for event in events]
    assert {"prepare", "batch", "submit", "wait", "result"} <= {one.name for one in activities}
    # An arrow from each submit to the first kernel of it.
    submits = {flow for slice_ in activities for flow in slice_.flows if slice_.name == "submit"}
    starts = {flow for slice_ in named(tracks, "device").all() for flow in slice_.flows}
    assert submits == starts and len(submits) == len(passes)
    for name in ("memory (modelled bytes)", "arithmetic (modelled FLOPs)"):
        values = named(tracks, name).values
        assert any(value > 0 for _, value in values) and values[-1][1] == 0


@test
def trace_of_streamed_weights():
    smallest = re.search(r"smallest that works is (\d+) MiB", sluice("-m", DENSE, "-p", 0, "-n", 2, "--vram", "1K", code=1)[1])
    result, tracks = traced(DENSE, "-p", 0, "-n", 3, "--vram", smallest.group(1) + "M")
    if result["weights"] == "resident":
        budget = int(smallest.group(1)) * 1024 - 300
        result, tracks = traced(DENSE, "-p", 0, "-n", 3, "--vram", f"{budget}K")
    assert result["weights"] == "streamed"
    check_sums(result)
    for name, activity in (("read", "read"), ("copy", "copy")):
        wanted = [event for event in result["events"] if event["activity"] == activity]
        slices = [slice_ for track in tracks if track.name == name for slice_ in track.all()]
        assert len(slices) == len(wanted)
        if activity == "read" or DEVICE == "cpu":
            assert wanted and all(event["bytes"] > 0 for event in wanted)
        assert sorted((one.begin_ns, one.time_ns, one.args["bytes"]) for one in slices) == \
            sorted((event["begin_ns"], event["time_ns"], event["bytes"]) for event in wanted)
        for track in tracks:
            if track.name == name:
                assert all(slice_.parent is None for slice_ in track.all())
    assert max(kernel["submission"] for kernel in result["slices"]) >= 1
    assert any(event["activity"] == "await stream" for event in result["events"])


# ---- the command ----

@test
def table():
    out, err = sluice("-m", DENSE, "-p", 16, "-n", 2, "--layers")
    assert re.search(r"^Prefill of 16 tokens at depth 0", out, re.M) and re.search(r"^Decode of 1 token ", out, re.M), out
    for pattern in (r"^  attn_q +matvec/\S+ +3 +\d+\.\d+ ", r"^  total +\d+ ", r"^  2 +\d+ ", r"^  idle +\d.* us: ",
                    r"^  pass +\d.*without these timestamps", r"modelled from shapes", r"host's clock, calibrated"):
        assert re.search(pattern, out, re.M), pattern
    assert "tiny-qwen3" in err
    widths = {len(line) for line in out.splitlines() if re.match(r"  (attn_|ffn_|total|phase|embed)", line)}
    assert len(widths) <= 2, widths  # one a table


@test
def ceilings_give_shares():
    if DEVICE != "cpu":
        return "SKIP a software Vulkan device takes long for it"
    process = subprocess.run(SLUICE + ["profile", "-m", DENSE, "--device", DEVICE, "-p", "0", "-n", "2", "--warm", "0", "--json"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT_S, check=True)
    result = json.loads(process.stdout)
    ceilings = result["ceilings"]
    for key in ("read_bytes_per_s", "copy_bytes_per_s", "product_flops_per_s"):
        assert ceilings[key] > 0, key
    assert ceilings["memory_bytes_per_s"] == max(ceilings["read_bytes_per_s"], ceilings["copy_bytes_per_s"])
    row = result["profiles"][0]["total"]
    assert near(row["mbu"], row["gb_per_s"] * 1e9 / ceilings["memory_bytes_per_s"], 1e-3) and 0 < row["mfu"] < 1.5, row
    return None


@test
def called_wrongly():
    for wrong in (["-p", 0, "-n", 0], ["--mode", "guess"], ["-b", 0], ["-r", 0], ["extra"]):
        err = sluice("-m", DENSE, *wrong, code=2)[1]
        assert "Try: sluice profile --help" in err, err
    err = sluice("-m", DENSE, "-p", 0, "-n", 2, "--trace", os.path.join(TMP, "no", "folder"), code=1)[1]
    assert "no/folder" in err, err
    assert "/dev/full" in sluice("-m", DENSE, "-p", 0, "-n", 2, "--trace", "/dev/full", code=1)[1]


def start(folder):
    global TMP
    TMP = folder


if __name__ == "__main__":
    sys.exit(run_tests(start))
