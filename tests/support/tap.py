"""Tests in Python that print TAP, as tests/run.py reads it: functions marked with @test, run in the order of the file.

A test passes when it returns; what it returns, if anything, is printed as a remark ("SKIP why" skips it)."""
import os
import shutil
import sys
import tempfile
import traceback

tests = []


def test(function):
    tests.append(function)
    return function


def run(start=lambda folder: None, before_each=lambda number: None):
    """Runs all tests and gives the exit code. start(folder) is told the folder for temporary files: the runner's, else
    one that goes away afterwards."""
    given = os.environ.get("SLUICE_TEST_TMP")
    folder = given or tempfile.mkdtemp(prefix="sluice-test-")
    try:
        start(folder)
        return run_in_order(before_each)
    finally:
        if not given:
            shutil.rmtree(folder, ignore_errors=True)


def run_in_order(before_each):
    print(f"1..{len(tests)}")
    failed = 0
    for number, function in enumerate(tests, 1):
        before_each(number)
        try:
            remark = function()
            print(f"ok {number} - {function.__name__}" + (f" # {remark}" if remark else ""))
        except Exception as error:  # whatever it is, the other tests still run
            failed += 1
            print(f"not ok {number} - {function.__name__}")
            for line in [*traceback.format_exc().splitlines()[-6:], *str(error).splitlines()]:
                print(f"# {line}")
        sys.stdout.flush()
    return 1 if failed else 0
