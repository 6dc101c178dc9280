#!/usr/bin/env python3
"""Training speed of unroll beside PyTorch's nn.LSTM on the same job, in turn.

  ./dev bench tokens_per_second --data DIR [--recipe zaremba-small ...] [--variant best] [--python PYTHON] [--quick]

DIR holds a text of the name *train*, e.g. the Penn Treebank. Each round runs unroll and then the peer
(bench/peers/torch_lm.py, or torch_awd.py for the recipes awd-lstm.., with the interpreter --python, else $PYTHON,
else python3 of the PATH); after all rounds the medians and the median ratio of the rounds are printed. Both run the
same number of steps on the same number of threads; start, reading of the text, warm-up steps, evaluation and saving
lie outside the timed part. --variant is the peer's: eager, graphed, compiled, or the best of them, which on a CPU is
eager. Without PyTorch only unroll is measured. --quick: a few steps, one round.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

PEERS = pathlib.Path(__file__).resolve().parents[1] / "peers"


def training_text(folder):
    found = [path for path in sorted(pathlib.Path(folder).iterdir()) if "train" in path.name]
    if len(found) != 1:
        sys.exit(f"tokens_per_second: {folder} has to hold one file *train*; found {len(found)}")
    return found[0]


def run_unroll(args, recipe, text, valid, run):
    """Words per second over the steps after the warm-up, from the run's log."""
    command = [args.unroll, "train", "--recipe", recipe, "--train", text, "--valid", valid, "--out", run, "--quiet",
               "--device", args.device, "--precision", args.precision, "--threads", args.threads,
               "--log-every", args.warmup, "--max-steps", args.warmup * (args.intervals + 1), "--save-every", "1000h"]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    log = [json.loads(line) for line in (pathlib.Path(run) / "log.jsonl").read_text().splitlines()]
    speeds = [entry["words_per_second"] for entry in log if entry["kind"] == "train"][1:]
    assert len(speeds) == args.intervals, "the log has one line per interval"
    return statistics.harmonic_mean(speeds)  # of intervals of equally many words


def run_peer(args, recipe, text):
    peer = PEERS / ("torch_awd.py" if recipe.startswith("awd-") else "torch_lm.py")
    command = [args.python, peer, "--recipe", recipe, "--text", text, "--device", args.device,
               "--precision", args.precision, "--threads", args.threads, "--warmup", args.warmup,
               "--steps", args.warmup * args.intervals, "--variant", args.variant]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print("tokens_per_second: the peer did not run to its end", file=sys.stderr)
        return None
    best = json.loads(done.stdout)
    if len(best.get("all", [])) > 1:
        print(", ".join("PyTorch {variant} {words_per_second:.0f}".format(**one) for one in best["all"]),
              file=sys.stderr)
    return best["words_per_second"]


def compare(args, recipe, text, folder, with_peer):
    valid = folder / "valid.txt"
    with open(text, encoding="utf-8") as lines:
        valid.write_text("".join(line for line, _ in zip(lines, range(100))))
    ours, theirs = [], []
    for turn in range(args.rounds):
        ours.append(run_unroll(args, recipe, text, valid, folder / f"{recipe}-{turn}"))
        print(f"{recipe} round {turn + 1}: unroll {ours[-1]:.0f} words/s", file=sys.stderr, flush=True)
        if with_peer and (speed := run_peer(args, recipe, text)):
            theirs.append((ours[-1], speed))
            print(f"{recipe} round {turn + 1}: PyTorch {speed:.0f} words/s", file=sys.stderr, flush=True)
    row = f"{recipe:<16} {statistics.median(ours):>12.0f}"
    if theirs:
        ratio = statistics.median(a / b for a, b in theirs)
        row += f" {statistics.median(b for _, b in theirs):>12.0f} {ratio:>8.2f}x"
    print(row, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unroll", default="build/models/unroll", help="the program")
    parser.add_argument("--python", default=os.environ.get("PYTHON", "python3"), help="an interpreter with PyTorch")
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", nargs="+", default=["zaremba-small", "zaremba-medium"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--variant", choices=("eager", "graphed", "compiled", "best"), default="best")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=20, help="steps before the timed ones, and per interval")
    parser.add_argument("--intervals", type=int, default=4, help="timed intervals of that many steps")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.warmup, args.intervals, args.recipe = 1, 2, 2, args.recipe[:1]
    text = training_text(args.data)
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "300000"  # its default, so that both wait alike whatever the load
    with_peer = subprocess.run([args.python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode == 0
    if not with_peer:
        print(f"{args.python} has no PyTorch: unroll alone; name an interpreter that has with --python",
              file=sys.stderr)
    print(f"training, words/s: {args.device}, {args.precision}, {args.threads} threads, "
          f"{args.warmup * args.intervals} steps, median of {args.rounds} rounds in turn")
    print(f"{'recipe':<16} {'unroll':>12}" + (f" {'PyTorch':>12} {'ratio':>9}" if with_peer else ""))
    with tempfile.TemporaryDirectory() as folder:
        for recipe in args.recipe:
            compare(args, recipe, text, pathlib.Path(folder), with_peer)


if __name__ == "__main__":
    main()
