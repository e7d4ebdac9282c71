"""The recurrent half of DARTS (arXiv 1806.09055, appendix A.1.2) written once more, plainly, from its equations.

It shares no line with raydarts and imports nothing of it: every time step, node, predecessor and candidate is a
turn of a loop, and every factor is written out.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch.nn import functional as F  # noqa: N812

CANDIDATES = (
    lambda h: None,
    torch.tanh,
    lambda h: h * (h > 0),
    lambda h: 1 / (1 + torch.exp(-h)),
    lambda h: h,
)


def normalised(s):
    """Batch norm without scale and shift, by the batch's own statistics."""
    mean = s.mean(0)
    return (s - mean) / torch.sqrt(((s - mean) ** 2).mean(0) + 1e-5)


class Model:
    """`w`: token vectors (V, U), decoder's bias (V), W_0 (2U, 2U), then a W_i (U, 2U) for each node."""

    def __init__(self, w, activation_regularization, slowness):
        self.w, self.ar, self.tar = w, activation_regularization, slowness
        self.units = w[0].shape[1]

    def node_gate(self, x, matrix):
        both = x @ matrix
        return 1 / (1 + torch.exp(-both[:, : self.units])), both[:, self.units :]

    def initial(self, x, h, masks):
        c, candidate = self.node_gate(torch.cat([x * masks["cell"], h * masks["hidden"]], 1), self.w[2])
        return h + c * (torch.tanh(candidate) - h)

    def mixed_cell(self, x, h, arch, masks):
        states = [normalised(self.initial(x, h, masks))]
        edge = 0
        for matrix in self.w[3:]:
            total = torch.zeros_like(h)
            for s in states:
                c, candidate = self.node_gate(s * masks["hidden"], matrix)
                for weight, function in zip(arch[edge], CANDIDATES, strict=True):
                    if function is not CANDIDATES[0]:
                        total = total + weight * (s + c * (function(candidate) - s))
                edge += 1
            states.append(normalised(total))
        return sum(states[1:]) / len(states[1:])

    def chosen_cell(self, x, h, genotype, masks):
        states = [self.initial(x, h, masks)]
        for matrix, (candidate, before) in zip(self.w[3:], genotype["nodes"], strict=True):
            s = states[before]
            c, value = self.node_gate(s * masks["hidden"], matrix)
            states.append(s + c * (CANDIDATES[candidate](value) - s))
        return sum(states[node] for node in genotype["mean"]) / len(genotype["mean"])

    def run(self, tokens, targets, h, cell, what, masks):
        """(cross entropy, its penalties, logits, last hidden state)"""
        raw, dropped, losses, logits = [], [], [], []
        for now, following in zip(tokens, targets, strict=True):
            x = torch.stack([self.w[0][token] * masks["token"][token] for token in now]) * masks["vector"]
            h = cell(x, h, what, masks)
            raw.append(h)
            dropped.append(h * masks["output"])
            logits.append(dropped[-1] @ self.w[0].T + self.w[1])
            losses.append(F.cross_entropy(logits[-1], following))
        penalty = self.ar * sum((o**2).mean() for o in dropped) / len(dropped)
        steps = [((b - a) ** 2).mean() for a, b in pairwise(raw)]
        return sum(losses) / len(losses), penalty + self.tar * sum(steps) / len(steps), torch.stack(logits), h


class Darts:
    """Algorithm 1 on given batches. `order`: first_order, finite_difference or exact_hvp."""

    def __init__(
        self, model, alpha, order, *, lr, arch_lr, decay, clip, virtual_clip, epsilon=0.01, scale_implicit=True,
        scale_lr=True,
    ):  # fmt: skip
        self.model, self.alpha, self.order = model, alpha, order
        self.lr, self.decay, self.clip, self.virtual_clip, self.epsilon = lr, decay, clip, virtual_clip, epsilon
        self.adam = torch.optim.Adam([alpha], lr=arch_lr, betas=(0.5, 0.999), weight_decay=1e-3)
        self.scale_implicit, self.scale_lr = scale_implicit, scale_lr

    def train_loss(self, batch, masks):
        tokens, targets, h = batch
        found = self.model.run(tokens, targets, h, self.model.mixed_cell, torch.softmax(self.alpha, -1), masks)
        return found[0] + found[1], found[3].detach()

    def valid_loss(self, batch, masks):
        tokens, targets, h = batch
        found = self.model.run(tokens, targets, h, self.model.mixed_cell, torch.softmax(self.alpha, -1), masks)
        return found[0], found[3].detach()

    @torch.no_grad()
    def assign(self, values):
        for w, value in zip(self.model.w, values, strict=True):
            w.copy_(value)

    @staticmethod
    def share(gradients, largest):
        length = torch.sqrt(sum((g**2).sum() for g in gradients))
        return min(1.0, float(largest / (length + 1e-6)))

    def alpha_gradient(self, train, valid, masks, xi):
        if self.order == "first_order":
            loss, h = self.valid_loss(valid, masks)
            return torch.autograd.grad(loss, self.alpha)[0], h
        weights = self.model.w
        w = [weight.detach().clone() for weight in weights]
        gradient = torch.autograd.grad(self.train_loss(train, masks)[0], weights)
        k = self.share(gradient, self.virtual_clip)
        assert k < 1  # the virtual step is clipped
        self.assign(value - xi * (k * g + self.decay * value) for value, g in zip(w, gradient, strict=True))
        loss, h = self.valid_loss(valid, masks)
        direct, *v = torch.autograd.grad(loss, [self.alpha, *weights])
        self.assign(w)
        if self.order == "exact_hvp":
            graph = torch.autograd.grad(self.train_loss(train, masks)[0], weights, create_graph=True)
            (product,) = torch.autograd.grad(graph, self.alpha, grad_outputs=v)
        else:
            r = self.epsilon / torch.sqrt(sum((d**2).sum() for d in v))
            sides = []
            for sign in (1, -1):
                self.assign(value + sign * r * d for value, d in zip(w, v, strict=True))
                sides.append(torch.autograd.grad(self.train_loss(train, masks)[0], self.alpha)[0])
            self.assign(w)
            product = (sides[0] - sides[1]) / (2 * r)
        return direct - xi * (k if self.scale_implicit else 1.0) * product, h

    def step(self, train, valid, masks, length_share):
        """1. alpha descends L_val(w'); 2. w descends L_train. The hidden states after both, (weight, alpha)."""
        lr = self.lr * (length_share if self.scale_lr else 1.0)
        self.alpha.grad, alpha_hidden = self.alpha_gradient(train, valid, masks, lr)
        self.adam.step()
        loss, hidden = self.train_loss(train, masks)
        gradient = torch.autograd.grad(loss, self.model.w)
        k = self.share(gradient, self.clip)
        with torch.no_grad():
            for w, g in zip(self.model.w, gradient, strict=True):
                w.sub_(lr * (k * g + self.decay * w))
        return hidden, alpha_hidden
