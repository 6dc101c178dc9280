#!/usr/bin/env python3
"""The output layer with its loss: unroll beside PyTorch, in turn.

  ./dev bench softmax [--device cuda] [--precision bf16] [--python PYTHON] [--rounds 3] [--compile]
                      [--shapes N,D,V ..] [--json FILE] [--quick]

Ours are the benchmarks softmax/* of unroll_bench, and output_layer/adaptive; the peer is
bench/peers/torch_softmax.py: F.linear and F.cross_entropy, eager, as a CUDA graph and (--compile) compiled, PyTorch's
chunked form and Liger's kernels where there are any, AdaptiveLogSoftmaxWithLoss beside our adaptive softmax of the
same clusters and targets; with the interpreter --python, else $PYTHON, else python3 of the PATH. The floor is three
products for training and one for evaluation, at the rate of a large product measured in the same run. Memory is what
a pass needs beside its inputs: gradients and scratch. GB/s are the bytes that must move at least. The ratio is the
fastest peer's time over ours, the median over the rounds. Without PyTorch only unroll is measured. The GPU and bf16
are taken where one answers, and else the CPU and fp32. Every figure goes to standard error, and to --json, as it
comes; a run that is ended early prints the table of what it has. --quick: every step of this at small sizes.
"""
import argparse
import collections
import re
import statistics

import beside

CASE = re.compile(r"(?:softmax|output_layer/(adaptive))/(\w+)/N(\d+)/D(\d+)/V(\d+)(?:/scratch(\d+))?/")


def run_unroll(args):
    """{(kind, shape, pass): (seconds, times the floor, bytes, bytes per second)}, and the line on the machine."""
    shapes = "|".join("N%s/D%s/V%s" % tuple(shape.split(",")) for shape in args.shapes) or ".*"
    pattern = f"^(softmax/.*/({shapes})/" + "|output_layer/adaptive/" * (not args.shapes) + ")"
    entries, machine = beside.run_bench(args, args.precision, pattern)
    products = re.search(r"products at ([\d.]+) GFLOP/s", machine)
    rows = {}
    for entry in entries:
        kind, what, N, D, V, scratch = CASE.match(entry["name"]).groups()
        size = 2 if args.precision == "bf16" else 4
        gradients = 0 if what == "evaluate" else int(N) * int(D) * size + 4 * int(V) * (int(D) + 1)
        floor = (2 if what == "evaluate" else 6) * int(N) * int(D) * int(V) / (float(products[1]) * 1e9)
        seconds = beside.seconds_of(entry)
        # An adaptive softmax works on a part of the words: of the full one's floor it says nothing.
        rows[kind or "full", f"{N},{D},{V}", what] = (
            seconds, 0.0 if kind else seconds / floor,
            int(entry["label"].split()[0]) if kind else int(scratch) + gradients, entry["GB/s"])
    return rows, machine


def run_peer(args, shapes):
    """{(kind, shape, pass): {variant: (seconds, bytes)}}"""
    shapes_of = {wanted: sorted({shape for kind, shape in shapes if kind == wanted}) for wanted in ("full", "adaptive")}
    rows = collections.defaultdict(dict)
    for line in beside.run_peer(args, "softmax", "--precision", args.precision, "--shapes", *shapes_of["full"],
                                "--adaptive", *shapes_of["adaptive"], *["--compile"] * args.compile):
        kind = "adaptive" if line["variant"] == "adaptive" else "full"
        rows[kind, line["shape"], line["pass"]][line["variant"]] = line["seconds"], line["memory"]
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside.add_kernel_options(parser, min_time=0.2)
    beside.add_precision(parser, "tf32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    parser.add_argument("--shapes", nargs="+", default=[], help="of those that are built in: N,D,V")
    args = parser.parse_args()
    beside.settle(args)
    if args.quick:
        args.rounds, args.min_time = 1, 0.001
    with_peer = beside.has_torch(args)
    ours, theirs = [], []
    for turn in range(args.rounds):
        rows, machine = run_unroll(args)
        ours.append(rows)
        if with_peer:
            theirs.append(run_peer(args, {(kind, shape) for kind, shape, _ in rows}))
        beside.say(f"round {turn + 1} of {args.rounds}: {machine}")
        if beside.Runs.cut:
            break
    print(f"{args.device}: output layer and loss, " + machine + f", {args.rounds} rounds in turn")
    print(f"{'':8} {'N,D,V':<17} {'pass':<11} {'ms':>9} {'of floor':>9} {'GB/s':>7} {'MB':>7}" +
          (f" {'ratio':>7}  PyTorch, ms" if with_peer else ""))
    for case in dict.fromkeys(case for rows in ours for case in rows):
        kind, shape, what = case
        seconds, floors, memory, rate = map(statistics.median, zip(*(r[case] for r in ours if case in r)))
        of_floor = f"{floors:>8.2f}x" if floors else f"{'-':>9}"
        row = (f"{kind:8} {shape:<17} {what:<11} {seconds * 1e3:>9.3f} {of_floor} {rate:>7.1f} "
               f"{memory / 1e6:>7.0f}")
        peers = [r[kind, shape, "evaluate" if what == "evaluate" else "train"] for r in theirs]
        pairs = [(r[case][0], min(s for s, _ in p.values())) for r, p in zip(ours, peers) if case in r and p]
        if pairs:
            ratio = statistics.median(b / a for a, b in pairs)
            row += f" {ratio:>6.2f}x  "
            for name in dict.fromkeys(name for p in peers for name in p):
                times, bytes_ = zip(*(p[name] for p in peers if name in p))
                row += f" {name} {statistics.median(times) * 1e3:.3f}" + (
                    f" in {bytes_[0] / 1e6:.0f} MB," if bytes_[0] else ",")
            row = row.rstrip(",")
        print(row, flush=True)
    beside.end()


if __name__ == "__main__":
    main()
