#!/usr/bin/env python3
"""Training of PyTorch on the job of the recipes awd-lstm, awd-lstm-mos and awd-lstm-wikitext2: its speed, or
with --epochs the validation perplexity that it comes to.

  torch_awd.py --recipe awd-lstm --text FILE [--threads 2] [--device cpu] [--steps 60] [--warmup 20]
               [--precision fp32] [--variant best] [--scale 1]
  torch_awd.py --recipe awd-lstm --text FILE --valid FILE --epochs 2 [--seed 1] [--widths 200,575,200] ..

The models of Merity, Keskar & Socher 2018 and Yang et al. 2018 from their equations: nn.LSTM per layer with the
masked recurrent matrix written into its flattened buffer, locked and embedding dropout, activation penalties,
random chunk lengths with the learning rate scaled by them, one fused SGD, clipping without a read by the host.
On a GPU --variant is eager, graphed (a CUDA graph per length, all captured before the clock starts), compiled
(torch.compile of the forward pass) or best: all three in turn, the fastest counts. --scale divides all widths,
for a quick look. Prints one JSON object. Words are counted as unroll counts them.

With --epochs chunks, states and validation are unroll's: an epoch starts from zero states and ends where fewer
than two rows are left; the validation text is one stream after <eos>, every word of it scored, words that the
training text does not have as <unk>; the best epoch counts. The mean of the weights does not begin: that is for
longer trainings than these.
"""
import argparse
import json
import math
import time

import torch
from torch import nn
from torch_lm import read_text

RECIPES = {
    "awd-lstm": dict(emb=400, hidden=1150, last=400, mixtures=0, batch=20, lr=30.0, p_input=0.4, p_hidden=0.25),
    "awd-lstm-mos": dict(emb=280, hidden=960, last=620, mixtures=15, batch=12, lr=20.0, p_input=0.4,
                         p_hidden=0.225),
    "awd-lstm-wikitext2": dict(emb=400, hidden=1150, last=400, mixtures=0, batch=80, lr=30.0, p_input=0.65,
                               p_hidden=0.2),
}
CHUNK, CLIP, DECAY, AR, TAR = 70, 0.25, 1.2e-6, 2.0, 1.0
P_WORDS, P_OUTPUT, P_WEIGHTS, P_LATENT = 0.1, 0.4, 0.5, 0.29
LOSS_SCALE = 1024.0  # of fp16
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def mask(like, shape, p):
    return torch.empty(shape, device=like.device, dtype=like.dtype).bernoulli_(1 - p).div_(1 - p)


def locked(x, p):
    return x * mask(x, (1, *x.shape[1:]), p) if p else x


def chunk_length(random):
    """Of the next chunk; beyond five deviations it is cut off, as in unroll."""
    base = CHUNK if torch.rand((), generator=random) < 0.95 else CHUNK / 2
    return min(max(5, int(base + 5 * torch.randn((), generator=random))), CHUNK + 25)


class Model(nn.Module):
    def __init__(self, vocabulary, recipe):
        super().__init__()
        self.recipe = recipe
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
        self.masks = [mask(raw, raw.shape, P_WEIGHTS) for raw in self.raw]
        for rnn, raw, m in zip(self.rnns, self.raw, self.masks):
            torch.mul(raw, m, out=rnn.weight_hh_l0.data)

    @torch.no_grad()
    def keep_weights(self):
        for rnn, raw in zip(self.rnns, self.raw):
            rnn.weight_hh_l0.data.copy_(raw)

    @torch.no_grad()
    def gather_gradients(self):
        for rnn, raw, m in zip(self.rnns, self.raw, self.masks):
            raw.grad = rnn.weight_hh_l0.grad.mul_(m)
            rnn.weight_hh_l0.grad = None

    def forward(self, words, targets, *state):
        weight, K, noise = self.encoder.weight, self.recipe["mixtures"], float(self.training)
        y = nn.functional.embedding(words, weight)
        if self.training:
            y = y * mask(weight, (weight.shape[0], 1), P_WORDS)[words]
        y = locked(y, noise * self.recipe["p_input"])
        carried = []
        for layer, rnn in enumerate(self.rnns):
            if layer:
                y = locked(y, noise * self.recipe["p_hidden"])
            y, (h, c) = rnn(y, (state[2 * layer].to(y.dtype), state[2 * layer + 1].to(y.dtype)))
            carried += [h.detach(), c.detach()]
        d = locked(y, noise * P_OUTPUT)
        if K:
            latent = locked(torch.tanh(self.latent(d)), noise * P_LATENT).view(*d.shape[:2], K, -1)
            log_p = torch.log_softmax(nn.functional.linear(latent, weight, self.bias).float(), -1)
            # Only the targets' entries are mixed.
            chosen = log_p.gather(3, targets[:, :, None, None].expand(-1, -1, K, 1)).squeeze(3)
            loss = -torch.logsumexp(chosen + torch.log_softmax(self.prior(d).float(), -1), 2).mean()
        else:
            logits = nn.functional.linear(d, weight, self.bias).float()
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        penalty = AR * d.float().pow(2).mean() + TAR * (y[1:] - y[:-1]).float().pow(2).mean()
        return loss, penalty, *carried


class Trainer:
    def __init__(self, args, recipe, vocabulary, graphed, compiled):
        self.args, self.recipe = args, recipe
        self.model = Model(vocabulary, recipe).to(args.device)
        self.forward = torch.compile(self.model, dynamic=True) if compiled else self.model
        on_gpu = args.device != "cpu"
        lr = torch.tensor(recipe["lr"], device=args.device) if on_gpu else recipe["lr"]
        self.optimizer = torch.optim.SGD(self.model.trained(), lr=lr, weight_decay=DECAY, fused=True)
        B = recipe["batch"]
        self.state = [torch.zeros(1, B, rnn.hidden_size, device=args.device)
                      for rnn in self.model.rnns for _ in range(2)]
        self.loss = torch.zeros((), device=args.device)
        self.graphs = {} if graphed else None

    def work(self, words, targets):
        """Everything but the learning rate, which is set before it."""
        self.model.drop_weights()
        precision = self.args.precision
        with torch.autocast(torch.device(self.args.device).type, TYPES.get(precision, torch.bfloat16),
                            enabled=precision in TYPES):
            loss, penalty, *carried = self.forward(words, targets, *self.state)
        scale = LOSS_SCALE if precision == "fp16" else 1.0
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

    def capture(self, words, targets):
        """A graph over static inputs; two eager runs set the libraries up."""
        words, targets = words.clone(), targets.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self.work(words, targets)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.work(words, targets)
        self.graphs[len(words)] = graph, words, targets

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
            self.capture(words, targets)
        graph, static_words, static_targets = self.graphs[len(words)]
        static_words.copy_(words)
        static_targets.copy_(targets)
        graph.replay()


@torch.no_grad()
def perplexity(model, stream, eos):
    """Of one stream after <eos>, every word scored once."""
    model.eval()
    model.keep_weights()
    words = torch.cat((torch.tensor([eos], device=stream.device), stream[:-1]))
    state = [torch.zeros(1, 1, rnn.hidden_size, device=stream.device) for rnn in model.rnns for _ in range(2)]
    nats = 0.0
    for at in range(0, len(stream), 500):
        part = slice(at, at + 500)
        loss, _, *state = model(words[part, None], stream[part, None], *state)
        nats += loss.item() * len(stream[part])
    model.train()
    return math.exp(nats / len(stream))


def train(args, recipe, lanes, valid, vocabulary, eos):
    torch.manual_seed(args.seed)
    random = torch.Generator().manual_seed(args.seed)
    trainer = Trainer(args, recipe, vocabulary, False, False)
    found = []
    for _ in range(args.epochs):
        for state in trainer.state:
            state.zero_()
        at, last = 0, len(lanes) - 1
        while at == 0 or last - at >= 2:
            T = min(chunk_length(random), last - at)
            trainer.step(lanes[at:at + T], lanes[at + 1:at + T + 1])
            at += T
        found.append(perplexity(trainer.model, valid, eos))
    return {"valid_ppl": min(found), "epochs": found}


def measure(args, recipe, lanes, vocabulary, lengths, variant):
    torch.manual_seed(1)
    trainer = Trainer(args, recipe, vocabulary, variant == "graphed", variant == "compiled")

    def synchronize():
        if args.device != "cpu":
            torch.cuda.synchronize()

    if variant == "graphed":
        for T in sorted(set(lengths)):
            trainer.step(lanes[:T], lanes[1:T + 1])
    at, start = 0, 0.0
    for step, T in enumerate(lengths):
        if step == args.warmup:
            synchronize()
            start = time.perf_counter()
        if at + T + 1 > len(lanes):
            at = 0
        trainer.step(lanes[at:at + T], lanes[at + 1:at + T + 1])
        at += T
    synchronize()
    seconds = time.perf_counter() - start
    words = sum(lengths[args.warmup:]) * recipe["batch"]
    return {"variant": variant, "words_per_second": words / seconds, "seconds": seconds, "loss": trainer.loss.item()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=RECIPES, required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--variant", choices=("eager", "graphed", "compiled", "best"), default="best")
    parser.add_argument("--steps", type=int, default=60, help="steps that are timed")
    parser.add_argument("--warmup", type=int, default=20, help="steps before those")
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--widths", help="of word vectors, recurrent layers and the last of them: 200,575,200")
    parser.add_argument("--valid", help="with --epochs: the validation text")
    parser.add_argument("--epochs", type=int, default=0, help="train so long, and print the best perplexity")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tf32 = args.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    recipe = dict(RECIPES[args.recipe])
    for width in ("emb", "hidden", "last"):
        recipe[width] //= args.scale
    if args.widths:
        recipe.update(zip(("emb", "hidden", "last"), map(int, args.widths.split(","))))

    stream, ids = read_text(args.text)
    vocabulary, B = len(ids), recipe["batch"]
    lanes = stream[:len(stream) // B * B].view(B, -1).t().contiguous().to(args.device)
    if args.epochs:
        with open(args.valid, encoding="utf-8") as lines:
            words = [word for line in lines for word in line.split() + ["<eos>"]]
        valid = torch.tensor([ids[word] if word in ids else ids["<unk>"] for word in words], device=args.device)
        return print(json.dumps(train(args, recipe, lanes, valid, vocabulary, ids["<eos>"])))
    random = torch.Generator().manual_seed(1)
    lengths = [min(chunk_length(random), len(lanes) - 1) for _ in range(args.warmup + args.steps)]
    variants = [args.variant]
    if args.variant == "best":
        variants = ["eager"] if args.device == "cpu" else ["eager", "graphed", "compiled"]
    results = [measure(args, recipe, lanes, vocabulary, lengths, variant) for variant in variants]
    best = max(results, key=lambda r: r["words_per_second"])
    print(json.dumps({**best, "all": results, "vocabulary": vocabulary, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
