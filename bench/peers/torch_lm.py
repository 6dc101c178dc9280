#!/usr/bin/env python3
"""Training speed of PyTorch on the job of the recipes zaremba-small and zaremba-medium.

  torch_lm.py --recipe zaremba-small --text FILE [--threads 2] [--device cpu] [--steps 60] [--warmup 20]
              [--precision fp32 ..] [--variant best]

nn.Embedding, nn.LSTM, nn.Linear and cross entropy; the batch, chunk, dropout, clipping, learning rate and loss
(summed over time, averaged over the batch) of the recipe; the carried state is detached between chunks. --variant
is eager, graphed (the whole step as one CUDA graph; a GPU only), compiled (torch.compile of the forward pass) or
best: on a GPU all three in turn, the fastest counts; on a CPU eager. So do several precisions; fp16 with its loss
scaled by a constant. Prints one JSON object. Words are counted as unroll counts them: every token trained on, <eos>
included.
"""
import argparse
import collections

import torch
from torch import nn

import variants
from graphs import captured

RECIPES = {  # width, dropout, clip, batch, chunk, range of the initial weights
    "zaremba-small": (200, 0.0, 5.0, 20, 20, 0.1),
    "zaremba-medium": (650, 0.5, 5.0, 20, 35, 0.05),
}


class Model(nn.Module):
    def __init__(self, vocabulary, width, dropout, scale):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.Embedding(vocabulary, width)
        self.rnn = nn.LSTM(width, width, num_layers=2, dropout=dropout)
        self.decoder = nn.Linear(width, vocabulary)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -scale, scale)

    def forward(self, words, *state):
        h, state = self.rnn(self.dropout(self.encoder(words)), state)
        return self.decoder(self.dropout(h)).flatten(0, 1), *state


def read_text(path):
    """The text as ids, <eos> at each line end; and the ids of all words, most frequent first."""
    with open(path, encoding="utf-8") as lines:
        words = [word for line in lines for word in line.split() + ["<eos>"]]
    ids = {word: i for i, (word, _) in enumerate(collections.Counter(words).most_common())}
    return torch.tensor([ids[word] for word in words]), ids


def measure(args, lanes, vocabulary, variant, precision):
    width, dropout, clip, batch, chunk, scale = RECIPES[args.recipe]
    torch.manual_seed(1)
    model = Model(vocabulary, width, dropout, scale).to(args.device)
    forward = torch.compile(model) if variant == "compiled" else model
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    words, targets = lanes[:chunk].clone(), lanes[1:chunk + 1].clone()
    state = [torch.zeros(2, batch, width, device=args.device) for _ in range(2)]
    mean = torch.zeros((), device=args.device)
    scale_of_loss = variants.LOSS_SCALE.get(precision, 1.0)

    def work():
        with torch.autocast(torch.device(args.device).type, variants.AUTOCAST.get(precision, torch.bfloat16),
                            enabled=precision in variants.AUTOCAST):
            scores, *carried = forward(words, *state)
        loss = nn.functional.cross_entropy(scores.float(), targets.reshape(-1), reduction="sum") / batch
        (loss * scale_of_loss).backward()
        if scale_of_loss != 1.0:
            torch._foreach_mul_([p.grad for p in model.parameters()], 1 / scale_of_loss)
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for old, new in zip(state, carried):
            old.copy_(new.detach())
        mean.copy_(loss.detach() / chunk)

    run = captured(work) if variant == "graphed" else work

    def step(next_words, next_targets):
        words.copy_(next_words)
        targets.copy_(next_targets)
        run()

    found = variants.speed(args, step, lanes, [chunk] * (args.warmup + args.steps))
    return {**found, "loss": mean.item()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=RECIPES, required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=60, help="steps that are timed")
    parser.add_argument("--warmup", type=int, default=20, help="steps before those")
    variants.add_options(parser)
    args = parser.parse_args()
    batch = RECIPES[args.recipe][3]
    torch.set_num_threads(args.threads)

    stream, ids = read_text(args.text)
    lanes = stream[:len(stream) // batch * batch].view(batch, -1).t().contiguous().to(args.device)
    variants.measure_all(args, len(ids), lambda *how: measure(args, lanes, len(ids), *how))


if __name__ == "__main__":
    main()
