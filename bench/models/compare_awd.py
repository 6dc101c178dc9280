#!/usr/bin/env python3
"""Whether unroll learns what PyTorch learns: AWD-LSTM on the start of a text, several seeds each, on the CPU.

  ./dev bench compare_awd --data DIR [--tokens 100000] [--epochs 2] [--seeds 3] [--widths 200,575,200]
                          [--lr RATE] [--shared initial lengths masks] [--precision fp64] [--python PYTHON]

DIR holds texts of the names *train* and *valid*, e.g. the Penn Treebank. Both train the recipe awd-lstm, with all
its regularisers, random chunk lengths, clipping and weight decay, and smaller layers, on the lines that hold the
first --tokens words; the peer is bench/peers/torch_awd.py, run by --python, else $PYTHON, else python3 of the
PATH.

So short a training depends on its random numbers more than on anything else. What --shared names is the same on
both sides, seed by seed: the initial weights, which PyTorch draws, and the lengths of chunks and the masks, which
the peer draws by unroll's counters. All three are shared unless it says otherwise, so that a pair differs by
rounding alone; `--shared` without a name leaves each side its own. --precision is fp64 unless given: in fp32, where
PyTorch's norm of a gradient of this size is off by 1e-4, the losses of a pair of widths 200,575,200 differ by a
percent after nine steps at the recipe's learning rate. In fp64 that takes longer, but two epochs at that rate are
long enough, and only the means of many seeds compare; at --lr 10 rounding stays where it was (bench/results). Prints
the validation perplexity of every run, the means, the ratio of the means, and the mean of the ratios with its
standard error.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import beside

PEER = beside.PEERS / "torch_awd.py"
RECIPE = "awd-lstm"
SHARED = ("initial", "lengths", "masks")


def write_start(source, target, tokens):
    """The lines of `source` up to that many words, line ends counted."""
    count = 0
    with open(source, encoding="utf-8") as lines, open(target, "w", encoding="utf-8") as out:
        for line in lines:
            count += len(line.split()) + 1
            out.write(line)
            if count >= tokens:
                break
    return count


def run(command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"compare_awd: {command[0]} ended with code {done.returncode}")
    return done.stdout


def run_unroll(args, train, valid, seed, folder):
    emb, hidden, last = args.widths.split(",")
    initial = ["--init-from", folder / "initial.safetensors"] if "initial" in args.shared else []
    run([args.unroll, "train", "--recipe", RECIPE, "--train", train, "--valid", valid, "--out", folder / f"run{seed}",
         "--emb", emb, "--hidden", hidden, "--hidden-last", last, "--epochs", args.epochs, "--finetune-epochs", 0,
         "--seed", seed, "--device", "cpu", "--threads", args.threads, "--precision", args.precision, "--quiet",
         *args.rate, *initial])
    return next(line["valid_ppl"] for line in beside.log_of(folder / f"run{seed}") if line["kind"] == "end")


def run_peer(args, train, valid, seed, folder):
    """Leaves its initial weights in the folder."""
    return json.loads(run([args.python, PEER, "--recipe", RECIPE, "--text", train, "--valid", valid, "--widths",
                           args.widths, "--epochs", args.epochs, "--seed", seed, "--threads", args.threads,
                           "--precision", args.precision, *args.rate, "--initial", folder / "initial.safetensors",
                           "--as-unroll", *(what for what in args.shared if what != "initial")]))["valid_ppl"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unroll", default="build/models/unroll", help="the program")
    parser.add_argument("--python", default=os.environ.get("PYTHON", "python3"), help="an interpreter with PyTorch")
    parser.add_argument("--data", required=True)
    parser.add_argument("--tokens", type=int, default=100000)
    parser.add_argument("--valid-tokens", type=int, default=0, help="the start of the validation text; 0: all of it")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--widths", default="200,575,200", help="word vectors, layers, last layer")
    parser.add_argument("--lr", type=float, help="learning rate instead of the recipe's 30")
    parser.add_argument("--shared", nargs="*", choices=SHARED, default=SHARED, help="the same on both sides")
    parser.add_argument("--precision", choices=("fp32", "fp64"), default="fp64")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.rate = ["--lr", args.lr] if args.lr else []
    emb, hidden, last = map(int, args.widths.split(","))
    if emb != last or hidden == last:
        sys.exit(f"compare_awd: --widths {args.widths}: the recipe's word vectors are as wide as the last layer, and "
                 "the layers before it are not")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        train, valid = folder / "train.txt", folder / "valid.txt"
        tokens = write_start(beside.text_of(args.data, "train"), train, args.tokens)
        valid_tokens = write_start(beside.text_of(args.data, "valid"), valid, args.valid_tokens or float("inf"))
        print(f"{RECIPE} of widths {args.widths}: {tokens} tokens, {args.epochs} epochs, validation on {valid_tokens}")
        print(f"{'seed':>6} {'unroll':>10} {'PyTorch':>10}", flush=True)
        ours, theirs = [], []
        for seed in range(1, args.seeds + 1):
            theirs.append(run_peer(args, train, valid, seed, folder))
            ours.append(run_unroll(args, train, valid, seed, folder))
            print(f"{seed:>6} {ours[-1]:>10.2f} {theirs[-1]:>10.2f}  ratio {ours[-1] / theirs[-1]:.4f}", flush=True)
    means = statistics.mean(ours), statistics.mean(theirs)
    print(f"{'mean':>6} {means[0]:>10.2f} {means[1]:>10.2f}  ratio {means[0] / means[1]:.4f}")
    if args.seeds > 1:
        ratios = [a / b for a, b in zip(ours, theirs)]
        print(f"{'spread':>6} {statistics.stdev(ours):>10.2f} {statistics.stdev(theirs):>10.2f}  ratio of a pair "
              f"{statistics.mean(ratios):.4f} +- {statistics.stdev(ratios) / len(ratios) ** 0.5:.4f}")


if __name__ == "__main__":
    main()
