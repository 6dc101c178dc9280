"""What the peers that train share: the ways PyTorch can run a step, and the time of steps."""
import sys
import time

import torch

VARIANTS = ("eager", "graphed", "compiled")


def add_option(parser):
    parser.add_argument("--variant", choices=(*VARIANTS, "best"), default="best",
                        help="best: all in turn on a GPU, the fastest counts; eager on a CPU")


def best_of(args, measure):
    """What measure(variant) found of the fastest that --variant asks for, and under "all" what it found of each."""
    if args.variant == "graphed" and args.device == "cpu":
        sys.exit("--variant graphed: CUDA graphs want --device cuda")
    names = [args.variant] if args.variant != "best" else VARIANTS if args.device != "cpu" else VARIANTS[:1]
    results = [{"variant": name, **measure(name)} for name in names]
    return {**max(results, key=lambda result: result["words_per_second"]), "all": results}


def speed(args, step, lanes, lengths):
    """Of step(words, targets) over chunks of those lengths, after the first --warmup of them. The text goes on
    from its start where it ends."""
    def synchronize():
        if args.device != "cpu":
            torch.cuda.synchronize()

    at, start = 0, 0.0
    for k, T in enumerate(lengths):
        if k == args.warmup:
            synchronize()
            start = time.perf_counter()
        if at + T + 1 > len(lanes):
            at = 0
        step(lanes[at:at + T], lanes[at + 1:at + T + 1])
        at += T
    synchronize()
    seconds = time.perf_counter() - start
    return {"words_per_second": sum(lengths[args.warmup:]) * lanes.shape[1] / seconds, "seconds": seconds}
