#!/usr/bin/env python3
"""Runs the test programs: each folder of tests/ in the lanes that TABLE names for it.

A lane is a device and how to reach it: environment, build tree, command prefix. A lane whose device is absent from
this machine is skipped with the reason; a device that is there and broken fails. Test programs print TAP (cmocka
does when asked). A crash, a timeout, a missing plan, or no test at all is a failure. See tests/README.md.

The last line is "N passed, N failed, N skipped". Exit codes: 0 nothing failed, 1 something did, 2 usage.
"""
import argparse
import concurrent.futures
import glob
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
THIRD = os.path.join(ROOT, "third_party")

LAVAPIPES = ["lavapipe-4", "lavapipe-8", "lavapipe-16"]
NEW_LAVAPIPES = ["lavapipe-new-4", "lavapipe-new-8", "lavapipe-new-16"]
MODEL_LANES = ["cpu", "lavapipe-8", "lavapipe-new-8"]

# Chips that are not here, of which Mesa's drivers compile kernels all the same, over a shim of their kernel driver:
# lane -> (driver, shim, variables that choose the chip, what the device's name then contains).
CHIPS = {f"radv-{chip}": ("radeon", "amdgpu", {"AMDGPU_GPU_ID": chip}, chip.upper()) for chip in (
    "vega10", "vega20", "navi10", "navi21", "navi31", "navi33", "phoenix", "strix1", "gfx1201")}
CHIPS |= {f"turnip-{chip}": ("freedreno", "freedreno", {"FD_GPU_ID": chip}, chip) for chip in ("730", "830")}
CHIPS |= {f"nvk-{chip}": ("nouveau", "nouveau", {"NOUVEAU_CHIPSET": chip, "NVK_I_WANT_A_BROKEN_VULKAN_DRIVER": "1"}, "NVK")
          for chip in ("164", "172")}
# Every weight type on one chip of each family; on the others three that decode in different ways.
CHIPS_OF_ALL_TYPES = ["radv-vega20", "radv-navi21", "radv-navi31", "radv-gfx1201", "turnip-730", "nvk-172"]
FEW_TYPES = "f16 q4_k q6_k"

# folder below tests/ -> (lanes, seconds that one program may take, needs the real models). This is the order in which
# they start: what takes longest first, so that no core waits for the other at the end.
TABLE = {
    "golden": (MODEL_LANES[::-1], 1500, True),
    # Not lavapipe-new-16: with 16 lanes the compiler of Mesa 26.1 overruns its own stack on some kernels.
    "kernels": (["lavapipe-16", "lavapipe-new-8", "lavapipe-8", "lavapipe-4", "lavapipe-new-4", "cpu"], 1500, False),
    "fault": (["asan-cpu", *MODEL_LANES[::-1]], 900, True),
    "e2e": (["validation", *MODEL_LANES[::-1]], 900, True),
    "portability": (list(CHIPS), 1200, False),
    "conformance": (["cpu", "null", *LAVAPIPES, *NEW_LAVAPIPES, "swiftshader", "validation",
                     "asan-cpu", "asan-null", "asan-lavapipe-8"], 300, False),
    "unit": (["asan", "host"], 300, False),
    "fuzz": (["asan"], 600, False),
}

SHOWN_OUTPUT_LINES = 60
SHOWN_SLOW = 20


def newer_lib():
    """The library folder of the newer packages beside the system, and their program loader."""
    machine = platform.machine()
    lib = os.path.join(THIRD, "newer", "usr", "lib", machine + "-linux-gnu")
    return lib, os.path.join(lib, f"ld-linux-{machine.replace('_', '-')}.so.{2 if machine == 'x86_64' else 1}")


class Lane:
    """Where and how a program runs. `absent` is the reason for which it can't, or None."""

    def __init__(self, name, device, build="build"):
        self.name, self.device, self.build = name, device, build
        self.environment = {"SLUICE_TEST_LANE": name}
        self.prefix = []
        self.absent = None
        self.validation = False
        self.shader_cache = None
        if device:
            self.environment["SLUICE_TEST_DEVICE"] = device
        if build == "build-asan":
            self.environment.update({
                "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=1",
                "LSAN_OPTIONS": f"suppressions={ROOT}/tests/lsan.supp:print_suppressions=0",
                "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"})

    def driver(self, manifest, what):
        if manifest is None or not os.path.exists(manifest):
            self.absent = f"{what} is not installed (make deps-test)"
        else:
            self.environment.update({"VK_DRIVER_FILES": manifest, "VK_ICD_FILENAMES": manifest})
            if self.build == "build-asan":
                self.keep_loaded(manifest)

    def keep_loaded(self, manifest):
        """LeakSanitizer names leaks by module; preloaded, a driver is still there when it looks at the stacks.

        Not fast_unwind_on_malloc=0, which would make the stacks longer: a driver's JIT registers its frames under a
        lock of the unwinder and allocates there, and the slow unwinder takes that lock again.
        """
        with open(manifest, encoding="utf-8") as file:
            self.environment["LD_PRELOAD"] = json.load(file)["ICD"]["library_path"]
        self.environment["ASAN_OPTIONS"] += ":verify_asan_link_order=0"

    def vector_bits(self, bits):
        """lavapipe's subgroups, of 32-bit elements. The lanes of a width share what Mesa compiled in this run: not more,
        since the keys of its cache know the driver, but need not know the width."""
        self.environment["LP_NATIVE_VECTOR_WIDTH"] = str(bits)
        self.shader_cache = f"lavapipe-{bits}"

    def beside_the_system(self):
        lib, loader = newer_lib()
        self.driver(os.path.join(THIRD, "icd", "lvp_newer.json"), "the newer lavapipe")
        self.prefix = [loader, "--library-path", lib]

    def chip(self, driver, shim, variables, name):
        """A device that is not here: the newer Mesa's driver over a preloaded shim of its kernel driver."""
        lib, loader = newer_lib()
        library = os.path.join(lib, f"lib{shim}_noop_drm_shim.so")
        self.driver(os.path.join(THIRD, "icd", f"{driver}_newer.json"), f"the newer Mesa's {driver} driver")
        if not self.absent and not os.path.exists(library):
            self.absent = f"Mesa's shim for {shim} is not installed (make deps-test)"
        self.prefix = [loader, "--library-path", lib, "--preload", library]
        self.environment.update(variables)
        self.environment.update({"SLUICE_PORTABILITY_NAME": name, "MESA_SHADER_CACHE_DISABLE": "true"})
        if self.name not in CHIPS_OF_ALL_TYPES:
            self.environment["SLUICE_PORTABILITY_TYPES"] = FEW_TYPES

    def with_validation(self):
        layers = os.path.join(THIRD, "newer", "usr", "share", "vulkan", "explicit_layer.d")
        if not os.path.exists(os.path.join(layers, "VkLayer_khronos_validation.json")):
            self.absent = "the newer validation layers are not installed (make deps-test)"
        self.environment.update({"VK_LAYER_PATH": layers, "VK_INSTANCE_LAYERS": "VK_LAYER_KHRONOS_validation"})
        self.validation = True


def make_lanes():
    lanes = [Lane("host", None), Lane("cpu", "cpu"), Lane("null", "null"), Lane("asan", None, "build-asan"),
             Lane("asan-cpu", "cpu", "build-asan"), Lane("asan-null", "null", "build-asan")]
    system = next(iter(sorted(glob.glob("/usr/share/vulkan/icd.d/lvp_icd*.json"))), None)
    for width in (4, 8, 16):
        lane = Lane(f"lavapipe-{width}", "vulkan:0")
        lane.driver(system, "lavapipe")
        lane.vector_bits(width * 32)
        lanes.append(lane)
        lane = Lane(f"lavapipe-new-{width}", "vulkan:0")
        lane.beside_the_system()
        lane.vector_bits(width * 32)
        lanes.append(lane)
    lane = Lane("asan-lavapipe-8", "vulkan:0", "build-asan")
    lane.driver(system, "lavapipe")
    lane.vector_bits(256)
    lanes.append(lane)
    lane = Lane("swiftshader", "vulkan:0")
    lane.driver(os.path.join(THIRD, "icd", "swiftshader.json"), "SwiftShader")
    lanes.append(lane)
    lane = Lane("validation", "vulkan:0")
    lane.beside_the_system()
    lane.vector_bits(256)
    lane.with_validation()
    lanes.append(lane)
    for name, chip in CHIPS.items():
        lane = Lane(name, "vulkan:0")
        lane.chip(*chip)
        lanes.append(lane)
    return {lane.name: lane for lane in lanes}


class Test:
    """One program in one lane."""

    def __init__(self, source, lane, timeout_s, needs_models):
        self.source, self.lane, self.timeout_s, self.needs_models = source, lane, timeout_s, needs_models
        self.name = f"{lane.name}:{os.path.splitext(source)[0]}"
        self.folder = source.split(os.sep)[1]

    def command(self):
        program = os.path.join(ROOT, self.lane.build, os.path.splitext(self.source)[0])
        if self.source.endswith(".py"):
            return [sys.executable, os.path.join(ROOT, self.source)]
        command = [*self.lane.prefix, program]
        if os.path.basename(self.source).startswith("fuzz_"):
            command.append(os.path.join(ROOT, "tests/fuzz/corpus", os.path.basename(program)[len("fuzz_"):]))
        return command


class Result:
    """Counts of one program, and why it failed where that is not in its output."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.reasons, self.output, self.layer_active = [], "", False
        self.tests = []  # (processor seconds, name)
        self.seconds = self.processor_s = 0.0

    def fail(self, reason):
        self.failed += 1
        self.reasons.append(reason)


def find_tests(lanes):
    tests = []
    for folder, (lane_names, timeout_s, needs_models) in TABLE.items():
        sources = []
        for where, _, names in sorted(os.walk(os.path.join(ROOT, "tests", folder))):
            sources += [os.path.relpath(os.path.join(where, name), ROOT) for name in sorted(names)
                        if re.fullmatch(r"test_\w+\.(c|py)|fuzz_\w+\.c", name)]
        for name in lane_names:
            tests += [Test(source, lanes[name], timeout_s, needs_models) for source in sources]
    return tests


def parse_tap(text, result):
    """Adds what the TAP lines of text say to result; checks every plan against what was run."""
    planned = run = 0
    for line in text.splitlines():
        # A program may have printed before the TAP line without ending its own line: look at line starts only.
        plan = re.match(r"1\.\.(\d+)(?:\s*#\s*skip\w*\s*(.*))?", line, re.I)
        test = re.match(r"(not )?ok\b\s*\d*(.*)", line)
        if plan:
            planned += int(plan.group(1))
            if int(plan.group(1)) == 0 and plan.group(2) is not None:
                result.skipped += 1
                result.reasons.append(f"skipped: {plan.group(2)}")
        elif test:
            run += 1
            if re.search(r"#\s*skip", test.group(2), re.I):
                result.skipped += 1
            elif test.group(1):
                result.failed += 1
            else:
                result.passed += 1
    if run != planned:
        result.fail(f"{planned} tests were planned and {run} reported")
    if run == 0 and result.skipped == 0 and result.failed == 0:
        result.fail("no test ran")


def write_layer_settings(folder):
    """Settings of the validation layer: core and synchronization checks, messages into a file of this test's own."""
    log = os.path.join(folder, "validation.log")
    with open(os.path.join(folder, "vk_layer_settings.txt"), "w", encoding="utf-8") as file:
        file.write("khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG\n"
                   f"khronos_validation.log_filename = {log}\n"
                   "khronos_validation.report_flags = error,warn,info\n"
                   "khronos_validation.enable_message_limit = true\n"
                   "khronos_validation.validate_core = true\n"
                   "khronos_validation.validate_sync = true\n")
    return log


def processor_seconds(pid):
    """What a process took so far, and the children that it waited for."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # utime, stime, cutime, cstime


def read_output(process, result):
    """Everything that the process prints; of each test, the processor time that it took goes to result."""
    output, before = [], 0.0
    for line in process.stdout:
        output.append(line)
        test = re.match(rb"(?:not )?ok\b\s*\d*(?:\s*-)?\s*([^#]*)", line)
        if test:
            now = processor_seconds(process.pid)
            result.tests.append((now - before, test.group(1).decode(errors="replace").strip()))
            before = now
    return b"".join(output)


def run_program(test, environment, result):
    """Output and exit code (negative: the signal); processor times go to result."""
    process = subprocess.Popen(test.command(), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)

    def stop():
        result.fail(f"ran past {test.timeout_s} s")
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(test.timeout_s, stop)
    timer.start()
    with process.stdout:
        output = read_output(process, result)
    # Not process.wait(), which keeps to itself what the process took.
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    result.processor_s = usage.ru_utime + usage.ru_stime
    return output, process.returncode


def run_test(test, models, caches):
    result = Result()
    scratch = tempfile.mkdtemp(prefix="sluice-test-")
    lane = test.lane
    sluice = [*lane.prefix, os.path.join(ROOT, lane.build, "sluice")]
    environment = {**os.environ, **models, **lane.environment, "CMOCKA_MESSAGE_OUTPUT": "TAP",
                   "SLUICE_TEST_TMP": scratch, "SLUICE_BUILD": os.path.join(ROOT, lane.build),
                   "SLUICE_CMD": shlex.join(sluice), "PYTHONDONTWRITEBYTECODE": "1"}
    if not test.needs_models:
        environment["XDG_CACHE_HOME"] = os.path.join(scratch, "cache")
    if lane.shader_cache:
        environment["MESA_SHADER_CACHE_DIR"] = os.path.join(caches, lane.shader_cache)
    log = None
    if lane.validation:
        log = write_layer_settings(scratch)
        environment["VK_LAYER_SETTINGS_PATH"] = scratch
    started = time.monotonic()
    try:
        output, exit_code = run_program(test, environment, result)
        result.output = output.decode(errors="replace")
        parse_tap(result.output, result)
        if exit_code < 0:
            result.fail(f"ended by signal {-exit_code} ({signal.strsignal(-exit_code)})")
        elif exit_code != 0 and result.failed == 0:
            result.fail(f"exit code {exit_code} although no test failed (sanitizers say why above)")
        for written in sorted(glob.glob(log + "*")) if log else ():
            check_validation_log(written, result)
    except OSError as error:
        result.fail(f"could not be started: {error}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    result.seconds = time.monotonic() - started
    return result


def check_validation_log(path, result):
    """Any message of the layer is a failure, except for the notice that it is there and what it checks."""
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    result.layer_active |= "Validation Layer Active" in text and "SYNCHRONIZATION_VALIDATION" in text
    findings = re.findall(r"^Validation (?!Information)", text, re.M)
    if findings:
        result.fail(f"{len(findings)} validation messages")
        result.output += "\n" + text


def fetch_models():
    """Environment that names the real models; they are fetched where they are not in the cache yet."""
    models = {}
    for variable, arguments in (("SLUICE_MODEL_SMOLLM2", []), ("SLUICE_MODEL_GEMMA3", ["--gemma"])):
        if variable not in os.environ:
            run = subprocess.run([sys.executable, os.path.join(ROOT, "scripts/fetch_model.py"), *arguments],
                                 stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
            if run.returncode != 0:
                return None
            models[variable] = run.stdout.strip()
    return models


def summary(result):
    parts = [f"{count} {what}" for count, what in
             ((result.passed, "passed"), (result.failed, "failed"), (result.skipped, "skipped")) if count]
    return ", ".join(parts)


def split_runnable(tests):
    """The tests whose lanes are there; says which are not, and how many programs that leaves out."""
    for lane in dict.fromkeys(test.lane for test in tests if test.lane.absent):
        print(f"skip  {lane.name}: {lane.absent}: {sum(test.lane is lane for test in tests)} programs")
    runnable = [test for test in tests if not test.lane.absent]
    return runnable, len(tests) - len(runnable)


def print_result(test, result, verbose):
    print(f"{'FAIL' if result.failed else 'ok  '}  {test.name}: {summary(result)} "
          f"({result.seconds:.1f} s, processor {result.processor_s:.1f} s)")
    if result.failed or verbose:
        lines = result.output.splitlines()
        if len(lines) > SHOWN_OUTPUT_LINES and not verbose:
            print(f"    ... {len(lines) - SHOWN_OUTPUT_LINES} lines before")
            lines = lines[-SHOWN_OUTPUT_LINES:]
        print("\n".join("    " + line for line in lines))
    for reason in result.reasons:
        print(f"    {reason}")
    sys.stdout.flush()


def print_times(done):
    """Where the processor's time went: all lanes by folder, then the slowest tests."""
    lanes, tests = {}, []
    for test, result in done:
        lane = f"{test.lane.name}:{test.folder}"
        programs, seconds = lanes.get(lane, (0, 0.0))
        lanes[lane] = programs + 1, seconds + result.processor_s
        tests += [(seconds, f"{test.name}: {name}") for seconds, name in result.tests]
    print(f"\nprocessor s  programs  lane ({sum(seconds for _, seconds in lanes.values()):.0f} s in all)")
    for lane, (programs, seconds) in sorted(lanes.items(), key=lambda item: -item[1][1]):
        print(f"{seconds:11.1f}  {programs:8}  {lane}")
    print("\nprocessor s  slowest tests")
    for seconds, name in sorted(tests, reverse=True)[:SHOWN_SLOW]:
        print(f"{seconds:11.1f}  {name}")
    print()


def run_all(tests, jobs, verbose):
    passed = failed = 0
    runnable, skipped = split_runnable(tests)
    models = {}
    if any(test.needs_models for test in runnable):
        models = fetch_models()
        if models is None:
            needing = [test for test in runnable if test.needs_models]
            failed += len(needing)
            print(f"FAIL  {len(needing)} programs need a model that could not be fetched")
            runnable = [test for test in runnable if not test.needs_models]
            models = {}
    lock = threading.Lock()

    def run_one(test, caches):
        result = run_test(test, models, caches)
        with lock:
            print_result(test, result, verbose)
        return result

    with tempfile.TemporaryDirectory(prefix="sluice-shaders-") as caches, \
            concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(lambda test: run_one(test, caches), runnable))
    done = list(zip(runnable, results))
    for result in results:
        passed, failed, skipped = passed + result.passed, failed + result.failed, skipped + result.skipped
    validated = [result.layer_active for test, result in done if test.lane.validation]
    if validated and not any(validated):
        failed += 1
        print("FAIL  validation: the layer was loaded by no program, so nothing was validated")
    print_times(done)
    return passed, failed, skipped


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lane", action="append", default=[], help="only this lane (may be repeated; a prefix will do)")
    parser.add_argument("--filter", action="append", default=[], help="only tests whose path contains this text")
    parser.add_argument("--list", action="store_true", help="list what would run, and where")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 2, help="programs at once")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the output of every program")
    args = parser.parse_args()
    lanes = make_lanes()
    for prefix in args.lane:
        if not any(name.startswith(prefix) for name in lanes):
            parser.error(f"no lane starts with '{prefix}': {', '.join(lanes)}")
    tests = [test for test in find_tests(lanes)
             if (not args.lane or any(test.lane.name.startswith(prefix) for prefix in args.lane))
             and (not args.filter or any(text in test.source for text in args.filter))]
    if args.list:
        for test in tests:
            print(test.name + (f" (absent: {test.lane.absent})" if test.lane.absent else ""))
        return 0
    passed, failed, skipped = run_all(tests, max(args.jobs, 1), args.verbose)
    if not tests:
        print("no test matches")
        failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
