"""Writes torch_lm_*.txt: ten training steps of tiny language models in float64, by PyTorch.

usage: python make_torch_lm.py FOLDER      (needs torch; the files say which version made them)

A file holds, one tensor a line, the gradient of every parameter at step 1 and its value after step 10.
Weights start from a formula and tokens follow one, so that the test needs no other input.
"""
import math
import sys

import torch

V, E, H, L, T, B, STEPS = 7, 3, 4, 2, 5, 3, 10


class NormedRnn(torch.nn.Module):
    """Ba, Kiros & Hinton 2016, supplementary material, with PyTorch's order of gates: LN of W x, of R h and,
    in an LSTM, of c before its tanh; the LN of a GRU's n is apart from that of r and z."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.gates = cell, {"lstm": 4, "gru": 3, "tanh": 1}[cell]
        for l in range(L):
            shapes = {"weight_ih": (self.gates * H, H if l else E), "weight_hh": (self.gates * H, H)}
            shapes.update({name: (self.gates * H,) for name in ("bias_ih", "bias_hh", "gain_ih", "gain_hh")})
            if cell == "lstm":
                shapes.update(gain_c=(H,), bias_c=(H,))
            for name, shape in shapes.items():
                self.register_parameter(f"{name}_l{l}", torch.nn.Parameter(torch.empty(shape)))

    def norm(self, z, gain, bias):
        parts = [2 * H, H] if self.cell == "gru" else [self.gates * H]
        normal = [torch.nn.functional.layer_norm(p, p.shape[-1:], eps=1e-5) for p in z.split(parts, -1)]
        return torch.cat(normal, -1) * gain + bias

    def forward(self, x, state):
        if state is None:
            state = tuple(torch.zeros(L, B, H, dtype=x.dtype) for _ in range(2))
        last = []
        for l in range(L):
            p = {name: getattr(self, f"{name}_l{l}") for name in
                 ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "gain_ih", "gain_hh")}
            h, c, out = state[0][l], state[1][l], []
            for x_t in x:
                a = self.norm(x_t @ p["weight_ih"].T, p["gain_ih"], p["bias_ih"]).split(H, -1)
                n = self.norm(h @ p["weight_hh"].T, p["gain_hh"], p["bias_hh"]).split(H, -1)
                if self.cell == "lstm":
                    i, f, g, o = (u + v for u, v in zip(a, n))
                    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                    normal = torch.nn.functional.layer_norm(c, (H,), eps=1e-5)
                    h = o.sigmoid() * (normal * getattr(self, f"gain_c_l{l}") + getattr(self, f"bias_c_l{l}")).tanh()
                elif self.cell == "gru":
                    r, z = (a[0] + n[0]).sigmoid(), (a[1] + n[1]).sigmoid()
                    h = (1 - z) * (a[2] + r * n[2]).tanh() + z * h
                else:
                    h = (a[0] + n[0]).tanh()
                out.append(h)
            x = torch.stack(out)
            last.append((h, c))
        return x, tuple(torch.stack(s) for s in zip(*last))


class Lm(torch.nn.Module):
    def __init__(self, cell, layer_norm):
        super().__init__()
        self.encoder = torch.nn.Embedding(V, E)
        if layer_norm:
            self.rnn = NormedRnn(cell)
        elif cell in ("tanh", "relu"):
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


def run(path, cell, loss_kind, optimizer, lr, clip, layer_norm=False):
    model = Lm(cell, layer_norm).double()
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
for cell in ("lstm", "gru", "tanh"):
    run(folder + f"/torch_lm_{cell}_layer_norm.txt", cell, "mean", "sgd", 0.5, 1.0, layer_norm=True)
