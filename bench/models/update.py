#!/usr/bin/env python3
"""Clip and update of whole models: unroll beside PyTorch, in turn.

  ./dev bench update [--device cuda] [--precision bf16] [--python PYTHON] [--rounds 3] [--quick]

Ours are the benchmarks update/* of unroll_bench; the peer is bench/peers/torch_update.py: clip_grad_norm_ and
the fastest optimiser that PyTorch has, with the interpreter --python, else $PYTHON, else python3 of the PATH.
Printed: the time, the bytes that have to move at least, the same per second, their share of the copy bandwidth
measured in the same run, and the ratio of PyTorch's time to ours, all medians over the rounds. Without PyTorch only
unroll is measured. --quick: every step of this at small sizes.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

PEER = pathlib.Path(__file__).resolve().parents[1] / "peers" / "torch_update.py"
RULES = ["sgd", "momentum", "asgd", "adagrad", "rmsprop", "adam", "adamw"]


def run_unroll(args):
    """{(rule, size): (seconds, bytes per second, share of the copy bandwidth)}, and the line on the machine."""
    command = [args.bench, "--benchmark_filter=^update/(%s)/(%s)/" % ("|".join(args.rules), "|".join(args.sizes)),
               "--benchmark_format=json", "--device", args.device, "--precision", args.precision,
               "--threads", args.threads, f"--benchmark_min_time={args.min_time}"] + ["--quick"] * args.quick
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    machine = next(line for line in done.stderr.splitlines() if "copies at" in line)
    copies = float(re.search(r"copies at ([\d.]+) GB/s", machine)[1])
    rows = {}
    for entry in json.loads(done.stdout)["benchmarks"]:
        rule, size = entry["name"].split("/")[1:3]
        seconds = entry["real_time"] * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3}[entry["time_unit"]]
        rows[rule, size] = (seconds, entry["GB/s"], entry["GB/s"] / copies)
    return rows, machine


def run_peer(args):
    command = [args.python, PEER, "--device", args.device, "--precision", args.precision,
               "--threads", args.threads, "--rules", *args.rules, "--sizes", *args.sizes]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print("update: the peer did not run to its end", file=sys.stderr)
    rows = {}
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        if "error" in entry:
            print("PyTorch: %(rule)s, %(size)s: %(error)s" % entry, file=sys.stderr)
        else:
            rows[entry["rule"], entry["size"]] = entry["seconds"]
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unroll", default="build/models/unroll", help="the program; unroll_bench is found beside it")
    parser.add_argument("--python", default=os.environ.get("PYTHON", "python3"), help="an interpreter with PyTorch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    parser.add_argument("--sizes", nargs="+", help="24M, and on a GPU 304M and 820M, unless given")
    parser.add_argument("--min-time", type=float, default=0.2, help="seconds of a case, ours")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.sizes, args.rounds, args.min_time = ["tiny"], 1, 0.001
    args.bench = pathlib.Path(args.unroll).resolve().parents[1] / "bench" / "unroll_bench"
    args.sizes = args.sizes or (["24M"] if args.device == "cpu" else ["24M", "304M", "820M"])
    with_peer = subprocess.run([args.python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode == 0
    if not with_peer:
        print(f"{args.python} has no PyTorch: unroll alone; name an interpreter that has with --python",
              file=sys.stderr)
    ours, theirs = [], []
    for turn in range(args.rounds):
        rows, machine = run_unroll(args)
        ours.append(rows)
        if with_peer:
            theirs.append(run_peer(args))
        print(f"round {turn + 1} of {args.rounds}: {machine}", file=sys.stderr, flush=True)
    print(f"{args.device}: clip and update, {machine}, {args.rounds} rounds in turn")
    print(f"{'rule':<10} {'size':>5} {'ms':>9} {'MB':>9} {'GB/s':>8} {'of copy':>8}" +
          (f" {'PyTorch ms':>11} {'ratio':>7}" if with_peer else ""))
    for size in args.sizes:
        for rule in args.rules:
            seconds, rate, share = (statistics.median(column) for column in zip(*(r[rule, size] for r in ours)))
            row = (f"{rule:<10} {size:>5} {seconds * 1e3:>9.3f} {seconds * rate * 1e3:>9.2f} {rate:>8.1f} "
                   f"{share:>8.2f}")
            peer = [r[rule, size] for r in theirs if (rule, size) in r]
            if peer:
                ratio = statistics.median(b / a[rule, size][0] for a, b in zip(ours, peer))
                row += f" {statistics.median(peer) * 1e3:>11.3f} {ratio:>6.2f}x"
            print(row, flush=True)


if __name__ == "__main__":
    main()
