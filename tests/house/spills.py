#!/usr/bin/env python3
"""Fails if a kernel spills registers to memory and is not on the list spills_allowed.txt.

  spills.py LOG...               output of nvcc -Xptxas=-v, saved
  spills.py --launch COMMAND...  runs a compiler (a CMake compiler launcher) and judges what it prints; says how many
                                 kernels it compiled, in which time, where that was long
"""
import fnmatch
import pathlib
import re
import subprocess
import sys
import time

ALLOWED = pathlib.Path(__file__).with_name("spills_allowed.txt")
PROPERTIES = re.compile(
    r"Compiling entry function '\S+' for '(?P<device>sm_\d+)|"
    r"Function properties for (?P<name>\S+)\s+\d+ bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads")
REGISTERS = re.compile(r"ptxas info +: Used (\d+) registers")
LONG = 20  # seconds
VERBOSE = re.compile(r"^ptxas info .*\n|^ +\d+ bytes stack frame, .*\n", re.M)


def spilling(log):
    """(device, mangled name) of each kernel that spills, with how much."""
    device, found = "", {}
    for match in PROPERTIES.finditer(log):
        device = match["device"] or device
        if match["name"] and (int(match["stores"]) or int(match["loads"])):
            found[device, match["name"]] = f"{match['stores']} bytes stored, {match['loads']} loaded"
    return found


def allowed_patterns():
    """(device, pattern of mangled names) of each line."""
    lines = (line.split("#")[0].split() for line in ALLOWED.read_text().splitlines())
    return [tuple(words) for words in lines if words]


def violations(log, allowed):
    return [f"{name} spills registers on {device}: {amount}. Use fewer registers, or list it in {ALLOWED.name} with "
            "the reason"
            for (device, name), amount in spilling(log).items()
            if not any(on == device and fnmatch.fnmatchcase(name, pattern) for on, pattern in allowed)]


def launch(command):
    start = time.monotonic()
    run = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    seconds = time.monotonic() - start
    sys.stderr.write(VERBOSE.sub("", run.stderr))
    registers = [int(n) for n in REGISTERS.findall(run.stderr)]
    if registers and seconds >= LONG:
        source = next((word for word in command if word.endswith(".cu")), command[-1])
        print(f"{pathlib.Path(source).name}: {len(registers)} kernels of at most {max(registers)} registers in "
              f"{seconds:.0f} s")
    return run.stderr, run.returncode


def main():
    if sys.argv[1:2] == ["--launch"]:
        log, status = launch(sys.argv[2:])
        if status:
            return status
    else:
        log = "".join(pathlib.Path(name).read_text() for name in sys.argv[1:])
    found = violations(log, allowed_patterns())
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
