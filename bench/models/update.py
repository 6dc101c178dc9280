#!/usr/bin/env python3
"""Clip and update of whole models: unroll beside PyTorch, in turn.

  ./dev bench update [--device cuda] [--precision bf16] [--python PYTHON] [--rounds 3] [--json FILE] [--quick]

Ours are the benchmarks update/* of unroll_bench; the peer is bench/peers/torch_update.py: clip_grad_norm_ and
the fastest optimiser that PyTorch has, with the interpreter --python, else $PYTHON, else python3 of the PATH.
Printed: the time, the bytes that have to move at least, the same per second, their share of the copy bandwidth
measured in the same run, and the ratio of PyTorch's time to ours, all medians over the rounds. Without PyTorch only
unroll is measured. The GPU and bf16 are taken where one answers, and else the CPU and fp32. Every figure goes to
standard error, and to --json, as it comes; a run that is ended early prints the table of what it has. --quick: every
step of this at small sizes.
"""
import argparse
import re
import statistics

import beside

RULES = ["sgd", "momentum", "asgd", "adagrad", "rmsprop", "adam", "adamw"]


def run_unroll(args):
    """{(rule, size): (seconds, bytes per second, share of the copy bandwidth)}, and the line on the machine."""
    entries, machine = beside.run_bench(
        args, args.precision, "^update/(%s)/(%s)/" % ("|".join(args.rules), "|".join(args.sizes)))
    copies = re.search(r"copies at ([\d.]+) GB/s", machine)
    rows = {}
    for entry in entries:
        rule, size = entry["name"].split("/")[1:3]
        rows[rule, size] = (beside.seconds_of(entry), entry["GB/s"], entry["GB/s"] / float(copies[1]))
    return rows, machine


def run_peer(args):
    lines = beside.run_peer(args, "update", "--precision", args.precision, "--rules", *args.rules,
                            "--sizes", *args.sizes)
    return {(line["rule"], line["size"]): line["seconds"] for line in lines}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside.add_kernel_options(parser, min_time=0.2)
    beside.add_precision(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    parser.add_argument("--sizes", nargs="+", help="24M, and on a GPU 304M and 820M, unless given")
    args = parser.parse_args()
    beside.settle(args)
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
        beside.say(f"round {turn + 1} of {args.rounds}: {machine}")
        if beside.Runs.cut:
            break
    print(f"{args.device}: clip and update, {machine}, {args.rounds} rounds in turn")
    print(f"{'rule':<10} {'size':>5} {'ms':>9} {'MB':>9} {'GB/s':>8} {'of copy':>8}" +
          (f" {'PyTorch ms':>11} {'ratio':>7}" if with_peer else ""))
    for size in args.sizes:
        for rule in args.rules:
            rounds = [r[rule, size] for r in ours if (rule, size) in r]
            if not rounds:
                continue
            seconds, rate, share = map(statistics.median, zip(*rounds))
            row = (f"{rule:<10} {size:>5} {seconds * 1e3:>9.3f} {seconds * rate * 1e3:>9.2f} {rate:>8.1f} "
                   f"{share:>8.2f}")
            pairs = [(a[rule, size][0], b[rule, size]) for a, b in zip(ours, theirs)
                     if (rule, size) in a and (rule, size) in b]
            if pairs:
                row += (f" {statistics.median(b for _, b in pairs) * 1e3:>11.3f} "
                        f"{statistics.median(b / a for a, b in pairs):>6.2f}x")
            print(row, flush=True)
    beside.end()


if __name__ == "__main__":
    main()
