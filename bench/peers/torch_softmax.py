#!/usr/bin/env python3
"""PyTorch's output layer with its loss: F.linear and F.cross_entropy, forward and backward, and forward alone.

  torch_softmax.py --shapes 700,200,219000 [..] [--device cpu] [--precision fp32] [--threads 2] [--compile]

A shape is N,D,V: tokens, width, words. Variants: eager; compiled (--compile); chunked, PyTorch's own
linear_cross_entropy where this version has one; liger, where Liger's kernels are installed and the device is a GPU.
bf16 operands come from f32 weights by autocast's rule: the casts are not timed, the gradient of the weights is. One
JSON object per line: shape, variant, pass, seconds (the median of the repetitions), and on CUDA the peak memory that
the pass allocated.
"""
import argparse
import json
import statistics
import time

import torch
from torch.nn import functional as F


def plain(x, W, b, target):
    return F.cross_entropy(F.linear(x, W, b).float(), target)


def variants(args):
    found = {"eager": plain}
    if args.compile:
        found["compiled"] = torch.compile(plain)
    if hasattr(F, "linear_cross_entropy"):
        found["chunked"] = lambda x, W, b, target: F.linear_cross_entropy(x, W, target, linear_bias=b)
    if args.device != "cpu":
        try:
            from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
            loss = LigerFusedLinearCrossEntropyLoss()
            found["liger"] = lambda x, W, b, target: loss(W, x, target, b)
        except ImportError:
            pass
    return found


def measure(step, args):
    """The median time of a step, and the most memory that one had allocated beyond what stood before."""
    step()
    cuda = args.device != "cpu"
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    times = []
    for _ in range(args.repetitions):
        start = time.perf_counter()
        step()
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times), torch.cuda.max_memory_allocated() - before if cuda else None


def run(shape, loss, args):
    N, D, V = map(int, shape.split(","))
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    make = lambda *size: torch.empty(*size, device=args.device).uniform_(-0.1, 0.1).to(dtype).requires_grad_()
    x, W, b = make(N, D), make(V, D), make(V)
    target = torch.randint(V, (N,), device=args.device)

    def train():
        for tensor in (x, W, b):
            tensor.grad = None
        loss(x, W, b, target).backward()

    def evaluate():
        with torch.no_grad():
            loss(x, W, b, target)

    return {"train": measure(train, args), "evaluate": measure(evaluate, args)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = args.precision == "tf32"
    for shape in args.shapes:
        for name, loss in variants(args).items():
            entry = {"shape": shape, "variant": name, "torch": torch.__version__}
            try:
                for what, (seconds, memory) in run(shape, loss, args).items():
                    print(json.dumps(entry | {"pass": what, "seconds": seconds, "memory": memory}), flush=True)
            except Exception as error:  # memory that runs out, shapes that a variant refuses
                print(json.dumps(entry | {"error": str(error)[:200]}), flush=True)
            if args.device != "cpu":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
