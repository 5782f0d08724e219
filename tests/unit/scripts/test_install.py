#!/usr/bin/env python3
"""`make install`, and a program that is built and run against nothing but what it installed. Prints TAP.

SLUICE_BUILD and SLUICE_TEST_TMP come from tests/run.py; without them build/ is installed into a folder in /tmp."""
import os
import re
import shlex
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from tap import run, test
BUILD = os.environ.get("SLUICE_BUILD", os.path.join(ROOT, "build"))
SANITIZERS = ["-fsanitize=address,undefined"] if BUILD.endswith("-asan") else []
MODEL = os.path.join(ROOT, "tests", "golden", "data", "tiny-qwen3.gguf")
VERSION = re.search(r'SLUICE_VERSION "(.*)"', open(os.path.join(ROOT, "runtime/include/sluice.h"),
                                                   encoding="utf-8").read()).group(1)


def output_of(command, **environment):
    process = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env={**os.environ, **environment}, timeout=200, check=False)
    assert process.returncode == 0, f"{shlex.join(command)}: exit code {process.returncode}\n{process.stderr.decode()}"
    return process.stdout.decode()


def pkg_config(*arguments):
    """What pkg-config says, as words."""
    return shlex.split(output_of(["pkg-config", *arguments, "sluice"],
                                 PKG_CONFIG_PATH=os.path.join(PREFIX, "lib", "pkgconfig")))


def build(source, out, *words):
    output_of([os.environ.get("CC", "cc"), "-std=c11", "-Wall", "-Wextra", "-Werror", *SANITIZERS, source, *words, "-o",
               out])


@test
def installs_what_it_should():
    output_of([os.path.join(ROOT, "scripts", "install.sh")], BUILD=BUILD, VERSION=VERSION, PREFIX=PREFIX, DESTDIR="")
    found = sorted(os.path.relpath(os.path.join(where, name), PREFIX) for where, _, names in os.walk(PREFIX)
                   for name in names)
    assert found == ["bin/sluice", "include/sluice.h", "lib/libsluice.a", "lib/libsluice.so", "lib/libsluice.so.0",
                     f"lib/libsluice.so.{VERSION}", "lib/pkgconfig/sluice.pc"], found
    assert output_of([os.path.join(PREFIX, "bin", "sluice"), "--version"]) == f"sluice {VERSION}\n"
    assert pkg_config("--modversion") == [VERSION]


@test
def destdir_comes_before_the_prefix():
    stage = os.path.join(TMP, "stage")
    output_of([os.path.join(ROOT, "scripts", "install.sh")], BUILD=BUILD, VERSION=VERSION, PREFIX="/usr", DESTDIR=stage)
    with open(os.path.join(stage, "usr/lib/pkgconfig/sluice.pc"), encoding="utf-8") as file:
        assert "prefix=/usr\n" in file.read()


@test
def example_runs_with_either_library():
    source = os.path.join(ROOT, "tools", "examples", "complete.c")
    program = os.path.join(TMP, "complete")
    build(source, program, *pkg_config("--cflags", "--libs"))
    text = output_of([program, MODEL, "the quick brown fox"], LD_LIBRARY_PATH=os.path.join(PREFIX, "lib"))
    assert len(text) > 8, text
    static = [os.path.join(PREFIX, "lib", "libsluice.a") if word == "-lsluice" else word
              for word in pkg_config("--cflags", "--libs", "--static")]
    build(source, program, *static)
    assert output_of([program, MODEL, "the quick brown fox"]) == text


@test
def shared_library_exports_the_public_header():
    with open(os.path.join(PREFIX, "include", "sluice.h"), encoding="utf-8") as file:
        declared = set(re.findall(r"^[a-z_].*?\b(sl_[a-z_]+)\(", file.read(), re.M))
    lines = output_of(["nm", "-D", "--defined-only", os.path.join(PREFIX, "lib", "libsluice.so")]).splitlines()
    exported = {line.split()[-1] for line in lines}
    assert len(declared) > 20 and exported == declared, exported ^ declared



def start(folder):
    global TMP, PREFIX
    TMP = folder
    PREFIX = os.path.join(folder, "prefix")


if __name__ == "__main__":
    sys.exit(run(start))
