"""Writes torch_adaptive.txt: torch.nn.AdaptiveLogSoftmaxWithLoss in float64, with gradients.

usage: python make_torch_adaptive.py FOLDER      (needs torch; the file says which version made it)

One tensor a line: the loss of every row, all log-probabilities, and the gradients of x and every parameter of
sum over n of 0.1 (n + 1) loss_n. Parameters and x start from the formula of make_torch_lm.py.
"""
import math
import sys

import torch

N, D, V, CUTOFFS, DIV = 9, 8, 23, [5, 12], 2.0


def initial(name, n):
    k = sum(ord(c) for c in name)
    return torch.tensor([0.5 * math.sin(0.7 * i + 0.1 * k) for i in range(n)], dtype=torch.float64)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = torch.nn.AdaptiveLogSoftmaxWithLoss(D, V, CUTOFFS, div_value=DIV, head_bias=True)


model = Model().double()
with torch.no_grad():
    for name, p in model.named_parameters():
        p.copy_(initial(name, p.numel()).view_as(p))
x = initial("x", N * D).view(N, D).requires_grad_()
target = torch.tensor([(n * n + 3 * n) // 2 % V for n in range(N)])
loss = -model.decoder(x, target).output
(0.1 * torch.arange(1, N + 1, dtype=torch.float64) * loss).sum().backward()
lines = [("loss rows", loss), ("log_p rows", model.decoder.log_prob(x)), ("gradient x", x.grad)]
lines += [("gradient " + name, p.grad) for name, p in model.named_parameters()]
with open(sys.argv[1] + "/torch_adaptive.txt", "w") as out:
    out.write(f"# make_torch_adaptive.py, torch {torch.__version__}, float64\n")
    for what, tensor in lines:
        out.write(what + " " + " ".join("%.17g" % v for v in tensor.detach().reshape(-1).tolist()) + "\n")
