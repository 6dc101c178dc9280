#!/usr/bin/env python3
"""PyTorch's output layer with its loss: F.linear and F.cross_entropy, forward and backward, and forward alone.

  torch_softmax.py [--shapes 700,200,219000 ..] [--adaptive 700,200,33278 ..] [--device cpu] [--precision fp32]
                   [--threads 2] [--compile]

A shape is N,D,V: tokens, width, words. Variants: eager, and in bf16 with logits widened to f32 as well; graph, a
captured CUDA graph; compiled (--compile); chunked, PyTorch's own linear_cross_entropy where this version can cut it;
liger, where Liger's kernels are installed and the device is a GPU; adaptive (--adaptive), AdaptiveLogSoftmaxWithLoss
with clusters from V/30 and V/6 on, targets by Zipf's law. bf16 operands come from f32 weights by autocast's rule: the
casts are not timed, the gradient of the weights is. One JSON object per line: shape, variant, pass, seconds (the
median of the repetitions, between device events on a GPU), and on CUDA the peak memory that the pass allocated.
"""
import argparse
import json
import math
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

from graphs import captured, own_generator


def plain(x, W, b, target):
    return F.cross_entropy(F.linear(x, W, b), target)


def widened(x, W, b, target):
    return F.cross_entropy(F.linear(x, W, b).float(), target)


def variants(args):
    """name -> (loss, whether as a graph)"""
    found = {"eager": (plain, False)}
    if args.precision == "bf16":
        found["eager_f32_logits"] = widened, False
    if args.compile:
        torch.compiler.reset()  # or the second shape would be compiled for any shape
        found["compiled"] = torch.compile(plain, dynamic=False), False
    if hasattr(nn, "LinearCrossEntropyOptions"):  # without it the whole of the logits is formed
        options = nn.LinearCrossEntropyOptions()
        found["chunked"] = (lambda x, W, b, target: F.linear_cross_entropy(x, W, target, linear_bias=b,
                                                                          options=options)), False
    if args.device != "cpu":
        try:
            from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
            loss = LigerFusedLinearCrossEntropyLoss()
            found["liger"] = (lambda x, W, b, target: loss(W, x, target, b)), False
        except ImportError:
            pass
    if args.device != "cpu":
        found["graph"] = plain, True
    return found


def seconds_of(step, args):
    if args.device == "cpu":
        start = time.perf_counter()
        step()
        return time.perf_counter() - start
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    calls = args.calls
    first.record()
    for _ in range(calls):
        step()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) * 1e-3 / calls


def measure(step, graph, args, clear):
    """The median time of a step, and the most memory that one had allocated beyond what stood before, gradients
    included, which clear() frees."""
    memory = None
    step()  # libraries set themselves up, a compiler compiles
    if args.device != "cpu":
        clear()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        memory = torch.cuda.max_memory_allocated() - before
        if graph:
            step = captured(step)
    for _ in range(2):
        step()
    return statistics.median(seconds_of(step, args) for _ in range(args.repetitions)), memory


def passes(leaves, loss, graph, args):
    def clear():
        for tensor in leaves:
            tensor.grad = None

    def train():
        clear()
        loss().backward()

    def evaluate():
        with torch.no_grad():
            loss()

    return {"train": measure(train, graph, args, clear), "evaluate": measure(evaluate, graph, args, clear)}


def inputs(shape, args):
    N, D, V = map(int, shape.split(","))
    random = own_generator(args.device)
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32

    def make(*size):
        return torch.empty(*size, device=args.device).uniform_(-0.1, 0.1, generator=random).to(dtype).requires_grad_()

    return N, D, V, dtype, random, make


def run(shape, loss, graph, args):
    N, D, V, _, random, make = inputs(shape, args)
    x, W, b = make(N, D), make(V, D), make(V)
    target = torch.randint(V, (N,), device=args.device, generator=random)
    return passes((x, W, b), lambda: loss(x, W, b, target), graph, args)


def run_adaptive(shape, args):
    N, D, V, dtype, random, make = inputs(shape, args)
    x = make(N, D)
    layer = nn.AdaptiveLogSoftmaxWithLoss(D, V, [V // 30, V // 6]).to(args.device, dtype)
    share = torch.rand(N, device=args.device, generator=random)
    target = torch.exp(share * math.log(V)).sub_(1).long().clamp_(max=V - 1)
    return passes((x, *layer.parameters()), lambda: layer(x, target).loss, False, args)


def report(entry, work, args):
    try:
        for what, (seconds, memory) in work().items():
            print(json.dumps(entry | {"pass": what, "seconds": seconds, "memory": memory}), flush=True)
    except Exception as error:  # memory that runs out, shapes that a variant refuses
        print(json.dumps(entry | {"error": str(error)[:200]}), flush=True)
    if args.device != "cpu":
        torch.cuda.empty_cache()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="*", default=[])
    parser.add_argument("--adaptive", nargs="*", default=[])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--calls", type=int, default=4, help="between two events of a GPU")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = args.precision == "tf32"
    entry = {"device": args.device, "torch": torch.__version__}
    for shape in args.adaptive:
        report(entry | {"shape": shape, "variant": "adaptive"}, lambda: run_adaptive(shape, args), args)
    for graphs in (False, True):  # those last, or one that fails could spoil what comes after it
        for shape in args.shapes:
            for name, (loss, graph) in variants(args).items():
                if graph == graphs:
                    report(entry | {"shape": shape, "variant": name}, lambda: run(shape, loss, graph, args), args)


if __name__ == "__main__":
    main()
