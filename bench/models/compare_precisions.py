#!/usr/bin/env python3
"""Whether a narrower arithmetic learns as much: a shortened training in two precisions, the same seeds each.

  ./dev bench compare_precisions --data DIR [--recipe awd-lstm] [--precisions bf16 fp32] [--epochs 2] [--max-steps N]
                                 [--seeds 3] [--json FILE] [--quick]

DIR holds texts of the names *train* and *valid*, e.g. the Penn Treebank. The second precision is the reference. Seed by seed both draw the same initial weights, chunk lengths and masks.
Seeds are done in turn, so that a run that is ended early compares those it has. Prints the validation perplexity of
every run, the means, and the spread of each precision, its largest perplexity minus its smallest. The first precision
passes if its mean is less than the spread of the reference above the reference's mean. --quick: a small model, the
start of the texts and a few steps.
"""
import argparse
import pathlib
import statistics
import sys
import tempfile

import beside


def texts_of(args, folder):
    found = [beside.text_of(args.data, kind) for kind in ("train", "valid")]
    if not args.quick:
        return found
    for place, source in enumerate(found):
        found[place] = folder / source.name
        with open(source, encoding="utf-8") as lines:
            found[place].write_text("".join(line for line, _ in zip(lines, range(500))))
    return found


def train(args, texts, precision, seed, folder):
    """The validation perplexity of its best epoch, or nothing if it did not come to its end."""
    run = folder / f"{precision}-{seed}"
    command = [args.unroll, "train", "--recipe", args.recipe, "--train", texts[0], "--valid", texts[1], "--out", run,
               "--device", args.device, "--threads", args.threads, "--precision", precision, "--seed", seed,
               "--epochs", args.epochs, "--finetune-epochs", 0, "--max-steps", args.max_steps,
               "--save-every", "1000h", "--quiet"]
    if args.quick:
        command += ["--emb", 24, "--hidden", 32, "--hidden-last", 24]
    for _ in beside.lines_of(command):
        pass
    ppl = next((line["valid_ppl"] for line in beside.log_of(run) if line["kind"] == "end"), None)
    beside.keep(args, {"recipe": args.recipe, "precision": precision, "seed": seed, "valid_ppl": ppl})
    return ppl


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside.add_options(parser)
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", default="awd-lstm")
    parser.add_argument("--precisions", nargs=2, choices=("bf16", "tf32", "fp32", "fp64"), default=["bf16", "fp32"])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--max-steps", type=int, default=0, help="of a run; 0: no limit but the epochs")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    beside.settle(args)
    if args.quick:
        args.epochs, args.max_steps, args.seeds = 1, 20, 2
    narrow, wide = args.precisions
    length = f"{args.epochs} epochs" + (f", at most {args.max_steps} steps" if args.max_steps else "")
    print(f"{args.recipe}, {args.device}, {length}: validation perplexity\n{'seed':>6} {narrow:>10} {wide:>10}",
          flush=True)
    pairs = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        texts = texts_of(args, folder)
        for seed in range(1, args.seeds + 1):
            pair = [train(args, texts, precision, seed, folder) for precision in args.precisions]
            if None in pair:
                break
            pairs.append(pair)
            print(f"{seed:>6} {pair[0]:>10.2f} {pair[1]:>10.2f}  {100 * (pair[0] / pair[1] - 1):+.2f} %", flush=True)
    if len(pairs) < 2:
        sys.exit("compare_precisions: fewer than two seeds came to their end")
    columns = list(zip(*pairs))
    means, spreads = map(statistics.mean, columns), [max(column) - min(column) for column in columns]
    of_narrow, of_wide = means
    print(f"{'mean':>6} {of_narrow:>10.2f} {of_wide:>10.2f}  {100 * (of_narrow / of_wide - 1):+.2f} %")
    print(f"{'spread':>6} {spreads[0]:>10.2f} {spreads[1]:>10.2f}")
    good = of_narrow - of_wide < spreads[1]
    print(f"{narrow} is {of_narrow - of_wide:+.2f} from {wide}, whose seeds spread over {spreads[1]:.2f}: "
          + ("within" if good else "NOT within"))
    sys.exit(0 if good and len(pairs) == args.seeds else 1)


if __name__ == "__main__":
    main()
