#!/usr/bin/env python3
"""The command as a user runs it: every subcommand, its JSON, exit codes, errors. Prints TAP.

The model is a tiny one of tests/golden/data, and once the real default model. SLUICE_CMD, SLUICE_TEST_DEVICE and
SLUICE_TEST_TMP come from tests/run.py; without them build/sluice runs on the cpu device."""
import errno
import json
import os
import re
import resource
import shlex
import struct
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from tap import run as run_tests, test

SLUICE = shlex.split(os.environ.get("SLUICE_CMD", os.path.join(ROOT, "build", "sluice")))
DEVICE = os.environ.get("SLUICE_TEST_DEVICE", "cpu")
DATA = os.path.join(ROOT, "tests", "golden", "data")
TINY = os.path.join(DATA, "tiny-qwen3.gguf")
PROMPT = "the quick brown fox"
COMMANDS = ("run", "devices", "info", "tokenize", "bench", "profile", "tune")
TIMEOUT_S = 300

LAYER_LOG = os.environ.get("VK_LAYER_SETTINGS_PATH") and os.path.join(os.environ["VK_LAYER_SETTINGS_PATH"], "validation.log")
layer_logs = 0


def keep_layer_log():
    """Each process writes the validation layer's log anew; tests/run.py looks at all that are kept."""
    global layer_logs
    if LAYER_LOG and os.path.exists(LAYER_LOG):
        layer_logs += 1
        os.rename(LAYER_LOG, f"{LAYER_LOG}.{layer_logs}")


class Ended:
    """What a process printed and how it ended."""

    def __init__(self, process):
        self.code, self.out, self.err = process.returncode, process.stdout, process.stderr.decode(errors="replace")
        if LAYER_LOG:  # the validation layer announces its log file on standard output
            self.out = b"".join(line for line in self.out.splitlines(keepends=True)
                                if not line.startswith(b"Validation Layer Info"))

    def json(self):
        return json.loads(self.out)

    def json_lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


def sluice(*arguments, code=0, stdin=b"", env=None, message=True, **options):
    """Runs the command, checks its exit code and that an error is one or two lines with the command's name."""
    arguments = [os.fspath(argument) for argument in arguments]
    process = subprocess.run(SLUICE + arguments, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env={**os.environ, **(env or {})}, timeout=TIMEOUT_S, check=False, **options)
    keep_layer_log()
    ended = Ended(process)
    assert ended.code == code, f"sluice {shlex.join(arguments)}: exit code {ended.code}, wanted {code}\n{ended.err}"
    if code == 1 and message:
        assert re.search(r"^sluice", ended.err, re.M), f"no message: {ended.err!r}"
    if code == 2:
        assert "sluice" in ended.err and ended.out == b"", ended.err
    return ended


def run(*arguments, model=None, **options):
    return sluice("run", "-m", model or TINY, "--device", DEVICE, *arguments, **options)


def run_json(*arguments, **options):
    return run("--json", *arguments, **options).json()


def check_types(value, wanted, where=""):
    """`wanted` is a type, or a dict of keys that must all be there."""
    if isinstance(wanted, dict):
        missing = wanted.keys() - value.keys()
        assert not missing, f"{where}: keys missing: {sorted(missing)}"
        for key, inner in wanted.items():
            check_types(value[key], inner, f"{where}.{key}")
    elif wanted is float:
        assert isinstance(value, (int, float)) and not isinstance(value, bool), f"{where} is {value!r}"
    else:
        assert type(value) is wanted, f"{where} is {value!r}"


def scratch(name, content=None):
    path = os.path.join(TMP, name)
    if content is not None:
        with open(path, "wb") as file:
            file.write(content)
    return path


def tiny_bytes():
    with open(TINY, "rb") as file:
        return file.read()


# ---- help and usage ----

@test
def help_everywhere():
    text = sluice("--help").out.decode()
    for command in COMMANDS:
        assert command in text, command
        own = sluice(command, "--help").out.decode()
        assert own.startswith(f"Usage: sluice {command}"), own
        assert "--help" in own
        assert sluice(command, "-h").out.decode() == own
    assert re.fullmatch(r"sluice \d+\.\d+\.\d+\n", sluice("--version").out.decode())


@test
def run_help_names_every_option():
    text = sluice("run", "--help").out.decode()
    for option in ("-m", "-p", "-f", "-n", "-c", "--temp", "--top-k", "--top-p", "--min-p", "--seed", "--stop", "--device", "--kv-type",
                   "--vram", "--json", "--verbose", "--tune", "--no-tune"):
        assert re.search(rf"(^|\s|,){option}\b", text), option


@test
def called_wrongly():
    assert "Usage" in sluice(code=2).err
    assert "nonsense" in sluice("nonsense", code=2).err
    for command in COMMANDS:
        assert "--nonsense" in sluice(command, "--nonsense", code=2).err
    for arguments in (["run", "-p"], ["run", "-n", "many"], ["run", "-n", "-1"], ["run", "--temp", "warm"],
                      ["run", "--temp", "nan"], ["run", "--vram", "12Q"], ["run", "--vram", "-4G"],
                      ["run", "--seed", "99999999999999999999"], ["run", "-p", "a", "-f", "b"], ["run", "stray"],
                      ["run", "-n", "5000000000"], ["bench", "-r", "0"], ["bench", "-p", "1,x"],
                      ["bench", "-b", "1000"], ["bench", "-p", "0", "-n", "0"], ["devices", "--json=1"], ["devices", "stray"],
                      ["run", "--temp", "-1"], ["run", "--top-p", "1.5"], ["run", "--min-p", "-0.1"],
                      ["run", "--repeat-penalty", "-2"], ["run", "--tune", "--no-tune", "-p", "a"], ["tune", "stray"],
                      ["tokenize", "-p", "a", "-f", "b"]):
        sluice(*arguments, code=2)
    err = sluice("run", "-n", "many", code=2).err
    assert "many" in err and "--tokens" in err, err
    err = sluice("run", "--top-p", "1.5", code=2).err
    assert "--top-p" in err and "1.5" in err, err


# ---- devices, info, tokenize ----

@test
def devices():
    text = sluice("devices").out.decode()
    assert re.search(r"^\* \S+", text, re.M), text
    assert re.search(r"^[* ] cpu\b", text, re.M), text
    lines = sluice("devices", "--json").json_lines()
    for device in lines:
        check_types(device, {"selector": str, "name": str, "version": str, "type": str, "usable": bool, "refused": str,
                             "memory_bytes": int, "compute_units": int, "subgroup_size": int, "max_buffer_bytes": int,
                             "features": str, "matrix": str}, device["selector"])
        assert device["usable"] or device["refused"]
    assert DEVICE in [device["selector"] for device in lines if device["usable"]]


@test
def info():
    text = sluice("info", "-m", TINY).out.decode()
    assert TINY in text and 'general.architecture' in text and re.search(r"^runs\s+yes: qwen3, 3 layers of 128", text, re.M), text
    assert re.search(r"^device\s+\S+ \(", text, re.M), text
    assert sluice("info", TINY).out.decode() == text
    assert "blk.0.attn_q.weight" not in text
    assert re.search(r"^tensor\s+blk\.0\.attn_q\.weight\s+\S+\s+128 x 256", sluice("info", "-t", TINY).out.decode(), re.M)


@test
def info_of_what_cannot_run():
    renamed = scratch("renamed.gguf", tiny_bytes().replace(b"blk.1.attn_k.weight", b"blk.1.attn_x.weight"))
    text = sluice("info", renamed, code=1, message=False).out.decode()
    assert re.search(r"^runs\s+no: .*blk\.1\.attn_k\.weight", text, re.M), text
    assert "notes.txt" in sluice("info", scratch("notes.txt", b"not a model"), code=1).err


@test
def tokenize():
    ids = sluice("tokenize", "-m", TINY, "--json", "-p", PROMPT).json()
    assert ids and all(type(token) is int for token in ids)
    assert [int(token) for token in sluice("tokenize", "-m", TINY, "--ids", "-p", PROMPT).out.split()] == ids
    plain = sluice("tokenize", "-m", TINY, "-p", PROMPT).out.decode().splitlines()
    assert [int(line.split()[0]) for line in plain] == ids
    assert "".join(re.fullmatch(r"\s*\d+  '(.*)'", line).group(1) for line in plain).replace("Ġ", " ") == PROMPT
    path = scratch("prompt.txt", PROMPT.encode())
    assert sluice("tokenize", "-m", TINY, "--json", "-f", path).json() == ids
    assert sluice("tokenize", "-m", TINY, "--json", stdin=PROMPT.encode()).json() == ids
    assert run_json("-p", PROMPT, "-n", "1")["prompt_tokens"] == ids
    assert sluice("tokenize", "-m", TINY, "--json", "-p", "").json() == []


# ---- run ----

RUN_KEYS = {
    "model": str, "device": str, "tuned": str, "prompt_tokens": list, "tokens": list, "text": str, "finish_reason": str,
    "timings": {"load_ms": float, "ttft_ms": float, "tpot_ms": float, "prompt_tokens_per_s": float, "tokens_per_s": float},
    "memory": {"vram_peak_bytes": int, "vram_budget_bytes": int, "rss_peak_bytes": int},
    "io": {"engine": str, "direct": bool, "registered": bool, "read_bytes": int, "read_bytes_per_token": float},
}


@test
def run_json_has_every_key():
    result = run_json("-p", PROMPT, "-n", "12", "--ignore-end")
    check_types(result, RUN_KEYS, "run")
    assert result["model"] == TINY and result["finish_reason"] == "length"
    assert len(result["tokens"]) == 12 and all(type(token) is int for token in result["tokens"])
    assert all(result["timings"][key] > 0 for key in result["timings"])
    assert result["memory"]["vram_budget_bytes"] == 0
    assert os.path.getsize(TINY) * 0.9 < result["memory"]["vram_peak_bytes"] < result["memory"]["rss_peak_bytes"] * 4
    assert result["io"]["engine"] in ("io_uring", "threads")
    assert os.path.getsize(TINY) * 0.9 < result["io"]["read_bytes"] and result["io"]["read_bytes_per_token"] == 0


@test
def run_prints_the_text():
    result = run_json("-p", PROMPT, "-n", "12")
    ended = run("-p", PROMPT, "-n", "12")
    assert ended.out.decode() == result["text"] + "\n"
    assert DEVICE in ended.err and "tiny-qwen3" in ended.err, ended.err
    verbose = run("-p", PROMPT, "-n", "12", "-v")
    assert verbose.out == ended.out
    for what in ("tokens/s", "dispatches", "device memory", "i/o"):
        assert what in verbose.err, what


@test
def run_reads_files_and_standard_input():
    wanted = run_json("-p", PROMPT, "-n", "8")["tokens"]
    assert run_json("-f", scratch("prompt.txt", PROMPT.encode()), "-n", "8")["tokens"] == wanted
    assert run_json("-n", "8", stdin=PROMPT.encode())["tokens"] == wanted
    assert run_json("-f", "-", "-n", "8", stdin=PROMPT.encode())["tokens"] == wanted
    assert "no-such-file" in run("-f", scratch("no-such-file"), code=1).err


@test
def run_takes_the_model_from_the_environment():
    ended = sluice("run", "--device", DEVICE, "-p", PROMPT, "-n", "1", "--json", env={"SLUICE_MODEL": TINY})
    assert ended.json()["model"] == TINY


@test
def run_streams_to_the_same_text():
    whole = run_json("-p", PROMPT, "-n", "16", "-c", "64", "-b", "16", "--ignore-end")
    budget = whole["memory"]["vram_peak_bytes"] - 400 * 1024
    for engine in ("auto", "threads"):
        part = run_json("-p", PROMPT, "-n", "16", "-c", "64", "-b", "16", "--ignore-end", "--vram", str(budget), "--io",
                        engine)
        assert part["tokens"] == whole["tokens"] and part["text"] == whole["text"]
        assert part["memory"]["vram_peak_bytes"] <= part["memory"]["vram_budget_bytes"] == budget
        assert 300 * 1024 < part["io"]["read_bytes_per_token"] < os.path.getsize(TINY)
        assert part["io"]["read_bytes"] >= 15 * part["io"]["read_bytes_per_token"]
    assert part["io"]["engine"] == "threads"


@test
def run_quantizes_the_cache():
    few = "-p", PROMPT, "-n", "8", "-c", "64", "-b", "16", "--ignore-end"
    used = {}
    for kind in ("f16", "q8_0", "q4_0"):
        result = run_json(*few, "--kv-type", kind)
        used[kind] = result["memory"]["vram_peak_bytes"]
        part = run_json(*few, "--kv-type", kind, "--vram", str(used[kind] - 400 * 1024))
        assert part["tokens"] == result["tokens"] and part["io"]["read_bytes_per_token"] > 0
    assert used["f16"] > used["q8_0"] > used["q4_0"], used
    assert run_json(*few, "--kv-type", "f16")["tokens"] == run_json(*few)["tokens"]
    for command in ("run", "bench", "profile"):
        err = sluice(command, "-m", TINY, "--device", DEVICE, "--kv-type", "q5_1", code=1).err
        assert 'kv_type "q5_1": there are f16, q8_0, q4_0' in err, err


@test
def run_names_the_smallest_budget():
    err = run("-p", PROMPT, "-n", "2", "-c", "512", "--vram", "1K", code=1).err
    smallest = re.search(r"smallest that works is (\d+) MiB", err)
    assert smallest and TINY in err, err
    result = run_json("-p", PROMPT, "-n", "2", "-c", "512", "--vram", smallest.group(1) + "M")
    assert result["memory"]["vram_peak_bytes"] <= int(smallest.group(1)) << 20


@test
def run_stops_at_strings():
    whole = run_json("-p", PROMPT, "-n", "40", "--ignore-end")["text"]
    plain = [at for at in range(8, len(whole) - 3) if "\ufffd" not in whole[at:at + 2]]
    at = plain[len(plain) // 2]
    stop = whole[at:at + 2]
    result = run_json("-p", PROMPT, "-n", "40", "--ignore-end", "--stop", "is not in it", "--stop", stop)
    assert result["finish_reason"] == "stop", result
    assert result["text"] == whole[:whole.index(stop)]
    assert run("-p", PROMPT, "-n", "40", "--ignore-end", "--stop", stop).out.decode() == result["text"] + "\n"


@test
def run_draws_by_seed():
    def draw(*arguments):
        return run_json("-p", PROMPT, "-n", "24", "--ignore-end", *arguments)["tokens"]
    greedy = draw()
    assert draw("--temp", "0", "--seed", "5") == greedy
    for chain in (["--top-k", "20"], ["--top-k", "0", "--top-p", "0.95"], ["--min-p", "0.02"]):
        first = draw("--temp", "1.5", "--seed", "7", *chain)
        assert first == draw("--temp", "1.5", "--seed", "7", *chain)
        assert first != draw("--temp", "1.5", "--seed", "8", *chain)
        assert first != greedy
    assert draw("--temp", "1.5", "--top-k", "1", "--seed", "3") == greedy
    assert draw("--repeat-penalty", "1.8") != greedy


@test
def run_ends_with_the_context():
    result = run_json("-p", PROMPT, "-n", "0", "-c", "24", "--ignore-end")
    assert result["finish_reason"] == "context"
    assert len(result["prompt_tokens"]) + len(result["tokens"]) == 25 # the last token needs no place
    err = run("-p", "word " * 200, "-c", "32", code=1).err
    assert "32" in err, err


@test
def run_empty_prompt():
    ended = run("-p", "", "-n", "4", code=1)
    assert "prompt is empty" in ended.err, ended.err
    assert "prompt is empty" in run("-n", "4", "-f", scratch("empty.txt", b""), code=1).err


@test
def run_broken_utf8():
    prompt = b"caf\xc3\xa9 \xff\xfe \xc3( \xed\xa0\x80 \xf4\x90\x80\x80 end \xe2\x82"
    ended = run("-f", scratch("broken.txt", prompt), "-n", "16", "--json")
    result = json.loads(ended.out.decode("utf-8", errors="strict"))
    assert len(result["tokens"]) >= 1
    assert result["prompt_tokens"] == sluice("tokenize", "-m", TINY, "--json", stdin=prompt).json()
    run("-f", scratch("broken.txt", prompt), "-n", "64", "--temp", "3").out.decode("utf-8", errors="strict")


# ---- tune ----

TUNE_KEYS = {"kernel": str, "shape": str, "variant": str, "default": str, "number": int, "candidates": int, "us": float,
             "default_us": float}
TUNE_RESULT_KEYS = {"model": str, "device": str, "measured": int, "known": int, "choices": int, "seconds": float, "tuned": str,
                    "switch_points": str}


def tune(cache, *arguments):
    """A quick tuning with a small batch, on drivers of a CPU a matter of seconds: the choices, and the result."""
    lines = sluice("tune", "-m", TINY, "--device", DEVICE, "--quick", "-b", "8", "-c", "32", "--json", *arguments,
                   env={"XDG_CACHE_HOME": cache}).json_lines()
    for line in lines[:-1]:
        check_types(line, TUNE_KEYS, "tune")
        assert line["candidates"] >= 2 and line["us"] <= line["default_us"] * 1.001, line
    check_types(lines[-1], TUNE_RESULT_KEYS, "tune")
    return lines[:-1], lines[-1]


def tuning_files(cache):
    folder = os.path.join(cache, "sluice")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names if name.endswith(".tuning.json")]


@test
def tune_keeps_what_it_measured():
    cache = scratch("tuned")
    here = {"XDG_CACHE_HOME": cache}
    plain = run_json("-p", PROMPT, "-n", "8", "--no-tune", env=here)
    assert plain["tuned"] == "no" and not tuning_files(cache)
    choices, result = tune(cache)
    assert result["tuned"] == "quick" and result["measured"] == len(choices), result
    assert choices or DEVICE == "cpu", "a Vulkan device on a CPU has variants to choose from"
    path, = tuning_files(cache)
    with open(path, encoding="utf-8") as file:
        kept = json.load(file)
    assert len(kept["choices"]) == result["choices"] >= len(choices)
    again, known = tune(cache)
    assert not again and known["measured"] == 0 and known["choices"] == result["choices"]
    if DEVICE == "cpu":  # drivers of a CPU compile for seconds
        forced, _ = tune(cache, "--force")
        assert len(forced) == len(choices)

    # Runs use it, --no-tune does not, and the text is the same.
    tuned = run_json("-p", PROMPT, "-n", "8", env=here)
    assert tuned["tuned"] == "quick" and tuned["tokens"] == plain["tokens"], tuned
    assert run_json("-p", PROMPT, "-n", "8", "--no-tune", env=here)["tuned"] == "no"
    verbose = run("-p", PROMPT, "-n", "2", "-v", env=here).err
    assert f"tuned ({result['choices']} choices)" in verbose, verbose
    bench = ("bench", "-m", TINY, "--device", DEVICE, "-p", "8", "-n", "2", "-r", "1", "--no-ceilings")
    text = sluice(*bench, env=here).out.decode()
    assert f"kernels: tuned (quick, {result['choices']} choices)" in text, text
    assert "not tuned" in sluice(*bench, "--no-tune", env=here).out.decode()
    assert {line["tuned"] for line in sluice(*bench, "--json", env=here).json_lines()} == {"quick"}


@test
def tune_ignores_a_damaged_file():
    cache = scratch("tuned")
    path, = tuning_files(cache)
    with open(path, "w", encoding="utf-8") as file:
        file.write("{\"sluice_tuning\": 1, ")
    ended = run("-p", PROMPT, "-n", "2", "--json", env={"XDG_CACHE_HOME": cache})
    assert "is ignored" in ended.err and path in ended.err and ended.json()["tuned"] == "no", ended.err
    _, result = tune(cache)
    assert result["known"] == 0 and result["tuned"] == "quick"
    ended = run("-p", PROMPT, "-n", "2", "--json", env={"XDG_CACHE_HOME": cache})
    assert "is ignored" not in ended.err and ended.json()["tuned"] == "quick", ended.err


@test
def tune_before_a_run():
    cache = scratch("tuned-by-run")
    ended = run("-p", PROMPT, "-n", "4", "-b", "8", "-c", "32", "--tune", "--json", env={"XDG_CACHE_HOME": cache})
    assert ended.json()["tuned"] == "quick", ended.err
    assert len(tuning_files(cache)) == 1
    assert ("sluice: tuned" in ended.err) == (DEVICE != "cpu"), ended.err
    # Not by itself on a CPU, where it would take minutes.
    other = scratch("not-tuned")
    assert run_json("-p", PROMPT, "-n", "1", env={"XDG_CACHE_HOME": other})["tuned"] == "no"


@test
def tune_prints_a_table():
    text = sluice("tune", "-m", TINY, "--device", DEVICE, "--quick", "-b", "8", "-c", "32",
                  env={"XDG_CACHE_HOME": scratch("tuned")}).out.decode()
    assert "| kernel" in text and re.search(r"^0 choices measured in .* known; \S+: ", text, re.M), text


# ---- what is missing or broken ----

@test
def run_without_a_cache():
    wanted = run_json("-p", PROMPT, "-n", "4")["tokens"]
    in_the_way = scratch("a-file", b"")
    assert run_json("-p", PROMPT, "-n", "4", env={"XDG_CACHE_HOME": in_the_way})["tokens"] == wanted
    assert run_json("-p", PROMPT, "-n", "4", env={"XDG_CACHE_HOME": "", "HOME": ""})["tokens"] == wanted


def no_file_may_grow():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def fill(folder):
    with open(os.path.join(folder, "filler"), "wb", buffering=0) as file:
        try:
            while file.write(bytes(1024)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC, error


@test
def run_with_a_full_disk():
    wanted = run_json("-p", PROMPT, "-n", "4")["tokens"]
    cache = scratch("full")
    os.mkdir(cache)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", cache], check=False,
                             stderr=subprocess.DEVNULL).returncode == 0
    try:
        full = {"XDG_CACHE_HOME": cache}
        if not mounted or "MESA_SHADER_CACHE_DIR" not in os.environ:
            # Mesa's own cache maps a file there, and a full disk ends the process with SIGBUS.
            full |= {"MESA_SHADER_CACHE_DISABLE": "true", "MESA_GLSL_CACHE_DISABLE": "true"}
        if mounted:
            fill(cache)
            options = {}
        else:
            # Not root: Python ignores SIGXFSZ; kept ignored, a write past the limit fails as one to a full disk does.
            options = {"preexec_fn": no_file_may_grow, "restore_signals": False}
        assert run_json("-p", PROMPT, "-n", "4", env=full, **options)["tokens"] == wanted
        # Nothing half-written stays behind.
        assert run_json("-p", PROMPT, "-n", "4", env=full)["tokens"] == wanted
    finally:
        if mounted:
            subprocess.run(["umount", cache], check=True)


@test
def output_that_cannot_be_written():
    for command in (["run", "-p", PROMPT, "-n", "2", "-m", TINY, "--device", DEVICE], ["tokenize", "-p", "a", "-m", TINY],
                    ["run", "-p", PROMPT, "-n", "2", "-m", TINY, "--device", DEVICE, "--json"], ["info", TINY],
                    ["devices", "--json"], ["--help"]):
        with open("/dev/full", "wb") as full:
            ended = subprocess.run(SLUICE + command, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE,
                                   timeout=TIMEOUT_S, check=False)
        message = ended.stderr.decode(errors="replace")
        assert ended.returncode == 1 and "standard output: No space left on device" in message, f"{command}: {message}"


@test
def model_missing_or_cut():
    for command in (["run", "-p", "a", "--device", DEVICE], ["info"], ["tokenize", "-p", "a"], ["bench", "-r", "1"]):
        err = sluice(*command, "-m", scratch("no-model.gguf"), code=1).err
        assert "no-model.gguf" in err, err
        err = sluice(*command, "-m", TMP, code=1).err
        assert TMP in err, err
    whole = tiny_bytes()
    for size in (0, 10, 1000, len(whole) // 2, len(whole) - 1):
        cut = scratch("cut.gguf", whole[:size])
        assert "cut.gguf" in run("-p", "a", model=cut, code=1).err


@test
def device_by_part_of_its_name():
    name, = [line["name"] for line in sluice("devices", "--json").json_lines() if line["selector"] == DEVICE]
    part = name[1:-1].swapcase()
    ended = sluice("run", "-m", TINY, "-p", "a", "-n", "1", "--device", part, "--json")
    assert ended.json()["device"] == name and f'asked for as "{part[:64]}"' in ended.err, ended.err


@test
def device_unknown():
    err = sluice("run", "-m", TINY, "-p", "a", "--device", "abacus", code=1).err
    assert "abacus" in err, err
    err = sluice("run", "-m", TINY, "-p", "a", "--device", "vulkan:77", code=1).err
    assert "vulkan:77" in err or "77" in err, err
    assert "io_engine" in run("-p", "a", "--io", "telepathy", code=1).err


def patched(key, kind, value):
    """The tiny model with another value of a key: kind is struct's letter."""
    data = bytearray(tiny_bytes())
    at = data.index(key.encode()) + len(key) + 4
    struct.pack_into("<" + kind, data, at, value)
    return scratch("patched.gguf", bytes(data))


@test
def errors_name_file_field_and_value():
    for key, kind, value in (("qwen3.attention.head_count", "I", 0), ("qwen3.attention.head_count_kv", "I", 3),
                             ("qwen3.block_count", "I", 77777), ("qwen3.embedding_length", "I", 129),
                             ("qwen3.rope.freq_base", "f", -2.0), ("qwen3.attention.key_length", "I", 65)):
        err = run("-p", "a", model=patched(key, kind, value), code=1).err
        assert "patched.gguf" in err, err
        shape = re.search(r"tensor \S+: dimension \d is \d+", err)
        assert shape or (key.split(".", 1)[1] in err and f"{value:g}" in err), err


# ---- bench ----

@test
def bench_json():
    lines = sluice("bench", "-m", TINY, "--device", DEVICE, "-p", "16", "-n", "4", "-d", "0,8", "-b", "2", "-r", "2",
                   "--json", "--no-ceilings").json_lines()
    assert [line["test"] for line in lines] == ["pp16", "tg4", "pp16@d8", "tg4@d8", "bg2"], lines
    for line in lines:
        check_types(line, {"test": str, "tokens_per_s": float, "stdev": float, "runs": int, "mbu": float, "mfu": float,
                           "device": str}, line["test"])
        assert line["runs"] == 2 and line["tokens_per_s"] > 0 and line["stdev"] >= 0


@test
def bench_table():
    ended = sluice("bench", "-m", TINY, "--device", DEVICE, "-p", "8", "-n", "4", "-r", "1", "--no-ceilings")
    text = ended.out.decode()
    assert re.search(r"\| pp8 .*\d+\.\d+ ± \d+\.\d+", text) and re.search(r"\| tg4 ", text), text
    assert f'asked for as "{DEVICE}"' in ended.err, ended.err


@test
def bench_says_which_cache():
    ended = sluice("bench", "-m", TINY, "--device", DEVICE, "-p", "0", "-n", "4", "-r", "1", "--no-ceilings", "--kv-type", "q8_0")
    assert ", KV cache q8_0, " in ended.out.decode(), ended.out
    line, = sluice("bench", "-m", TINY, "--device", DEVICE, "-p", "0", "-n", "4", "-r", "1", "--no-ceilings", "--json",
                   "--kv-type", "q4_0").json_lines()
    assert line["kv"] == "q4_0"


@test
def bench_says_which_paths_ran():
    ended = sluice("bench", "-m", TINY, "--device", DEVICE, "-p", "8", "-n", "4", "-b", "2", "-r", "1", "--no-ceilings", "-v")
    assert re.search(r"^paths: weights resident, large products \S.*, KV cache f16, activations of decode steps \S+$", ended.out.decode(), re.M), ended.out
    passes = re.findall(r"^  a pass: (\d+) dispatches, (\d+) barriers; a layer: (\d+) and (\d+); \d+\.\d+ us", ended.err, re.M)
    assert len(passes) == 3, ended.err
    for dispatches, barriers, of_layer, barriers_of_layer in (map(int, one) for one in passes):
        assert 3 * of_layer <= dispatches <= 3 * of_layer + 8 and 0 < barriers_of_layer < of_layer and barriers < dispatches
    for part in ("device busy", "barrier", "completion", "submit", "wait", "result"):
        assert ended.err.count(part) >= 3, part
    families = re.findall(r"^  kernels, each alone, us: (.*)$", ended.err, re.M)
    assert len(families) == 3
    for line in families:
        shares = [float(share) for share in re.findall(r"\((\d+\.\d) %\)", line)]
        assert shares == sorted(shares, reverse=True) and 99 < sum(shares) < 101, line


@test
def bench_measures_ceilings():
    if DEVICE != "cpu":
        return "SKIP a software Vulkan device takes long for it"
    line, = sluice("bench", "-m", TINY, "--device", DEVICE, "-p", "0", "-n", "8", "-r", "1", "--json").json_lines()
    assert 0 < line["mbu"] < 1.5 and 0 < line["mfu"] < 1.5, line
    for key in ("read_bytes_per_s", "copy_bytes_per_s", "product_flops_per_s"):
        assert line["ceilings"][key] > 0, line
    text = sluice("bench", "-m", TINY, "--device", DEVICE, "-p", "0", "-n", "1", "-r", "1").out.decode()
    assert re.search(r"^measured: reads \d+\.\d GB/s, copies \d+\.\d GB/s \([a-z ]+\)", text, re.M), text
    return None


@test
def bench_runs_where_no_room_is_left_to_measure_in():
    tight = ["bench", "-m", TINY, "--device", DEVICE, "-p", "8", "-n", "0", "-r", "1", "--json", "--vram"]
    smallest = re.search(r"smallest that works is (\d+) MiB", sluice(*tight, "1K", code=1).err)
    ended = sluice(*tight, smallest.group(1) + "M")
    line, = ended.json_lines()
    assert line["tokens_per_s"] > 0 and line["mbu"] == line["mfu"] == 0 and "no MBU and MFU" in ended.err, ended.err


# ---- the real model ----

@test
def real_model():
    model = os.environ.get("SLUICE_MODEL_SMOLLM2")
    if not model:
        return "SKIP SLUICE_MODEL_SMOLLM2 is not set"
    result = run_json("-p", "The capital of France is", "-n", "6", "-c", "64", model=model)
    assert "Paris" in result["text"], result["text"]
    assert len(result["tokens"]) == 6 and result["timings"]["tokens_per_s"] > 0
    # Half the file's size: a context that nobody asked for gives way to weights, one asked for does not.
    half = os.path.getsize(model) // 2
    ended = run("--json", "-p", "The capital of France is", "-n", "6", "--vram", str(half), model=model)
    part = ended.json()
    assert part["tokens"] == result["tokens"], part["text"]
    assert part["memory"]["vram_peak_bytes"] <= half and part["io"]["read_bytes_per_token"] > 0
    assert "a context of 512 tokens instead of 4096" in ended.err, ended.err
    err = run("-p", "a", "-c", "4096", "--vram", str(half), model=model, code=1).err
    assert "the smallest that works is" in err, err
    return None



def start(folder):
    global TMP
    TMP = folder


if __name__ == "__main__":
    sys.exit(run_tests(start))
