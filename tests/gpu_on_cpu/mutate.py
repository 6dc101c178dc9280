#!/usr/bin/env python3
"""Whether some test needs each barrier, fence and wait of the kernels.

  mutate.py --tests LIST [SITE...]   turns one site at a time into nothing, reruns the tests that reach it
                                     (programs of the race build, one path per line in LIST) and writes
                                     the table mutations.txt; with SITEs, parts of their names, only those
  mutate.py --check                  the table has every site of the code, and no survivor

A site is named by file, function, kind and its place among the sites of that kind in that function, so that
the table outlives changes of line numbers.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TABLE = HERE / "mutations.txt"
KINDS = ("sync_threads", "sync_warp", "grid_sync", "cluster_sync", "fence", "cp_async_wait", "wait_for_previous",
         "store_release", "load_acquire", "red_release_add")
ORDERS = ("ascend", "randwarp")
# A device function, up to its name.
HEADER = re.compile(r"\bGPU_(?:KERNEL_BOUNDS\s*\((?:[^()]|\([^()]*\))*\)|KERNEL\b|DEVICE\b|HD\b)[^;{}()]*?(\w+)\s*\(")
TIMEOUT = 300  # seconds for one program; one that takes longer hangs, which is noticed as well
TABLE_HEADER = """\
# Every synchronisation site of the kernels and the test that fails without it.
# Written by ./dev mutate: file function kind ordinal verdict test
"""

sys.path.insert(0, str(ROOT / "tests/house"))
from lint import without_comments  # noqa: E402


def sites(root=ROOT):
    """(file, function, kind, ordinal) -> line, for every site in the kernels."""
    found = {}
    for path in sorted((root / "kernels").rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.suffix not in (".cu", ".cuh", ".h") or name.startswith("kernels/base/gpu_"):
            continue
        code = without_comments(path.read_text())
        functions = [(match.start(), match.group(1)) for match in HEADER.finditer(code)]
        # In the door itself the namespace goes without saying.
        prefix = r"(?<![\w.:])(?:gpu::)?" if name == "kernels/base/gpu.h" else r"\bgpu::"
        for match in re.finditer(prefix + rf"({'|'.join(KINDS)})\s*(?:<[^<>]*>)?\s*\(", code):
            function = max((f for f in functions if f[0] < match.start()), default=(0, "-"))[1]
            key = (name, function, match.group(1))
            ordinal = 1 + sum(other[:3] == key for other in found)
            found[key + (ordinal,)] = 1 + code.count("\n", 0, match.start())
    return found


def read_table():
    table = {}
    for line in TABLE.read_text().splitlines() if TABLE.exists() else []:
        if line.strip() and not line.startswith("#"):
            file, function, kind, ordinal, verdict, *test = line.split()
            table[(file, function, kind, int(ordinal))] = (verdict, " ".join(test))
    return table


def write_table(table):
    rows = [" ".join(map(str, site + verdict)).rstrip() for site, verdict in sorted(table.items())]
    TABLE.write_text(TABLE_HEADER + "\n".join(rows) + "\n")


def run(program, order, **environment):
    """The first failed test, or None if all passed."""
    try:
        done = subprocess.run([program, "--gtest_fail_fast", "--gtest_brief=1"], timeout=TIMEOUT,
                              env={**os.environ, "UNROLL_GPU_ORDER": order, **environment},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    except subprocess.TimeoutExpired:
        return f"{pathlib.Path(program).name} (hangs)"
    if done.returncode == 0:
        return None
    failed = re.search(r"\[  FAILED  \] ([\w/]+\.[\w/]+)", done.stdout)
    return failed.group(1) if failed else f"{pathlib.Path(program).name} (exit status {done.returncode})"


def reached_by(programs):
    """file:line of each site, as the engine spells it -> programs that reach it."""
    reached = {}
    with tempfile.TemporaryDirectory() as folder:
        for program in programs:
            log = pathlib.Path(folder) / "sites"
            log.unlink(missing_ok=True)
            failed = run(program, ORDERS[0], UNROLL_GPU_SITES=str(log))
            if failed:
                sys.exit(f"mutate.py: {failed} fails as it is; mutations say nothing before it passes")
            for line in log.read_text().splitlines() if log.exists() else []:
                reached.setdefault(line.split()[-1], set()).add(program)
    return reached


def mutate(programs, wanted):
    table = {site: verdict for site, verdict in read_table().items() if site in sites()}
    reached = reached_by(programs)
    for site, line in sites().items():
        if wanted and not any(part in " ".join(map(str, site)) for part in wanted):
            continue
        spelled = [place for place in reached if place == f"{site[0]}:{line}" or
                   place.endswith(f"/{site[0]}:{line}")]
        tests = sorted({program for place in spelled for program in reached[place]})
        verdict = ("unreached", "") if not tests else ("survived", "")
        for program, order in ((p, o) for p in tests for o in ORDERS):
            killer = run(program, order, UNROLL_GPU_MUTATE=spelled[0])
            if killer:
                verdict = ("killed", killer)
                break
        table[site] = verdict
        print(*site, *verdict, flush=True)
        write_table(table)
    return 0 if all(verdict == "killed" for verdict, _ in table.values()) else 1


def complaints(table, code):
    """What is wrong with `table`, given the sites of the code and their lines."""
    found = []
    for site, line in code.items():
        verdict = table.get(site, ("missing", ""))[0]
        if verdict != "killed":
            what = {"missing": "is not in mutations.txt; run ./dev mutate",
                    "survived": "can go and every test passes; remove it, or add the test that needs it",
                    "unreached": "is reached by no test"}[verdict]
            found.append(f"{site[0]}:{line}: {site[2]} {site[3]} in {site[1]} {what}")
    return found + [f"{TABLE.name}: {' '.join(map(str, site))} is not in the code any more; run ./dev mutate"
                    for site in table if site not in code]


def check():
    found = complaints(read_table(), sites())
    for line in found:
        print(line)
    return 1 if found else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", type=pathlib.Path, help="file with the programs of the race build")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("site", nargs="*")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    if not arguments.tests:
        parser.error("--tests or --check is needed")
    return mutate(arguments.tests.read_text().split(), arguments.site)


if __name__ == "__main__":
    sys.exit(main())
