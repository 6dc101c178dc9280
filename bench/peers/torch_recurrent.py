#!/usr/bin/env python3
"""Forward and backward of recurrent layers in PyTorch (cuDNN on a GPU), by shape and variant.

  torch_recurrent.py --cell lstm [--shapes 20,70,1150 20,35,650] [--precisions fp16 bf16 ..] [--pad] [--stacks]
                     [--repeats 15] [--quick]

A shape is B,T,H; the input is H wide; forward includes the input projection, backward all gradients: of the input,
of the matrices and of the biases. --stacks: three layers 1150-1150-1150-400; one layer whose recurrent matrix is
masked anew in each forward pass, written into cuDNN's own buffer; both directions of a layer 512 wide whose lanes
have lengths from 5 to 60, packed outside of what is timed. Variants: eager and then, on a GPU, a captured CUDA graph,
in all precisions; on a CPU fp32. --pad also measures B rounded up to 8 and widths to 128, where cuDNN has faster kernels.
PyTorch picks cuDNN's algorithm, persistent or not, by itself; it has no call that asks for one. Inputs are random.
Prints one JSON object per shape and variant: medians in microseconds, between device events around several calls on
a GPU.
"""
import argparse
import json
import statistics
import sys
import time

import torch
from torch import nn

from graphs import captured, own_generator

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "tf32": torch.float32, "fp32": torch.float32}
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "tanh": nn.RNN}


class Timer:
    """The median time of a call, in microseconds: up to 0.3 s of calls, several between two events."""

    def __init__(self, device, repeats):
        self.device, self.repeats = device, repeats

    def once(self, body, calls):
        if self.device == "cpu":
            start = time.perf_counter()
            for _ in range(calls):
                body()
            return (time.perf_counter() - start) * 1e6 / calls
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        for _ in range(calls):
            body()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) * 1e3 / calls

    def __call__(self, body):
        for _ in range(3):
            us = self.once(body, 1)
        calls = max(1, min(10, int(3e4 / us)))
        repeats = max(3, min(self.repeats, int(3e5 / us / calls)))
        return statistics.median(self.once(body, calls) for _ in range(repeats))


class Layer:
    """Forward alone, and forward with backward, of one layer on fixed inputs."""

    def __init__(self, cell, B, T, widths, dtype, device, dropped=False, lengths=None):
        def one(inputs, outputs):
            return CELLS[cell](inputs, outputs, bidirectional=lengths is not None)

        self.rnns = nn.ModuleList(one(i, h) for i, h in zip(widths, widths[1:])).to(device, dtype)
        random = own_generator(device)
        self.x = torch.randn(T, B, widths[0], device=device, dtype=dtype, generator=random).requires_grad_()
        self.raw = self.rnns[0].weight_hh_l0.detach().clone() if dropped else None
        self.dropped, self.lengths = dropped, lengths
        if lengths is not None:
            packed = nn.utils.rnn.pack_padded_sequence(self.x.detach(), lengths)
            self.x = packed.data.requires_grad_()
            self.packed = nn.utils.rnn.PackedSequence(self.x, packed.batch_sizes)
        with torch.no_grad():
            y = self.forward()
            self.dy = torch.randn(y.shape, device=device, dtype=dtype, generator=random)

    def forward(self):
        if self.dropped:
            with torch.no_grad():
                self.mask = torch.empty_like(self.raw).bernoulli_(0.5).mul_(2)
                torch.mul(self.raw, self.mask, out=self.rnns[0].weight_hh_l0.data)
        if self.lengths is not None:
            return self.rnns[0](self.packed)[0].data
        y = self.x
        for rnn in self.rnns:
            y = rnn(y)[0]
        return y

    def both(self):
        self.x.grad = None
        self.rnns.zero_grad(set_to_none=True)
        self.forward().backward(self.dy)
        if self.dropped:
            self.rnns[0].weight_hh_l0.grad.mul_(self.mask)


def forward_of(layer):
    """Forward as training runs it, the graph for backward included; its result is dropped."""
    def body():
        layer.forward()
    return body


def measure(args, job, precision, graph):
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
        backend.allow_tf32 = precision == "tf32"
    layer = Layer(args.cell, job["B"], job["T"], job["widths"], PRECISIONS[precision], args.device,
                  job["kind"] == "dropped", job.get("lengths"))
    timer = Timer(args.device, args.repeats)
    wrap = captured if graph else (lambda body: body)
    forward = timer(wrap(forward_of(layer)))
    both = timer(wrap(layer.both))
    return {"forward_us": forward, "backward_us": both - forward}


def padded(B, T, H):
    return (B + 7) // 8 * 8, T, (H + 127) // 128 * 128


def jobs(args):
    for text in args.shapes:
        shape = tuple(int(word) for word in text.split(","))
        for B, T, H in [shape] + [padded(*shape)] * (args.pad and padded(*shape) != shape):
            yield {"kind": "layer", "B": B, "T": T, "H": H, "widths": [H, H]} | (
                {} if (B, T, H) == shape else {"padded_from": text})
    if not args.stacks:
        return
    # Small widths where unroll_bench --quick has them.
    B, T, H, last, wide = (3, 4, 33, 17, 16) if args.quick else (20, 70, 1150, 400, 512)
    own = B, T, H
    for B, T, H in [own] + [padded(*own)] * args.pad:
        padding = {} if (B, T, H) == own else {"padded_from": ",".join(map(str, own))}
        if padding:
            last = padded(B, T, last)[2]
        yield {"kind": "layers", "B": B, "T": T, "H": H, "widths": [H, H, H, last]} | padding
        yield {"kind": "dropped", "B": B, "T": T, "H": H, "widths": [H, H]} | padding
    B, T = (3, 9) if args.quick else (32, 60)
    lengths = torch.tensor([T - (T - 5) * b // max(B - 1, 1) for b in range(B)])
    yield {"kind": "bidirectional", "B": B, "T": T, "H": wide, "widths": [wide, wide], "lengths": lengths}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", choices=sorted(CELLS), default="lstm")
    parser.add_argument("--shapes", nargs="+", default=[], metavar="B,T,H")
    parser.add_argument("--stacks", action="store_true")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="on a GPU")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--threads", type=int, default=2, help="of a CPU")
    parser.add_argument("--pad", action="store_true")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch_recurrent: PyTorch finds no CUDA device; use --device cpu")
    if args.quick:
        args.repeats = 3
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    on_cuda = args.device == "cuda"
    name = torch.cuda.get_device_name() if on_cuda else "cpu"
    print(json.dumps({"device": name, "torch": torch.__version__,
                      "cudnn": torch.backends.cudnn.version() if on_cuda else None}), flush=True)
    for graph in (False, True) if on_cuda else (False,):
        for job in jobs(args):
            for precision in args.precisions if on_cuda else ["fp32"]:
                what = {key: job[key] for key in job if key not in ("widths", "lengths")}
                what |= {"cell": args.cell, "precision": precision, "variant": "graph" if graph else "eager"}
                try:
                    what |= measure(args, job, precision, graph)
                except Exception as error:  # memory that runs out, a variant that cannot be captured
                    what |= {"error": str(error)[:200]}
                print(json.dumps(what), flush=True)
                if on_cuda:
                    torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
