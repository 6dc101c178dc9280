"""Writes torch_lm_*.txt: ten training steps of tiny language models in float64, by PyTorch.

usage: python make_torch_lm.py FOLDER      (needs torch; the files say which version made them)

A file holds, one tensor a line, the gradient of every parameter at step 1 and its value after step 10.
Weights start from a formula and tokens follow one, so that the test needs no other input.
"""
import math
import sys

import torch

V, E, H, L, T, B, STEPS = 7, 3, 4, 2, 5, 3, 10


class Lm(torch.nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.encoder = torch.nn.Embedding(V, E)
        if cell in ("tanh", "relu"):
            self.rnn = torch.nn.RNN(E, H, L, nonlinearity=cell)
        else:
            self.rnn = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](E, H, L)
        self.decoder = torch.nn.Linear(H, V)

    def forward(self, x, state):
        h, state = self.rnn(self.encoder(x), state)
        return self.decoder(h), state


def initial(name, n):
    k = sum(ord(c) for c in name)
    return [0.5 * math.sin(0.7 * i + 0.1 * k) for i in range(n)]


def token(n):
    return (n * n + 3 * n) // 2 % V


def detach(state):
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def run(path, cell, loss_kind, optimizer, lr, clip):
    model = Lm(cell).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.tensor(initial(name, p.numel()), dtype=torch.float64).view_as(p))
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    opt = make(model.parameters(), lr=lr)
    state, lines = None, []
    for step in range(STEPS):
        tokens = torch.tensor([[token(31 * b + step * T + t) for b in range(B)] for t in range(T + 1)])
        opt.zero_grad()
        logits, state = model(tokens[:-1], None if state is None else detach(state))
        total = torch.nn.functional.cross_entropy(logits.reshape(-1, V), tokens[1:].reshape(-1),
                                                  reduction="sum")
        (total / (B if loss_kind == "sum_time" else B * T)).backward()
        if step == 0:
            for name, p in model.named_parameters():
                lines.append(("gradient " + name, p.grad.clone()))
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        opt.step()
        lines.append((f"loss {step}", total.detach().view(1)))
    for name, p in model.named_parameters():
        lines.append(("value " + name, p))
    with open(path, "w") as out:
        out.write(f"# make_torch_lm.py, torch {torch.__version__}, float64\n")
        out.write(f"{cell} {loss_kind} {optimizer} {lr} {clip}\n")
        for what, tensor in lines:
            out.write(what + " " + " ".join("%.17g" % x for x in tensor.detach().reshape(-1).tolist()) + "\n")


folder = sys.argv[1]
run(folder + "/torch_lm_lstm.txt", "lstm", "sum_time", "sgd", 0.5, 5.0)
run(folder + "/torch_lm_gru.txt", "gru", "mean", "sgd", 2.0, 0.25)
run(folder + "/torch_lm_tanh.txt", "tanh", "mean", "adam", 0.05, 1.0)
run(folder + "/torch_lm_relu.txt", "relu", "sum_time", "sgd", 0.1, 5.0)
