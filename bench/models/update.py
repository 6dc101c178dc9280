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
import re
import statistics
import sys

import beside

RULES = ["sgd", "momentum", "asgd", "adagrad", "rmsprop", "adam", "adamw"]


def run_unroll(args):
    """{(rule, size): (seconds, bytes per second, share of the copy bandwidth)}, and the line on the machine."""
    entries, lines = beside.run_bench(
        args, args.precision, "^update/(%s)/(%s)/" % ("|".join(args.rules), "|".join(args.sizes)))
    machine = next(line for line in lines.splitlines() if "copies at" in line)
    copies = float(re.search(r"copies at ([\d.]+) GB/s", machine)[1])
    rows = {}
    for entry in entries:
        rule, size = entry["name"].split("/")[1:3]
        rows[rule, size] = (beside.seconds_of(entry), entry["GB/s"], entry["GB/s"] / copies)
    return rows, machine


def run_peer(args):
    lines = beside.run_peer(args, "update", "--precision", args.precision, "--rules", *args.rules,
                            "--sizes", *args.sizes)
    return {(line["rule"], line["size"]): line["seconds"] for line in lines}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside.add_options(parser)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    parser.add_argument("--sizes", nargs="+", help="24M, and on a GPU 304M and 820M, unless given")
    args = parser.parse_args()
    if args.quick:
        args.sizes, args.rounds, args.min_time = ["tiny"], 1, 0.001
    args.sizes = args.sizes or (["24M"] if args.device == "cpu" else ["24M", "304M", "820M"])
    with_peer = beside.has_torch(args)
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
