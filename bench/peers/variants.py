"""What the peers that train share: the ways PyTorch can run a step, and the time of steps."""
import gc
import json
import os
import sys
import time

import torch

# Graphs come last: a capture that fails leaves PyTorch's generator of random numbers unusable.
VARIANTS = ("eager", "compiled", "graphed")
# PyTorch 2 runs the recurrent layers of cuDNN in fp16 under either, the products in what is named.
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
LOSS_SCALE = {"fp16": 1024.0}  # 1 elsewhere


def add_options(parser, *more):
    parser.add_argument("--variant", choices=(*VARIANTS, "best"), default="best",
                        help="best: all in turn on a GPU, the fastest counts; eager on a CPU")
    parser.add_argument("--precision", nargs="+", choices=("fp32", "tf32", "bf16", "fp16", *more), default=["fp32"],
                        help="all in turn, the fastest counts")


def allow_tf32(allowed):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def measure_all(args, vocabulary, measure):
    """Prints what measure(variant, precision) found of all that the options ask for, a JSON object each as it comes.
    One that fails is left out; if graphs alone are asked for and all fail, this program starts again with eager."""
    if args.variant == "graphed" and args.device == "cpu":
        sys.exit("--variant graphed: CUDA graphs want --device cuda")
    names = [args.variant] if args.variant != "best" else VARIANTS if args.device != "cpu" else VARIANTS[:1]
    found = 0
    for name in names:
        for precision in args.precision:
            try:
                allow_tf32(precision == "tf32")
                if name == "compiled":
                    torch.compiler.reset()  # or its next precision would be compiled for any
                result = {"variant": name, "precision": precision, **measure(name, precision)}
                print(json.dumps({**result, "vocabulary": vocabulary, "torch": torch.__version__}), flush=True)
                found += 1
            except Exception as error:  # memory that runs out, a step that cannot be captured or compiled
                print(f"PyTorch {name} {precision} failed: {str(error)[:200]}", file=sys.stderr, flush=True)
            gc.collect()
            if args.device != "cpu":
                torch.cuda.empty_cache()
    if not found and names == ["graphed"]:
        os.execv(sys.executable, [sys.executable, *sys.argv, "--variant", "eager"])
    if not found:
        sys.exit("no variant of PyTorch ran")


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
