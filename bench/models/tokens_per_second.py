#!/usr/bin/env python3
"""Training speed of unroll beside PyTorch's nn.LSTM on the same job, in turn.

  ./dev bench tokens_per_second --data DIR [--recipe zaremba-small ...] [--variant best] [--precision bf16]
                                [--peer-precisions fp16 bf16 ..] [--python PYTHON] [--json FILE] [--quick]

DIR holds a text of the name *train*, e.g. the Penn Treebank. Each round runs unroll and then the peer
(bench/peers/torch_lm.py, or torch_awd.py for the recipes awd-lstm.., with the interpreter --python, else $PYTHON,
else python3 of the PATH); after all rounds the medians and the median ratio of the rounds are printed, and the time
that unroll takes for an epoch of that text at its median. Both run the same number of steps on the same number of
threads; start, reading of the text, warm-up steps, evaluation and saving lie outside the timed part. --precision is
unroll's: bf16 where a GPU answers, else fp32. The peer counts with the fastest of its variants and precisions: eager,
compiled and graphed, in fp16, bf16, TF32 and fp32; on a CPU eager, in fp32 and where unroll is in bf16 in that too. Each is printed to standard error. Without
PyTorch only unroll is measured. --quick: a few steps, one round, and of the AWD-LSTM an eighth of its width.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile

import beside


def small(args, recipe):
    """Whether layers have an eighth of their width."""
    return args.quick and recipe in ("awd-lstm", "awd-lstm-wikitext2")


def run_unroll(args, recipe, text, valid, run):
    """Words per second over the steps after the warm-up, from the run's log."""
    command = [args.unroll, "train", "--recipe", recipe, "--train", text, "--valid", valid, "--out", run, "--quiet",
               "--device", args.device, "--precision", args.precision, "--threads", args.threads,
               "--log-every", args.warmup, "--max-steps", args.warmup * (args.intervals + 1), "--save-every", "1000h"]
    command += ["--emb", 50, "--hidden", 143, "--hidden-last", 50] * small(args, recipe)
    if subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL).returncode:
        return None
    speeds = [entry["words_per_second"] for entry in beside.log_of(run) if entry["kind"] == "train"][1:]
    assert len(speeds) == args.intervals, "the log has one line per interval"
    return statistics.harmonic_mean(speeds)  # of intervals of equally many words


def run_peer(args, recipe, text):
    """What the peer says of its fastest variant."""
    found = beside.run_peer(args, "awd" if recipe.startswith("awd-") else "lm", "--recipe", recipe, "--text", text,
                            "--precision", *args.peer_precisions, "--warmup", args.warmup,
                            "--steps", args.warmup * args.intervals, "--variant", args.variant,
                            *["--scale", 8] * small(args, recipe))
    return max(found, key=lambda variant: variant["words_per_second"], default=None)


def compare(args, recipe, text, folder, with_peer):
    valid = folder / "valid.txt"
    with open(text, encoding="utf-8") as lines:
        valid.write_text("".join(line for line, _ in zip(lines, range(100))))
    with open(text, encoding="utf-8") as lines:
        words = sum(len(line.split()) + 1 for line in lines)
    ours, theirs = [], []
    for turn in range(args.rounds):
        speed = run_unroll(args, recipe, text, valid, folder / f"{recipe}-{turn}")
        if not speed:
            beside.Runs.failed = True
            break
        ours.append(speed)
        beside.keep(args, {"recipe": recipe, "precision": args.precision, "words_per_second": speed})
        beside.say(f"{recipe} round {turn + 1}: unroll {speed:.0f} words/s")
        if with_peer and (peer := run_peer(args, recipe, text)):
            theirs.append((speed, peer))
    if not ours:
        return
    row = f"{recipe:<16} {statistics.median(ours):>12.0f} {words / statistics.median(ours):>8.1f}"
    if theirs:
        ratio = statistics.median(speed / peer["words_per_second"] for speed, peer in theirs)
        ways = dict.fromkeys("{variant} {precision}".format(**peer) for _, peer in theirs)
        row += (f" {statistics.median(peer['words_per_second'] for _, peer in theirs):>12.0f} {ratio:>8.2f}x  "
                + ", ".join(ways))
    print(row, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside.add_options(parser)
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", nargs="+", default=["zaremba-small", "zaremba-medium"])
    beside.add_precision(parser, "tf32")
    parser.add_argument("--peer-precisions", nargs="+", choices=("fp16", "bf16", "tf32", "fp32"))
    parser.add_argument("--variant", choices=("eager", "graphed", "compiled", "best"), default="best")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=20, help="steps before the timed ones, and per interval")
    parser.add_argument("--intervals", type=int, default=4, help="timed intervals of that many steps")
    args = parser.parse_args()
    beside.settle(args)
    args.peer_precisions = args.peer_precisions or (
        ["fp16", "bf16", "tf32", "fp32"] if args.device != "cpu"
        else ["bf16", "fp32"] if args.precision == "bf16" else ["fp32"])
    if args.quick:
        args.rounds, args.warmup, args.intervals, args.recipe = 1, 2, 2, args.recipe[:1]
    text = beside.text_of(args.data, "train")
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "300000"  # its default, so that both wait alike whatever the load
    with_peer = beside.has_torch(args)
    print(f"training, words/s: {args.device}, unroll in {args.precision}, PyTorch the fastest of "
          f"{', '.join(args.peer_precisions)}, {args.threads} threads, {args.warmup * args.intervals} steps, median of "
          f"{args.rounds} rounds in turn")
    print(f"{'recipe':<16} {'unroll':>12} {'s/epoch':>8}" + (f" {'PyTorch':>12} {'ratio':>9}" if with_peer else ""))
    with tempfile.TemporaryDirectory() as folder:
        for recipe in args.recipe:
            compare(args, recipe, text, pathlib.Path(folder), with_peer)
    beside.end()


if __name__ == "__main__":
    main()
