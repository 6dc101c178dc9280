#!/usr/bin/env python3
"""PyTorch's clip_grad_norm_ and optimisers on the parameters of published models.

  torch_update.py [--sizes 24M 304M 820M] [--rules sgd asgd adam] [--device cpu] [--precision fp32] [--threads 2]

Fused optimisers where PyTorch has them (SGD, Adagrad on the CPU, Adam, AdamW), else foreach ones. With
--precision bf16 a bf16 copy of every weight is made after the update, which is what a step needs that computes in
bf16 over f32 weights. On CUDA a captured graph is timed as well, and the faster of the two is printed. One JSON
object per line: rule, size, parameters, seconds (the median of the repetitions), and which variant.
"""
import argparse
import json
import statistics
import time

import torch

from graphs import captured, own_generator

CLIP, LR = 5.0, 1e-6
CALLS = 5  # between two events of a GPU


def awd_lstm():
    shapes = [(10000, 400), (10000,)]
    for fan_in, hidden in ((400, 1150), (1150, 1150), (1150, 400)):
        shapes += [(4 * hidden, fan_in), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,)]
    return shapes


def wide(vocabulary, layers):
    return [(vocabulary, 1024), (vocabulary,)] + layers * [(4096, 1024), (4096, 1024), (4096,), (4096,)]


SIZES = {"tiny": lambda: [(507, 24), (507,), (33, 24)], "24M": awd_lstm, "304M": lambda: wide(267735, 4),
         "820M": lambda: wide(793471, 1)}


def optimizer_of(rule, parameters, device, graphed):
    cuda = device != "cpu"
    capturable = {"capturable": True} if graphed else {}
    if rule == "sgd":
        return torch.optim.SGD(parameters, lr=LR, fused=True)
    if rule == "momentum":
        return torch.optim.SGD(parameters, lr=LR, momentum=0.9, fused=True)
    if rule == "asgd":
        return torch.optim.ASGD(parameters, lr=LR, t0=0, lambd=0, foreach=True, **capturable)
    if rule == "adagrad":
        return torch.optim.Adagrad(parameters, lr=LR, initial_accumulator_value=1,
                                   **({"foreach": True} if cuda else {"fused": True}))
    if rule == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=LR, foreach=True, **capturable)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[rule]
    return kind(parameters, lr=LR, fused=True, **capturable)


def measure(step, device, repetitions):
    """The median time of a step."""
    times = []
    for _ in range(repetitions):
        if device == "cpu":
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        else:
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            first.record()
            for _ in range(CALLS):
                step()
            last.record()
            last.synchronize()
            times.append(first.elapsed_time(last) * 1e-3 / CALLS)
    return statistics.median(times)


def run(rule, size, args, graphed):
    random = own_generator(args.device)
    parameters = [torch.nn.Parameter(torch.empty(shape, device=args.device).uniform_(-0.1, 0.1, generator=random))
                  for shape in SIZES[size]()]
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter).uniform_(-0.1, 0.1, generator=random)
    gradients = [parameter.grad for parameter in parameters]
    start = [gradient.clone() for gradient in gradients] if graphed else None
    shadow = [parameter.detach().bfloat16() for parameter in parameters if parameter.dim() > 1]
    matrices = [parameter.detach() for parameter in parameters if parameter.dim() > 1]
    optimizer = optimizer_of(rule, parameters, args.device, graphed)

    def step():
        torch.nn.utils.clip_grad_norm_(parameters, CLIP, foreach=True)
        optimizer.step()
        if args.precision == "bf16":
            torch._foreach_copy_(shadow, matrices)

    for _ in range(3):
        step()
    if graphed:
        torch._foreach_copy_(gradients, start)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        step = graph.replay
        step()
    return measure(step, args.device, args.repetitions), sum(parameter.numel() for parameter in parameters)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["24M"])
    parser.add_argument("--rules", nargs="+",
                        default=["sgd", "momentum", "asgd", "adagrad", "rmsprop", "adam", "adamw"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    for size in args.sizes:
        for rule in args.rules:
            variants = {}
            for graphed in (False, True) if args.device != "cpu" else (False,):
                try:
                    variants["graphed" if graphed else "eager"], parameters = run(rule, size, args, graphed)
                except Exception as error:  # an optimiser that cannot be captured, or memory that runs out
                    print(json.dumps({"rule": rule, "size": size, "graphed": graphed, "error": str(error)[:200]}),
                          flush=True)
                    if args.device != "cpu":
                        torch.cuda.empty_cache()
            if variants:
                best = min(variants, key=variants.get)
                print(json.dumps({"rule": rule, "size": size, "parameters": parameters, "seconds": variants[best],
                                  "variant": best, "torch": torch.__version__}), flush=True)


if __name__ == "__main__":
    main()
