"""Writes torch_dynamic_*.txt: dynamic evaluation of tiny language models in float64, by PyTorch.

usage: python make_torch_dynamic.py FOLDER      (needs torch; the files say which version made them)

A file holds, one tensor a line, the RMS of the training segments' gradients, the loss of every token of
eleven segments (the last one is short), and every parameter after them. Weights start from a formula and
tokens follow one, so that the test needs no other input.
"""
import math
import sys

import torch

V, E, H, L, T, LANES, CHUNKS, EOS = 7, 4, 4, 2, 5, 3, 6, 0
LR, DECAY, EPS, TOKENS = 0.01, 0.3, 1e-3, 52


class Lm(torch.nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.encoder = torch.nn.Embedding(V, E)
        self.rnn = torch.nn.LSTM(E, H, L)
        self.decoder = torch.nn.Linear(H, V)
        if tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, x, state):
        h, state = self.rnn(self.encoder(x), state)
        return self.decoder(h), state


def initial(name, n):
    k = sum(ord(c) for c in name)
    return [0.5 * math.sin(0.7 * i + 0.1 * k) for i in range(n)]


def token(n):
    return (n * n + 3 * n) // 2 % V


def losses(model, x, y, state):
    logits, state = model(x, state)
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, V), y.reshape(-1), reduction="none")
    return loss, tuple(s.detach() for s in state)


def run(path, tied):
    model = Lm(tied).double()
    named = list(model.named_parameters())
    with torch.no_grad():
        for name, p in named:
            p.copy_(torch.tensor(initial(name, p.numel()), dtype=torch.float64).view_as(p))
    lines = []

    squares = [torch.zeros_like(p) for _, p in named]
    state = None
    for k in range(CHUNKS):
        text = torch.tensor([[token(31 * b + k * T + t) for b in range(LANES)] for t in range(T + 1)])
        loss, state = losses(model, text[:-1], text[1:], state)
        model.zero_grad()
        loss.mean().backward()
        for s, (_, p) in zip(squares, named):
            s += p.grad ** 2
    rms = [(s / CHUNKS).sqrt() for s in squares]
    mean = sum(r.mean() for r in rms) / len(rms)
    for r, (name, _) in zip(rms, named):
        lines.append(("rms " + name, r))

    trained = [p.detach().clone() for _, p in named]
    text = [EOS] + [token(5 * n + 2) if n % 3 else token(n) for n in range(TOKENS)]
    state, scores = None, []
    for first in range(0, TOKENS, T):
        x = torch.tensor(text[first:min(first + T, TOKENS)]).view(-1, 1)
        y = torch.tensor(text[first + 1:min(first + T, TOKENS) + 1])
        loss, state = losses(model, x, y, state)
        scores += loss.tolist()
        model.zero_grad()
        (loss.sum() / T).backward()
        with torch.no_grad():
            for (_, p), r, p0 in zip(named, rms, trained):
                relative = torch.clamp(r / mean, max=1 / DECAY)
                p += DECAY * relative * (p0 - p) - LR * p.grad / (r + EPS)
    lines.append(("nats text", torch.tensor(scores, dtype=torch.float64)))
    for name, p in named:
        lines.append(("value " + name, p))
    with open(path, "w") as out:
        out.write(f"# make_torch_dynamic.py, torch {torch.__version__}, float64\n")
        for what, tensor in lines:
            out.write(what + " " + " ".join("%.17g" % x for x in tensor.detach().reshape(-1).tolist()) + "\n")


folder = sys.argv[1]
run(folder + "/torch_dynamic_plain.txt", False)
run(folder + "/torch_dynamic_tied.txt", True)
