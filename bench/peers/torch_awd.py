#!/usr/bin/env python3
"""Training of PyTorch on the job of the recipes awd-lstm, awd-lstm-mos and awd-lstm-wikitext2: its speed, or
with --epochs the validation perplexity that it comes to.

  torch_awd.py --recipe awd-lstm --text FILE [--threads 2] [--device cpu] [--steps 60] [--warmup 20]
               [--precision fp32 ..] [--variant best] [--scale 1]
  torch_awd.py --recipe awd-lstm --text FILE --valid FILE --epochs 2 [--seed 1] [--widths 200,575,200]
               [--as-unroll lengths masks] [--initial FILE.safetensors] ..

The models of Merity, Keskar & Socher 2018 and Yang et al. 2018 from their equations: nn.LSTM per layer with the
masked recurrent matrix written into its flattened buffer, locked and embedding dropout, activation penalties,
random chunk lengths with the learning rate scaled by them, one fused SGD, clipping without a read by the host.
On a GPU --variant is eager, graphed (a CUDA graph per length, all captured before the clock starts), compiled
(torch.compile of the forward pass) or best: all three in turn, the fastest counts, as it does of several
precisions. --scale divides all widths, for a quick look. Prints one JSON object. Words are counted as unroll counts
them.

With --epochs chunks, states and validation are unroll's: an epoch starts from zero states and ends where fewer
than two rows are left; the epoch that is best on ten lanes of the validation text is scored on all of it, as one
stream after <eos>, words that the training text does not have as <unk>. The mean of the weights does not begin:
that is for longer trainings than these. --as-unroll draws the lengths of chunks, the masks or both by the
counters of unroll's run of that seed; --initial writes the initial weights, for unroll train --init-from.
"""
import argparse
import ctypes
import json
import math

import torch
from torch import nn

import philox
import variants
from graphs import captured
from torch_lm import read_text

RECIPES = {
    "awd-lstm": dict(emb=400, hidden=1150, last=400, mixtures=0, batch=20, lr=30.0, p_input=0.4, p_hidden=0.25),
    "awd-lstm-mos": dict(emb=280, hidden=960, last=620, mixtures=15, batch=12, lr=20.0, p_input=0.4,
                         p_hidden=0.225),
    "awd-lstm-wikitext2": dict(emb=400, hidden=1150, last=400, mixtures=0, batch=80, lr=30.0, p_input=0.65,
                               p_hidden=0.2),
}
CHUNK, CLIP, DECAY, AR, TAR, EVAL_LANES = 70, 0.25, 1.2e-6, 2.0, 1.0, 10
P_WORDS, P_OUTPUT, P_WEIGHTS, P_LATENT = 0.1, 0.4, 0.5, 0.29


class Masks:
    """Those of one step after the other. Places are numbered in the order of the forward pass: word vectors, input,
    then each layer's matrix and its output."""

    def __init__(self, seed=None):
        self.seed = seed  # whose counters unroll draws from; None: PyTorch's generator
        self.step = 0

    def draw(self, like, shape, p, place, aligned=False):
        if self.seed is not None:
            return philox.mask(like, shape, p, self.seed, self.step, place, aligned)
        return torch.empty(shape, device=like.device, dtype=like.dtype).bernoulli_(1 - p).div_(1 - p)

    def words(self, weight):
        return self.draw(weight, (1, len(weight)), P_WORDS, 0).view(-1, 1)

    def matrix(self, raw, layer):
        return self.draw(raw, raw.shape, P_WEIGHTS, 2 + 2 * layer, aligned=True)

    def locked(self, x, p, place):
        return x * self.draw(x, x.shape[1:], p, place)


def wide(x):
    return x if x.dtype == torch.float64 else x.float()


def chunk_length(random):
    """Of the next chunk; beyond five deviations it is cut off, as in unroll."""
    base = CHUNK if torch.rand((), generator=random) < 0.95 else CHUNK / 2
    return min(max(5, int(base + 5 * torch.randn((), generator=random))), CHUNK + 25)


class Model(nn.Module):
    def __init__(self, vocabulary, recipe, masks):
        super().__init__()
        self.recipe, self.masks = recipe, masks
        emb, hidden, last, K = (recipe[k] for k in ("emb", "hidden", "last", "mixtures"))
        widths = [(emb, hidden), (hidden, hidden), (hidden, last)]
        self.encoder = nn.Embedding(vocabulary, emb)
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        self.rnns = nn.ModuleList(nn.LSTM(i, h) for i, h in widths)
        # What is trained; the LSTM's own matrix holds the masked copy of the chunk.
        self.raw = nn.ParameterList(rnn.weight_hh_l0.detach().clone() for rnn in self.rnns)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        if K:
            self.prior = nn.Linear(last, K, bias=False)
            self.latent = nn.Linear(last, K * emb)

    def trained(self):
        copies = {id(rnn.weight_hh_l0) for rnn in self.rnns}
        return [p for p in self.parameters() if id(p) not in copies]

    @torch.no_grad()
    def drop_weights(self):
        self.dropped = [self.masks.matrix(raw, layer) for layer, raw in enumerate(self.raw)]
        for rnn, raw, m in zip(self.rnns, self.raw, self.dropped):
            torch.mul(raw, m, out=rnn.weight_hh_l0.data)

    @torch.no_grad()
    def keep_weights(self):
        for rnn, raw in zip(self.rnns, self.raw):
            rnn.weight_hh_l0.data.copy_(raw)

    @torch.no_grad()
    def gather_gradients(self):
        for rnn, raw, m in zip(self.rnns, self.raw, self.dropped):
            raw.grad = rnn.weight_hh_l0.grad.mul_(m)
            rnn.weight_hh_l0.grad = None

    def forward(self, words, targets, *state):
        weight, K = self.encoder.weight, self.recipe["mixtures"]
        locked = self.masks.locked if self.training else lambda x, p, place: x
        y = nn.functional.embedding(words, weight)
        if self.training:
            y = y * self.masks.words(weight)[words]
        y = locked(y, self.recipe["p_input"], 1)
        carried = []
        for layer, rnn in enumerate(self.rnns):
            if layer:
                y = locked(y, self.recipe["p_hidden"], 1 + 2 * layer)
            y, (h, c) = rnn(y, (state[2 * layer].to(y.dtype), state[2 * layer + 1].to(y.dtype)))
            carried += [h.detach(), c.detach()]
        d = locked(y, P_OUTPUT, 1 + 2 * len(self.rnns))
        if K:
            latent = locked(torch.tanh(self.latent(d)), P_LATENT, 2 + 2 * len(self.rnns)).view(*d.shape[:2], K, -1)
            log_p = torch.log_softmax(wide(nn.functional.linear(latent, weight, self.bias)), -1)
            # Only the targets' entries are mixed.
            chosen = log_p.gather(3, targets[:, :, None, None].expand(-1, -1, K, 1)).squeeze(3)
            loss = -torch.logsumexp(chosen + torch.log_softmax(wide(self.prior(d)), -1), 2).mean()
        else:
            logits = wide(nn.functional.linear(d, weight, self.bias))
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        penalty = AR * wide(d).pow(2).mean() + TAR * wide(y[1:] - y[:-1]).pow(2).mean()
        return loss, penalty, *carried


class Trainer:
    def __init__(self, args, recipe, vocabulary, precision, graphed=False, compiled=False, masks=None):
        self.args, self.recipe, self.masks, self.precision = args, recipe, masks or Masks(), precision
        self.type = torch.float64 if precision == "fp64" else torch.float32
        self.model = Model(vocabulary, recipe, self.masks).to(args.device, self.type)
        self.forward = torch.compile(self.model, dynamic=True) if compiled else self.model
        on_gpu = args.device != "cpu"
        lr = torch.tensor(recipe["lr"], device=args.device) if on_gpu else recipe["lr"]
        self.optimizer = torch.optim.SGD(self.model.trained(), lr=lr, weight_decay=DECAY, fused=True)
        B = recipe["batch"]
        self.state = [torch.zeros(1, B, rnn.hidden_size, device=args.device, dtype=self.type)
                      for rnn in self.model.rnns for _ in range(2)]
        self.loss = torch.zeros((), device=args.device, dtype=self.type)
        self.graphs = {} if graphed else None

    def work(self, words, targets):
        """Everything but the learning rate, which is set before it."""
        self.model.drop_weights()
        with torch.autocast(torch.device(self.args.device).type,
                            variants.AUTOCAST.get(self.precision, torch.bfloat16),
                            enabled=self.precision in variants.AUTOCAST):
            loss, penalty, *carried = self.forward(words, targets, *self.state)
        scale = variants.LOSS_SCALE.get(self.precision, 1.0)
        ((loss + penalty) * scale).backward()
        self.model.gather_gradients()
        trained = self.model.trained()
        if scale != 1.0:
            torch._foreach_mul_([p.grad for p in trained], 1 / scale)
        nn.utils.clip_grad_norm_(trained, CLIP, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for old, new in zip(self.state, carried):
            old.copy_(new)
        self.loss.copy_(loss.detach())
        self.masks.step += 1

    def step(self, words, targets):
        group = self.optimizer.param_groups[0]
        rate = self.recipe["lr"] * len(words) / CHUNK
        if torch.is_tensor(group["lr"]):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
        if self.graphs is None:
            return self.work(words, targets)
        if len(words) not in self.graphs:
            inputs = words.clone(), targets.clone()
            self.graphs[len(words)] = captured(lambda: self.work(*inputs)), *inputs
        replay, static_words, static_targets = self.graphs[len(words)]
        static_words.copy_(words)
        static_targets.copy_(targets)
        replay()


@torch.no_grad()
def perplexity(model, stream, eos, lanes=1):
    """Of one stream after <eos>, every word scored once; or of so many equal parts of it, side by side."""
    model.eval()
    model.keep_weights()
    like, L = model.encoder.weight, len(stream) // lanes
    before = torch.cat((torch.tensor([eos], device=stream.device), stream[:-1]))
    words, targets = (ids[:L * lanes].view(lanes, L).t() for ids in (before, stream))
    state = [torch.zeros(1, lanes, rnn.hidden_size, device=like.device, dtype=like.dtype)
             for rnn in model.rnns for _ in range(2)]
    nats = 0.0
    for at in range(0, L, 500):
        part = slice(at, at + 500)
        loss, _, *state = model(words[part], targets[part], *state)
        nats += loss.item() * len(words[part])
    model.train()
    return math.exp(nats / L)


def write_weights(model, path):
    """As a safetensors file, under the names that the modules have without weight drop."""
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith(("raw.", "bias"))}
    weights["decoder.bias"] = model.bias
    if "latent.weight" in weights:
        weights.update({f"latent.0.{end}": weights.pop(f"latent.{end}") for end in ("weight", "bias")})
    header, end = {}, 0
    for name, value in weights.items():
        size = 4 * value.numel()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for value in weights.values():
            value = value.detach().float().cpu().contiguous()
            out.write(ctypes.string_at(value.data_ptr(), 4 * value.numel()))


def train(args, recipe, lanes, valid, vocabulary, eos):
    torch.manual_seed(args.seed)
    random = torch.Generator().manual_seed(args.seed)
    masks = Masks(args.seed if "masks" in args.as_unroll else None)
    trainer = Trainer(args, recipe, vocabulary, args.precision[0], masks=masks)
    if args.initial:
        write_weights(trainer.model, args.initial)
    found, best = [], None
    for epoch in range(args.epochs):
        for state in trainer.state:
            state.zero_()
        at, last, k = 0, len(lanes) - 1, 0
        while at == 0 or last - at >= 2:
            drawn = philox.chunk_length(CHUNK, args.seed, epoch, k) if "lengths" in args.as_unroll else \
                chunk_length(random)
            T = min(drawn, last - at)
            trainer.step(lanes[at:at + T], lanes[at + 1:at + T + 1])
            at += T
            k += 1
        found.append(perplexity(trainer.model, valid, eos, EVAL_LANES))
        if found[-1] == min(found):
            best = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.model.load_state_dict(best)
    return {"valid_ppl": perplexity(trainer.model, valid, eos), "epochs": found}


def measure(args, recipe, lanes, vocabulary, lengths, variant, precision):
    torch.manual_seed(1)
    trainer = Trainer(args, recipe, vocabulary, precision, variant == "graphed", variant == "compiled")
    if variant == "graphed":
        for T in sorted(set(lengths)):
            trainer.step(lanes[:T], lanes[1:T + 1])
    found = variants.speed(args, trainer.step, lanes, lengths)
    return {**found, "loss": trainer.loss.item()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=RECIPES, required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    variants.add_options(parser, "fp64")
    parser.add_argument("--steps", type=int, default=60, help="steps that are timed")
    parser.add_argument("--warmup", type=int, default=20, help="steps before those")
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--widths", help="of word vectors, recurrent layers and the last of them: 200,575,200")
    parser.add_argument("--lr", type=float, help="learning rate instead of the recipe's")
    parser.add_argument("--valid", help="with --epochs: the validation text")
    parser.add_argument("--epochs", type=int, default=0, help="train so long, and print the best perplexity")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--as-unroll", nargs="*", choices=("lengths", "masks"), default=[],
                        help="with --epochs: what is drawn by unroll's counters")
    parser.add_argument("--initial", help="with --epochs: file for the initial weights")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = dict(RECIPES[args.recipe])
    for width in ("emb", "hidden", "last"):
        recipe[width] //= args.scale
    if args.widths:
        recipe.update(zip(("emb", "hidden", "last"), map(int, args.widths.split(","))))
    if args.lr:
        recipe["lr"] = args.lr

    stream, ids = read_text(args.text)
    vocabulary, B = len(ids), recipe["batch"]
    lanes = stream[:len(stream) // B * B].view(B, -1).t().contiguous().to(args.device)
    if args.epochs:
        ids.setdefault("<unk>", vocabulary)
        vocabulary = len(ids)
        with open(args.valid, encoding="utf-8") as lines:
            words = [word for line in lines for word in line.split() + ["<eos>"]]
        valid = torch.tensor([ids[word] if word in ids else ids["<unk>"] for word in words], device=args.device)
        return print(json.dumps(train(args, recipe, lanes, valid, vocabulary, ids["<eos>"])))
    random = torch.Generator().manual_seed(1)
    lengths = [min(chunk_length(random), len(lanes) - 1) for _ in range(args.warmup + args.steps)]
    variants.measure_all(args, vocabulary, lambda *how: measure(args, recipe, lanes, vocabulary, lengths, *how))


if __name__ == "__main__":
    main()
