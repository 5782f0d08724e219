#!/usr/bin/env python3
"""Checks the rules of the source tree that no compiler knows.

- who may include whom (RULES and SYSTEM_HEADERS below)
- .c and .h files have names of their own across the tree (README.md and the like excepted)
- no absolute path of a developer's machine, no note of unfinished work
- every folder with sources has a README.md, itself or a folder above it below the root
- no file above 1000 lines
Prints one line a finding; exit code 1 when there is one.
"""
import os
import re
import subprocess
import sys

# module -> folders whose headers it may include; the longest matching module counts
RULES = {
    "hal/base": ["hal/base"],
    "hal": ["hal"],
    "io": ["io", "hal/base"],
    "shaders": ["shaders", "hal/hal.h", "hal/base"],
    "runtime": ["runtime", "shaders", "io", "hal"],
    "tools": ["tools", "sluice.h"],
    "tests": ["tests", "runtime", "shaders", "io", "hal", "tools", "sluice.h"],
}
# The public header stands alone, but for the file that `make install` puts into it.
PUBLIC_HEADER = "runtime/include/sluice.h"
PUBLIC_MAY_INCLUDE = ["hal/base/status.h"]
# system header -> folders that may include it
SYSTEM_HEADERS = {
    r"vulkan/.*": ["hal/vulkan", "tests/unit/hal/vulkan"],
    r"liburing.*": ["io"],
    r"jansson\.h": ["tools", "runtime", "tests"],
    r"pcre2\.h": ["runtime", "tests"],
    r"cmocka\.h": ["tests"],
}
# Drivers know their own folder and the common part of hal/, never each other; fault/ wraps any of them through it.
DRIVERS = ["hal/vulkan", "hal/cpu", "hal/null", "hal/fault"]

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.M)
MACHINE_PATH = re.compile(r"/(?:home|root|work|Users)/[A-Za-z0-9_.]")
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")
MAX_LINES = 1000
TEXT_SUFFIXES = (".c", ".h", ".S", ".comp", ".glsl", ".py", ".sh", ".md", ".txt", ".yml", ".supp", "Makefile", "run")


def tracked_files():
    listing = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                             stdout=subprocess.PIPE, text=True, check=True)
    return [path for path in listing.stdout.splitlines() if os.path.isfile(path)]


def below(path, folders):
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def resolve(include, path):
    """The tree's file that an #include "..." means, or the text itself where it means none of the tree."""
    for candidate in (include, os.path.join(os.path.dirname(path), include), os.path.join("runtime/include", include),
                      os.path.join("shaders", include)):
        candidate = os.path.normpath(candidate)
        if os.path.exists(candidate):
            return candidate
    return include


def check_quoted(path, module, include):
    target = resolve(include, path)
    if include.startswith("build/gen/"):  # made by the build, there or not
        return None if module == "tests" else f"{module}/ may not include {include}"
    if not os.path.exists(target):
        return f"includes \"{include}\", which is not in the tree"
    if path == PUBLIC_HEADER:
        return None if target in PUBLIC_MAY_INCLUDE else f"the public header may not include {target}"
    if module == "tools" and target == PUBLIC_HEADER:
        return None
    if not below(target, RULES[module]):
        return f"{module}/ may not include {target}"
    driver = next((d for d in DRIVERS if below(path, [d])), None)
    other = next((d for d in DRIVERS if below(target, [d])), None)
    if other and path.startswith("hal/") and other != driver and os.path.dirname(path) != "hal":
        return f"one driver may not include another's {target}"
    return None


def check_includes(path, text):
    module = max((m for m in RULES if below(path, [m])), key=len, default=None)
    if module is None:
        return ["C source outside " + ", ".join(RULES)]
    found = []
    for quoted, system in INCLUDE.findall(text):
        if quoted:
            found.append(check_quoted(path, module, quoted))
        for pattern, folders in SYSTEM_HEADERS.items():
            if system and re.fullmatch(pattern, system) and not below(path, folders):
                found.append(f"<{system}> may be included only below {', '.join(folders)}")
    return [message for message in found if message]


def check_text(path, text):
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if MACHINE_PATH.search(line):
            found.append(f"line {number}: absolute path of a machine")
        if UNFINISHED.search(line):
            found.append(f"line {number}: note of unfinished work")
    return found


def has_readme(folder):
    while folder:
        if os.path.exists(os.path.join(folder, "README.md")):
            return True
        folder = os.path.dirname(folder)
    return False


def main():
    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    findings, basenames = [], {}
    files = tracked_files()
    for path in files:
        if not path.endswith(TEXT_SUFFIXES):
            continue
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        messages = [] if path == "scripts/check_includes.py" else check_text(path, text)
        if path.endswith((".c", ".h")):
            messages += check_includes(path, text)
            basenames.setdefault(os.path.basename(path), []).append(path)
        if path.endswith((".c", ".h", ".comp", ".glsl", ".py")) and text.count("\n") > MAX_LINES:
            messages.append(f"{text.count(chr(10))} lines, at most {MAX_LINES}")
        findings += [f"{path}: {message}" for message in messages]
    findings += [f"{' and '.join(paths)}: the same name" for paths in basenames.values() if len(paths) > 1]
    folders = {os.path.dirname(path) for path in files if path.endswith((".c", ".h", ".comp", ".py", ".sh"))}
    findings += [f"{folder}/: no README.md here or above" for folder in sorted(folders) if not has_readme(folder)]
    for finding in findings:
        print(finding)
    print(f"check_includes: {len(files)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
