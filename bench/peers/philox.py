"""Random numbers as unroll draws them, so that a peer can train on the same chunks with the same masks: functions of
counters by Philox4x32-10 (Salmon et al. 2011), in int64 tensors.
"""
import math

import torch

LENGTHS = 0x6C656E67  # the counter word that chunk lengths have to themselves
LOW = 0xFFFFFFFF


def philox(c0, c1, c2, c3, seed):
    """Four tensors of 32-bit words; c0 is a tensor, the other counters are tensors or numbers."""
    k0, k1 = seed & LOW, seed >> 32
    c1, c2, c3 = (torch.as_tensor(c, device=c0.device).expand_as(c0) for c in (c1, c2, c3))
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # the low 64 bits: wrapped around, as numbers without sign
        c0, c1, c2, c3 = p1 >> 32 & LOW ^ c1 ^ k0, p1 & LOW, p0 >> 32 & LOW ^ c3 ^ k1, p0 & LOW
        k0, k1 = k0 + 0x9E3779B9 & LOW, k1 + 0xBB67AE85 & LOW
    return c0, c1, c2, c3


def mask(like, shape, p, seed, step, place, aligned=False):
    """0 and 1/(1-p) for the elements of a matrix in order; `aligned`: a row begins with a block of four of its own."""
    rows, columns = shape
    width = -(-columns // 4) * 4 if aligned else columns
    blocks = torch.arange(-(-rows * width // 4), device=like.device)
    words = torch.stack(philox(blocks, 0, step, place, seed), 1).flatten()[:rows * width].view(rows, width)
    return (words[:, :columns] >= int(p * 2 ** 32 + 0.5)).to(like.dtype) / (1 - p)


def chunk_length(bptt, seed, epoch, k):
    """Of chunk k: max(5, the whole part of a normal around bptt, or one time in twenty bptt / 2)."""
    u = [(word.item() + 1) / 2 ** 32 for word in philox(torch.tensor(k), LENGTHS, epoch & LOW, epoch >> 32, seed)]
    normal = math.sqrt(-2 * math.log(u[1])) * math.cos(2 * math.pi * u[2])
    base = bptt if u[0] <= 0.95 else bptt / 2
    return min(max(5, int(base + 5 * normal)), bptt + 25)
