#!/usr/bin/env python3
"""Writes torch_optim.h: five steps of each optimiser of torch.optim in f64, with clipping by norm.

  make_torch_optim.py > torch_optim.h

Weight i starts at cos(i), its gradient in step k = 1, 2, .. is sin(i + 2 k); torch.optim.ASGD also gives the mean.
"""
import math

import torch

torch.set_default_dtype(torch.float64)  # ASGD keeps its rate and share as tensors of this type
WEIGHTS, STEPS, LR, CLIP, DECAY = 5, 6, 0.1, 0.8, 0.05
RULES = {
    "sgd": lambda p: torch.optim.SGD(p, lr=LR, weight_decay=DECAY),
    "momentum": lambda p: torch.optim.SGD(p, lr=LR, weight_decay=DECAY, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=LR, weight_decay=DECAY, momentum=0.9, nesterov=True),
    "asgd": lambda p: torch.optim.ASGD(p, lr=LR, weight_decay=DECAY, t0=0, lambd=0),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=LR, weight_decay=DECAY, initial_accumulator_value=0.25, eps=1e-3),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=LR, weight_decay=DECAY, alpha=0.95, eps=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=LR, weight_decay=DECAY, betas=(0.8, 0.95), eps=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=LR, weight_decay=DECAY, betas=(0.8, 0.95), eps=1e-3),
}


def run(make, mean):
    """The weights, or their mean, after each step."""
    weights = torch.nn.Parameter(torch.tensor([math.cos(i) for i in range(WEIGHTS)], dtype=torch.float64))
    optimizer = make([weights])
    rows = []
    for k in range(1, STEPS + 1):
        weights.grad = torch.tensor([math.sin(i + 2 * k) for i in range(WEIGHTS)], dtype=torch.float64)
        torch.nn.utils.clip_grad_norm_([weights], CLIP)
        optimizer.step()
        shown = optimizer.state[weights]["ax"] if mean else weights
        rows.append("    {" + ", ".join(repr(x) for x in shown.tolist()) + "}")
    return ",\n".join(rows)


print(f"// Written by make_torch_optim.py with PyTorch {torch.__version__.split('+')[0]}.")
print("#pragma once\n\nnamespace unroll::test::torch_optim {\n")
print(f"constexpr int kWeights = {WEIGHTS}, kSteps = {STEPS};")
print(f"constexpr double kLr = {LR}, kClip = {CLIP}, kDecay = {DECAY};\n")
print("// clang-format off")
for name, make in RULES.items():
    print(f"constexpr double {name}[kSteps][kWeights] = {{\n{run(make, False)}}};")
print(f"constexpr double asgd_mean[kSteps][kWeights] = {{\n{run(RULES['asgd'], True)}}};")
print("// clang-format on\n\n}  // namespace unroll::test::torch_optim")
