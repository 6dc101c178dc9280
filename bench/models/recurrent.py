#!/usr/bin/env python3
"""Recurrent layers beside PyTorch's, forward and backward with all gradients, one layer, input as wide as the layer.

  ./dev bench recurrent [--cell lstm] [--precisions bf16 tf32 fp32] [--python PYTHON] [--shapes B,T,H ..]

Ours are the cases recurrent_* of unroll_bench, every schedule that can run; the peer is
bench/peers/torch_recurrent.py, with the interpreter --python, else $PYTHON, else python3 of the PATH: the fastest of
its variants, eager and graph, fp16, bf16, TF32 and fp32, at this size or a padded one. Times are medians between
device events, in microseconds; GEMMs are the products around the loop. The ratio is the peer's forward and backward
over ours in the fastest schedule. Without PyTorch, only ours are printed.
"""
import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHAPES = ["20,70,1150", "20,35,650", "20,35,1500", "64,128,1024", "128,256,2048", "32,512,512", "16,1024,768"]
SCHEDULES = ("persistent", "step", "alternating")
CASE = re.compile(r"recurrent_(layer_)?(forward|backward)/(\w+?)/(?:([a-z]+)/)?T(\d+)/B(\d+)/H(\d+)")


def ours(args, precision):
    """(shape, schedule) -> microseconds by part and pass; ("loop", "forward") and so on."""
    command = [args.bench, "--device", args.device, "--precision", precision, "--benchmark_format=json",
               f"--benchmark_filter=^recurrent_.*/{args.cell}/", f"--benchmark_repetitions={args.repeats}",
               "--benchmark_report_aggregates_only=true"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = collections.defaultdict(dict)
    for entry in json.loads(done.stdout)["benchmarks"]:
        case = CASE.match(entry["name"])
        if not case or entry.get("aggregate_name", "median") != "median":
            continue
        layer, way, _, schedule, T, B, H = case.groups()
        to_us = {"ns": 1e-3, "us": 1, "ms": 1e3, "s": 1e6}[entry["time_unit"]]
        found[f"{B},{T},{H}", schedule or "loop"]["layer" if layer else "loop", way] = entry["real_time"] * to_us
    return found


def peers(args):
    """shape -> the figures of all variants."""
    command = [args.python, ROOT / "peers" / "torch_recurrent.py", "--cell", args.cell, "--pad", "--device", args.device,
               "--shapes", *args.shapes]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print("recurrent: the peer did not run; only ours are printed", file=sys.stderr)
        return {}
    head, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    print(f"peer      PyTorch {head['torch']}, cuDNN {head['cudnn']}, {head['device']}")
    found = collections.defaultdict(list)
    for line in lines:
        found[line.get("padded_from", f"{line['B']},{line['T']},{line['H']}")].append(line)
    return found


def total(figures):
    return figures["forward_us"] + figures["backward_us"]


def print_table(args, precision, mine, theirs):
    print(f"\n{args.cell}, {precision}, microseconds")
    print(f"{'B,T,H':14} {'schedule':12} {'forward':>9} {'backward':>9} {'loop/step':>15} {'GEMMs':>8} {'ratio':>6}  peer")
    for shape in args.shapes:
        T = int(shape.split(",")[1])
        best = min(theirs.get(shape, []), key=total, default=None)
        for schedule in SCHEDULES + ("loop",):
            t = mine.get((shape, schedule))
            if not t or len(t) < 4:
                continue
            forward, backward = t["layer", "forward"], t["layer", "backward"]
            loops = t["loop", "forward"], t["loop", "backward"]
            line = (f"{shape:14} {schedule:12} {forward:9.1f} {backward:9.1f} {loops[0] / T:7.2f}{loops[1] / T:8.2f} "
                    f"{forward + backward - sum(loops):8.1f}")
            if best:
                padded = f" at {best['B']},{best['T']},{best['H']}" if "padded_from" in best else ""
                line += (f" {total(best) / (forward + backward):6.2f}  {best['forward_us']:.0f} + {best['backward_us']:.0f}, "
                         f"{best['variant']} {best['precision']}{padded}")
            print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unroll", type=pathlib.Path, required=True, help=argparse.SUPPRESS)  # ./dev gives it
    parser.add_argument("--cell", choices=["lstm", "gru", "tanh"], default="lstm")
    parser.add_argument("--precisions", nargs="+", choices=["bf16", "tf32", "fp32"], default=["bf16", "tf32", "fp32"])
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="B,T,H")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--python", default=os.environ.get("PYTHON", "python3"))
    args = parser.parse_args()
    args.bench = args.unroll.resolve().parents[1] / "bench" / "unroll_bench"
    if args.device == "cpu":
        args.precisions = ["fp32"]
    theirs = peers(args)
    for precision in args.precisions:
        print_table(args, precision, ours(args, precision), theirs)


if __name__ == "__main__":
    main()
