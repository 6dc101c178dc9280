"""Writes torch_awd_*.txt: ten training steps of tiny regularised language models in float64, by PyTorch.

usage: python make_torch_awd.py FOLDER      (needs torch; the files say which version made them)

The models are written from the equations of Merity, Keskar & Socher 2018 (weight drop, locked and embedding
dropout, tied weights over layers of unequal width), Merity, McCann & Socher 2017 (activation penalties) and
Yang et al. 2018 (mixture of softmaxes); gradients are autograd's, the update is torch.optim.SGD's, and with
nonmono torch.optim.ASGD's (t0 = 0, lambd = 0) from the step on whose validation triggers it. Masks are drawn
by Philox4x32-10 as Salmon et al. 2011 describe it, keyed by seed, step, place and element.
"""
import math
import sys

import torch

V, B, T, STEPS, SEED = 7, 3, 5, 10, 3
F64 = torch.float64
torch.set_default_dtype(F64)  # ASGD keeps its rate and share as tensors of this type


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


class Masks:
    """The masks of one step; places are numbered in the order in which the model meets them."""

    def __init__(self, step):
        self.step, self.place = step, 0

    def draw(self, rows, row_words, columns, p):
        """Mask [rows, columns] of 0 and 1/(1-p), where a row begins `row_words` words after the last."""
        if p == 0:
            return torch.ones(rows, columns, dtype=F64)
        place, self.place = self.place, self.place + 1
        out = torch.zeros(rows, columns, dtype=F64)
        for r in range(rows):
            for c in range(columns):
                e = r * row_words + c
                word = philox([e // 4, 0, self.step, place], [SEED, 0])[e % 4]
                out[r, c] = 1 / (1 - p) if word >= int(p * 2 ** 32 + 0.5) else 0
        return out

    def locked(self, lanes, width, p):
        return self.draw(lanes, width, width, p)

    def weight(self, rows, columns, p):
        return self.draw(rows, (columns + 3) // 4 * 4, columns, p)

    def words(self, p):
        return self.draw(1, V, V, p).view(V, 1)


def shapes(s):
    yield "encoder.weight", (V, s["E"])
    widths = [s["H"]] * (s["L"] - 1) + [s["H_last"]]
    for layer, H in enumerate(widths):
        inputs = s["E"] if layer == 0 else s["H"]
        for name, shape in (("weight_ih", (4 * H, inputs)), ("weight_hh", (4 * H, H)),
                            ("bias_ih", (4 * H,)), ("bias_hh", (4 * H,))):
            yield f"rnns.{layer}.{name}_l0", shape
    if s["K"]:
        yield "prior.weight", (s["K"], s["H_last"])
        yield "latent.0.weight", (s["K"] * s["E"], s["H_last"])
        yield "latent.0.bias", (s["K"] * s["E"],)
    yield "decoder.bias", (V,)


def lstm(w, R, x, h, c):
    """One layer over x [T,B,I]; R is given, masked or not."""
    outputs = []
    for x_t in x:
        z = x_t @ w["weight_ih"].T + w["bias_ih"] + h @ R.T + w["bias_hh"]
        i, f, g, o = z.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), h, c


def tokens(first):
    ids = [[(k * k + 3 * k) // 2 % V for k in (31 * b + first + t for b in range(B))] for t in range(T + 1)]
    return torch.tensor(ids)


def objective(p, s, masks, tokens, state):
    E = p["encoder.weight"]
    x = (masks.words(s["dropout_embedding"]) * E)[tokens[:-1]]
    y = x * masks.locked(B, s["E"], s["dropout_input"])
    for layer in range(s["L"]):
        if layer > 0:
            y = y * masks.locked(B, s["H"], s["dropout_hidden"])
        w = {k: p[f"rnns.{layer}.{k}_l0"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        R = masks.weight(*w["weight_hh"].shape, s["weight_drop"]) * w["weight_hh"]
        y, h, c = lstm(w, R, y, *state[layer])
        state[layer] = (h.detach(), c.detach())
    d = y * masks.locked(B, s["H_last"], s["dropout_output"])
    if s["K"]:
        latent = torch.tanh(d @ p["latent.0.weight"].T + p["latent.0.bias"])
        latent = latent * masks.locked(B, s["K"] * s["E"], s["dropout_latent"])
        logits = latent.view(T, B, s["K"], s["E"]) @ E.T + p["decoder.bias"]
        prior = torch.softmax(d @ p["prior.weight"].T, -1)
        log_p = (prior.unsqueeze(-1) * torch.softmax(logits, -1)).sum(2).log()
    else:
        log_p = torch.log_softmax(d @ E.T + p["decoder.bias"], -1)
    nll = -log_p.gather(2, tokens[1:].unsqueeze(-1))
    penalty = s["ar"] * d.pow(2).mean() + s["tar"] * (y[1:] - y[:-1]).pow(2).mean()
    return nll.sum(), nll.mean() + penalty


def run(path, s):
    p = {}
    for name, shape in shapes(s):
        k = sum(ord(ch) for ch in name)
        values = [0.5 * math.sin(0.7 * i + 0.1 * k) for i in range(math.prod(shape))]
        p[name] = torch.tensor(values, dtype=F64).view(shape).requires_grad_()
    opt = torch.optim.SGD(list(p.values()), lr=s["lr"], weight_decay=s["weight_decay"])
    widths = [s["H"]] * (s["L"] - 1) + [s["H_last"]]

    def zeros():
        return [(torch.zeros(B, H, dtype=F64), torch.zeros(B, H, dtype=F64)) for H in widths]

    state, lines, clipped, history = zeros(), [], 0, []
    noiseless = {k: 0 if k.startswith("dropout") or k == "weight_drop" else v for k, v in s.items()}
    for step in range(STEPS):
        opt.zero_grad()
        total, loss = objective(p, s, Masks(step), tokens(step * T), state)
        loss.backward()
        if step == 0:
            lines += [("gradient " + name, t.grad.clone()) for name, t in p.items()]
        clipped += float(torch.nn.utils.clip_grad_norm_(list(p.values()), s["clip"])) > s["clip"]
        opt.step()
        lines.append((f"loss {step}", total.detach().view(1)))
        if "nonmono" not in s:
            continue
        averaging = isinstance(opt, torch.optim.ASGD)
        shown = {name: opt.state[t]["ax"] if averaging else t.detach() for name, t in p.items()}
        valid, _ = objective(shown, noiseless, Masks(0), tokens(1000), zeros())
        lines.append((f"valid {step}", valid.view(1)))
        if not averaging and len(history) > s["nonmono"] and valid > min(history[:-s["nonmono"]]):
            opt = torch.optim.ASGD(list(p.values()), lr=s["lr"], t0=0, lambd=0, weight_decay=s["weight_decay"])
            lines.append((f"trigger {step}", torch.ones(1)))
            assert step + 4 < STEPS, "too few steps are left for a mean"
        history.append(valid)
    assert 0 < clipped, "no step was clipped"
    if "nonmono" in s:
        lines += [("mean " + name, opt.state[t]["ax"]) for name, t in p.items()]
    lines += [("value " + name, t) for name, t in p.items()]
    with open(path, "w") as out:
        out.write(f"# make_torch_awd.py, torch {torch.__version__}, float64\n")
        out.write(" ".join(f"{k} {v}" for k, v in s.items()) + "\n")
        for what, tensor in lines:
            out.write(what + " " + " ".join("%.17g" % x for x in tensor.detach().reshape(-1).tolist()) + "\n")


common = dict(L=3, ar=2.0, tar=1.0, lr=3.0, clip=0.25, weight_decay=1e-3, dropout_embedding=0.2,
              dropout_input=0.4, dropout_hidden=0.25, dropout_output=0.3, weight_drop=0.5, dropout_latent=0.29)
folder = sys.argv[1]
run(folder + "/torch_awd_tied.txt", dict(common, E=3, H=5, H_last=3, K=0))
run(folder + "/torch_awd_mos.txt", dict(common, E=3, H=5, H_last=4, K=3))
run(folder + "/torch_awd_asgd.txt", dict(common, E=3, H=5, H_last=3, K=0, lr=8.0, nonmono=2))
