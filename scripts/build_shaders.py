#!/usr/bin/env python3
"""Compiles the GLSL kernels to SPIR-V and writes the table that carries them into the library.

The rows come from shaders/list.h, run through the C preprocessor. Each row is
    SL_SHADER <name> <source, relative to shaders/> <feature> "<defines>" <key> <tile_x> <tile_y>
with a feature of FEATURES below; the last three become -DSL_KEY, -DSL_TILE_X, -DSL_TILE_Y. A module is compiled
again when its source, one of the files that it includes, its command line or the compiler has changed. Rows whose
feature the compiler lacks are left out, and said so.

Writes OUT/shaders/NAME.spv, OUT/gen/spirv_table.S and OUT/gen/spirv_table.c (see shaders/spirv.h); with --header
FILE not the table but a C header with an array sl_test_spirv_NAME a module, for the kernels that tests bring along.
"""
import argparse
import concurrent.futures
import hashlib
import os
import re
import shlex
import struct
import subprocess
import sys
import tempfile

# feature -> (target environment, a shader that only a compiler with that feature accepts)
FEATURES = {
    "base": ("vulkan1.2", """#version 460
layout(local_size_x = 1) in;
void main() {}
"""),
    "intdot": ("vulkan1.3", """#version 460
#extension GL_EXT_integer_dot_product : require
layout(local_size_x = 1) in;
layout(binding = 0) buffer B { int v[]; };
void main() { v[0] = dotPacked4x8AccSatEXT(v[1], v[2], v[3]); }
"""),
    "coopmat": ("vulkan1.3", """#version 460
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
layout(local_size_x = 32) in;
layout(binding = 0) buffer B { float v[]; };
void main() {
    coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> m;
    coopMatLoad(m, v, 0, 16, gl_CooperativeMatrixLayoutRowMajor);
    coopMatStore(m, v, 256, 16, gl_CooperativeMatrixLayoutRowMajor);
}
"""),
    "coopmat2": ("vulkan1.3", """#version 460
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
layout(local_size_x = 32) in;
layout(binding = 0) buffer B { float v[]; };
float add(const in uint row, const in uint col, const in float e) { return e + 1.0; }
void main() {
    coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> m;
    coopMatLoad(m, v, 0, 16, gl_CooperativeMatrixLayoutRowMajor);
    coopMatPerElementNV(m, m, add);
    coopMatStore(m, v, 256, 16, gl_CooperativeMatrixLayoutRowMajor);
}
"""),
}

INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.M)
STRING = re.compile(r'"([^"]*)"')


class Row:
    """One SPIR-V module to build."""

    def __init__(self, name, source, feature, defines):
        self.name, self.source, self.feature, self.defines = name, source, feature, defines


def fail(message):
    sys.exit(f"build_shaders: error: {message}")


def read_rows(cc, shader_dir, list_path):
    """The rows of list.h after preprocessing; an absent list.h is an empty one."""
    if not os.path.exists(list_path):
        return []
    run = subprocess.run(shlex.split(cc) + ["-E", "-P", "-I.", "-x", "c", list_path], stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        fail(f"{list_path} does not preprocess")
    rows, seen = [], set()
    for chunk in re.split(r"\bSL_SHADER\b", run.stdout)[1:]:
        match = re.fullmatch(r'\s*(\S+)\s+"?([^\s"]+)"?\s+"?(\w+)"?\s*((?:"[^"]*"\s*)+)(\S+)\s+(\S+)\s+(\S+)\s*',
                             chunk)
        if not match:
            fail(f"{list_path}: a row is not name, source, feature, defines, key, tile_x, tile_y: {chunk.strip()!r}")
        name, source, feature, strings, key, tile_x, tile_y = match.groups()
        defines = shlex.split("".join(STRING.findall(strings)))
        defines += [f"-DSL_KEY={key}", f"-DSL_TILE_X={tile_x}", f"-DSL_TILE_Y={tile_y}"]
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            fail(f"{list_path}: row {name!r}: a name is letters, digits, '_', '.', '-'")
        if feature not in FEATURES:
            fail(f"{list_path}: row {name}: feature {feature!r} is none of {', '.join(FEATURES)}")
        if name in seen:
            fail(f"{list_path}: row {name} appears twice")
        if not os.path.exists(os.path.join(shader_dir, source)):
            fail(f"{list_path}: row {name}: there is no {shader_dir}/{source}")
        seen.add(name)
        rows.append(Row(name, source, feature, defines))
    return sorted(rows, key=lambda row: row.name.encode())


class Dependencies:
    """Newest modification time over a source and all that it includes."""

    def __init__(self, shader_dir):
        self.shader_dir = shader_dir
        self.includes = {}

    def direct(self, path):
        if path not in self.includes:
            with open(path, encoding="utf-8") as file:
                names = INCLUDE.findall(file.read())
            candidates = [(os.path.join(os.path.dirname(path), name), os.path.join(self.shader_dir, name))
                          for name in names]
            self.includes[path] = [next(filter(os.path.exists, pair)) for pair in candidates
                                   if any(map(os.path.exists, pair))]
        return self.includes[path]

    def newest(self, path):
        seen, todo, newest = set(), [path], 0
        while todo:
            path = os.path.normpath(todo.pop())
            if path not in seen:
                seen.add(path)
                newest = max(newest, os.stat(path).st_mtime_ns)
                todo += self.direct(path)
        return newest


def write_if_changed(path, text):
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    except FileNotFoundError:
        pass
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def compile_module(command, out):
    """Runs the compiler; returns its output when it failed, else None."""
    temporary = out + ".tmp"
    run = subprocess.run(command + ["-o", temporary], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode != 0:
        if os.path.exists(temporary):
            os.unlink(temporary)
        return run.stdout
    os.replace(temporary, out)
    with open(out + ".cmd", "w", encoding="utf-8") as file:
        file.write(shlex.join(command))
    return None


def supported_features(glslang):
    """Which of FEATURES this compiler accepts: one tiny compilation each."""
    found = set()
    with tempfile.TemporaryDirectory() as folder:
        for feature, (target, text) in FEATURES.items():
            source = os.path.join(folder, feature + ".comp")
            with open(source, "w", encoding="utf-8") as file:
                file.write(text)
            run = subprocess.run([glslang, "--target-env", target, "-o", source + ".spv", source],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if run.returncode == 0:
                found.add(feature)
            elif feature == "base":
                fail(f"{glslang} does not compile a trivial shader:\n{run.stdout}")
    return found


def up_to_date(out, command, newest_ns):
    try:
        with open(out + ".cmd", encoding="utf-8") as file:
            return file.read() == shlex.join(command) and os.stat(out).st_mtime_ns > newest_ns
    except FileNotFoundError:
        return False


def build(rows, args, spv_dir):
    """Compiles what is out of date; ends the program when a module does not compile."""
    dependencies = Dependencies(args.shader_dir)
    compiler_ns = os.stat(args.glslang).st_mtime_ns
    jobs = {}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for row in rows:
            source = os.path.join(args.shader_dir, row.source)
            out = os.path.join(spv_dir, row.name + ".spv")
            command = [args.glslang, "--quiet", "-g0", "--target-env", FEATURES[row.feature][0],
                       "-I" + args.shader_dir, *row.defines, source]
            if not up_to_date(out, command, max(compiler_ns, dependencies.newest(source))):
                jobs[pool.submit(compile_module, command, out)] = row
        errors = 0
        for job in concurrent.futures.as_completed(jobs):
            if job.result() is not None:
                errors += 1
                print(f"build_shaders: error: {jobs[job].name} ({jobs[job].source}):\n{job.result()}", file=sys.stderr)
    if errors:
        fail(f"{errors} of {len(rows)} modules did not compile")
    return len(jobs)


def write_table(rows, spv_dir, gen_dir):
    """The modules as data (assembler) and their table (C)."""
    assembly = ["/* Generated by scripts/build_shaders.py. */", ".section .rodata"]
    table = ["/* Generated by scripts/build_shaders.py. */", '#include "shaders/spirv.h"', ""]
    entries = []
    for index, row in enumerate(rows):
        path = os.path.join(spv_dir, row.name + ".spv")
        with open(path, "rb") as file:
            data = file.read()
        if len(data) % 4 or data[:4] != b"\x03\x02\x23\x07":
            fail(f"{path} is no SPIR-V module")
        # The digest makes this file change whenever a module does, so that make assembles it again.
        assembly += [f"/* {row.name} {hashlib.sha256(data).hexdigest()} */", ".balign 4",
                     f".global sl_spirv_words_{index}", f".hidden sl_spirv_words_{index}",
                     f"sl_spirv_words_{index}:", f'.incbin "{path}"']
        table.append(f"extern const uint32_t sl_spirv_words_{index}[];")
        entries.append(f'    {{"{row.name}", sl_spirv_words_{index}, {len(data) // 4}}},')
    assembly += ['.section .note.GNU-stack,"",%progbits']
    table += ["", "const sl_spirv sl_spirv_table[] = {", *(entries or ["    {0},"]), "};",
              f"const size_t sl_spirv_count = {len(rows)};"]
    write_if_changed(os.path.join(gen_dir, "spirv_table.S"), "\n".join(assembly) + "\n")
    write_if_changed(os.path.join(gen_dir, "spirv_table.c"), "\n".join(table) + "\n")


def write_header(rows, spv_dir, path):
    """The modules as C arrays."""
    lines = ["/* Generated by scripts/build_shaders.py. */", "#include <stdint.h>"]
    for row in rows:
        with open(os.path.join(spv_dir, row.name + ".spv"), "rb") as file:
            data = file.read()
        words = [f"0x{word:08x}u" for (word,) in struct.iter_unpack("<I", data)]
        lines += ["", f"static const uint32_t sl_test_spirv_{row.name}[] = {{"]
        lines += ["    " + ", ".join(words[i:i + 8]) + "," for i in range(0, len(words), 8)] + ["};"]
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    write_if_changed(path, "\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cc", default="cc", help="C compiler whose preprocessor reads list.h")
    parser.add_argument("--glslang", required=True, help="path of glslang or glslangValidator")
    parser.add_argument("--shader-dir", default="shaders")
    parser.add_argument("--out", default="build")
    parser.add_argument("--list", default="list.h", help="file of the rows, in the shader folder")
    parser.add_argument("--header", help="write the modules into this C header instead of a table")
    args = parser.parse_args()

    spv_dir, gen_dir = os.path.join(args.out, "shaders"), os.path.join(args.out, "gen")
    os.makedirs(spv_dir, exist_ok=True)
    os.makedirs(gen_dir, exist_ok=True)

    rows = read_rows(args.cc, args.shader_dir, os.path.join(args.shader_dir, args.list))
    features = supported_features(args.glslang)
    left_out = [row for row in rows if row.feature not in features]
    rows = [row for row in rows if row.feature in features]
    compiled = build(rows, args, spv_dir)
    names = {row.name + suffix for row in rows for suffix in (".spv", ".spv.cmd")}
    for stale in set(os.listdir(spv_dir)) - names:
        os.unlink(os.path.join(spv_dir, stale))
    if args.header:
        write_header(rows, spv_dir, args.header)
    else:
        write_table(rows, spv_dir, gen_dir)

    line = f"{args.shader_dir}: {len(rows)} modules, {compiled} compiled"
    if left_out:
        lacking = sorted({row.feature for row in left_out})
        line += (f"; {len(left_out)} left out, as {os.path.basename(args.glslang)} lacks {', '.join(lacking)}: "
                 + ", ".join(row.name for row in left_out))
    print(line)


if __name__ == "__main__":
    main()
