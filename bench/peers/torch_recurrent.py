#!/usr/bin/env python3
"""Forward and backward of one recurrent layer in PyTorch (cuDNN on a GPU), by shape and variant.

  torch_recurrent.py --cell lstm --shapes 20,70,1150 20,35,650 [--pad] [--repeats 30]

A shape is B,T,H; the input is H wide; forward includes the input projection, backward all gradients: of the input,
of both matrices and of the biases. Variants: eager and, on a GPU, a captured CUDA graph, in fp16, bf16, TF32 and
fp32. --pad also measures B rounded up to 8 and H to 128, where cuDNN has faster kernels. Inputs are random. Prints
one JSON object per shape and variant: medians in microseconds, between device events on a GPU.
"""
import argparse
import json
import statistics
import sys
import time

import torch
from torch import nn

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "tf32": torch.float32, "fp32": torch.float32}
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "tanh": nn.RNN}


class Timer:
    """The median time of a call, in microseconds."""

    def __init__(self, device, repeats):
        self.device, self.repeats = device, repeats

    def once(self, body):
        if self.device == "cpu":
            start = time.perf_counter()
            body()
            return (time.perf_counter() - start) * 1e6
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        body()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) * 1e3

    def __call__(self, body):
        for _ in range(5):
            body()
        return statistics.median(self.once(body) for _ in range(self.repeats))


class Layer:
    """Forward alone, and forward with backward, of one layer on fixed inputs."""

    def __init__(self, cell, B, T, H, dtype, device):
        self.rnn = CELLS[cell](H, H).to(device, dtype)
        self.x = torch.randn(T, B, H, device=device, dtype=dtype).requires_grad_()
        self.dy = torch.randn(T, B, H, device=device, dtype=dtype)

    def forward(self):
        return self.rnn(self.x)[0]

    def both(self):
        self.x.grad = None
        self.rnn.zero_grad(set_to_none=True)
        self.forward().backward(self.dy)


def captured(body):
    """The same as a replay of a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            body()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    return graph.replay


def measure(args, shape, precision, graph):
    B, T, H = shape
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
        backend.allow_tf32 = precision == "tf32"
    layer = Layer(args.cell, B, T, H, PRECISIONS[precision], args.device)
    timer = Timer(args.device, args.repeats)
    wrap = captured if graph else (lambda body: body)
    forward = timer(wrap(layer.forward))
    both = timer(wrap(layer.both))
    return {"cell": args.cell, "B": B, "T": T, "H": H, "precision": precision,
            "variant": "graph" if graph else "eager", "forward_us": forward, "backward_us": both - forward}


def padded(shape):
    B, T, H = shape
    return ((B + 7) // 8 * 8, T, (H + 127) // 128 * 128)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", choices=sorted(CELLS), default="lstm")
    parser.add_argument("--shapes", nargs="+", required=True, metavar="B,T,H")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--pad", action="store_true")
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch_recurrent: PyTorch finds no CUDA device; use --device cpu")
    torch.manual_seed(1)
    on_cuda = args.device == "cuda"
    name = torch.cuda.get_device_name() if on_cuda else "CPU"
    print(json.dumps({"device": name, "torch": torch.__version__,
                      "cudnn": torch.backends.cudnn.version() if on_cuda else None}), flush=True)
    for text in args.shapes:
        shape = tuple(int(word) for word in text.split(","))
        shapes = [shape] + ([padded(shape)] if args.pad and padded(shape) != shape else [])
        for tried in shapes:
            for precision in PRECISIONS if on_cuda else ["fp32"]:
                for graph in (False, True) if on_cuda else (False,):
                    figures = measure(args, tried, precision, graph)
                    if tried != shape:
                        figures["padded_from"] = text
                    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
