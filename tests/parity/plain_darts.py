"""DARTS (arXiv 1806.09055) written once more, plainly, from the paper's equations: the reference of the parity tests.

It shares no line with raydarts and imports nothing of it. Every edge holds all its candidates and computes
each of them by itself; alpha's gradient is written out for each order. It is also the baseline of
benchmarks/step.py.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

NONE, MAX, AVG, SKIP, SEP3, SEP5, DIL3, DIL5 = range(8)


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=False)


class HalveResolution(nn.Module):
    """ReLU, two 1x1 convolutions of stride 2, the second one pixel further on, concatenated; batch norm."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels_in, channels_out // 2, 1, bias=False)
        self.b = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, bias=False)
        self.bn = norm(channels_out)

    def forward(self, x):
        x = F.relu(x)
        # Stride 1 on every second pixel: oneDNN's backward pass of 1x1 with stride 2 corrupts memory on CPUs.
        return self.bn(torch.cat([self.a(x[:, :, ::2, ::2]), self.b(x[:, :, 1::2, 1::2])], dim=1))


def conv1x1(channels_in: int, channels_out: int) -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(channels_in, channels_out, 1, bias=False), norm(channels_out))


def separable(channels: int, kernel: int, stride: int) -> nn.Module:
    def once(s: int) -> list[nn.Module]:
        depthwise = nn.Conv2d(channels, channels, kernel, s, kernel // 2, groups=channels, bias=False)
        return [nn.ReLU(), depthwise, nn.Conv2d(channels, channels, 1, bias=False), norm(channels)]

    return nn.Sequential(*once(stride), *once(1))


def dilated(channels: int, kernel: int, stride: int) -> nn.Module:
    depthwise = nn.Conv2d(channels, channels, kernel, stride, kernel - 1, dilation=2, groups=channels, bias=False)
    return nn.Sequential(nn.ReLU(), depthwise, nn.Conv2d(channels, channels, 1, bias=False), norm(channels))


class Zero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return 0.0 * x[:, :, :: self.stride, :: self.stride]


def candidates(channels: int, stride: int) -> nn.ModuleList:
    """The eight operations of section 3.1, in the order of the columns of alpha."""
    average = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    return nn.ModuleList(
        [
            Zero(stride),
            nn.Sequential(nn.MaxPool2d(3, stride, 1), norm(channels)),
            nn.Sequential(average, norm(channels)),
            nn.Identity() if stride == 1 else HalveResolution(channels, channels),
            separable(channels, 3, stride),
            separable(channels, 5, stride),
            dilated(channels, 3, stride),
            dilated(channels, 5, stride),
        ]
    )


class Cell(nn.Module):
    """x_j = sum over i < j of the mixed operation of edge (i, j) on x_i (eq. 1, 2)."""

    def __init__(self, nodes: int, before2: int, before1: int, channels: int, reduces: bool, after: bool) -> None:
        super().__init__()
        self.nodes = nodes
        self.pre0 = HalveResolution(before2, channels) if after else conv1x1(before2, channels)
        self.pre1 = conv1x1(before1, channels)
        self.edges = nn.ModuleList(
            candidates(channels, 2 if reduces and i < 2 else 1) for j in range(nodes) for i in range(2 + j)
        )

    def forward(self, x0, x1, weights):
        states = [self.pre0(x0), self.pre1(x1)]
        edge = 0
        for _ in range(self.nodes):
            total = 0
            for state in states:
                total = total + sum(w * o(state) for w, o in zip(weights[edge], self.edges[edge], strict=True))
                edge += 1
            states.append(total)
        return torch.cat(states[2:], dim=1)


class Supernet(nn.Module):
    """`forward(images, alpha_normal, alpha_reduce)`: logits."""

    def __init__(self, channels=16, layers=8, nodes=4, classes=10, colours=3, multiplier=3) -> None:
        super().__init__()
        width = multiplier * channels
        self.stem = nn.Sequential(nn.Conv2d(colours, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        before2, before1, after = width, width, False
        self.cells, self.reduces = nn.ModuleList(), []
        for layer in range(layers):
            reduces = layer in (layers // 3, 2 * layers // 3)
            channels = 2 * channels if reduces else channels
            self.cells.append(Cell(nodes, before2, before1, channels, reduces, after))
            self.reduces.append(reduces)
            before2, before1, after = before1, nodes * channels, reduces
        self.classifier = nn.Linear(before1, classes)

    def forward(self, images, alpha_normal, alpha_reduce):
        normal, reduce = F.softmax(alpha_normal, dim=-1), F.softmax(alpha_reduce, dim=-1)
        x0 = x1 = self.stem(images)
        for cell, reduces in zip(self.cells, self.reduces, strict=True):
            x0, x1 = x1, cell(x0, x1, reduce if reduces else normal)
        return self.classifier(x1.mean(dim=(2, 3)))


class Darts:
    """Algorithm 1 on given batches. `order`: first_order, finite_difference (eq. 8) or exact_hvp (eq. 7)."""

    def __init__(
        self, model, alphas, order, *, lr=0.025, arch_lr=3e-4, momentum=0.9, decay=3e-4, arch_decay=1e-3,
        clip=5.0, epsilon=0.01, buffer_in_virtual_step=True, divide=True,
    ):  # fmt: skip
        self.model, self.alphas, self.order = model, alphas, order
        self.w = list(model.parameters())
        self.lr, self.momentum, self.decay, self.clip, self.epsilon = lr, momentum, decay, clip, epsilon
        self.buffers = [torch.zeros_like(w) for w in self.w]
        self.adam = torch.optim.Adam(alphas, lr=arch_lr, betas=(0.5, 0.999), weight_decay=arch_decay)
        self.buffer_in_virtual_step, self.divide = buffer_in_virtual_step, divide

    def loss(self, batch):
        images, labels = batch
        return F.cross_entropy(self.model(images, *self.alphas), labels)

    def gradients(self, batch, of, **options):
        return torch.autograd.grad(self.loss(batch), of, **options)

    @torch.no_grad()
    def assign(self, values):
        for w, value in zip(self.w, values, strict=True):
            w.copy_(value)

    def alpha_gradient(self, train, valid):
        if self.order == "first_order":
            return self.gradients(valid, self.alphas)
        xi, w = self.lr, [w.detach().clone() for w in self.w]
        gradient = self.gradients(train, self.w)
        share = self.momentum if self.buffer_in_virtual_step else 0.0
        self.assign(
            value - xi * (share * b + g + self.decay * value)
            for value, b, g in zip(w, self.buffers, gradient, strict=True)
        )
        both = self.gradients(valid, [*self.alphas, *self.w])
        direct, v = both[: len(self.alphas)], both[len(self.alphas) :]
        self.assign(w)
        if self.order == "exact_hvp":
            graph = self.gradients(train, self.w, create_graph=True)
            product = torch.autograd.grad(graph, self.alphas, grad_outputs=v)
        else:
            r = self.epsilon / torch.sqrt(sum((d**2).sum() for d in v))
            self.assign(value + r * d for value, d in zip(w, v, strict=True))
            plus = self.gradients(train, self.alphas)
            self.assign(value - r * d for value, d in zip(w, v, strict=True))
            minus = self.gradients(train, self.alphas)
            self.assign(w)
            product = [(p - m) / (2 * r) if self.divide else (p - m) / 2 * r for p, m in zip(plus, minus, strict=True)]
        return [d - xi * p for d, p in zip(direct, product, strict=True)]

    def step(self, train, valid):
        """1. alpha descends L_val(w'); 2. w descends L_train."""
        for alpha, gradient in zip(self.alphas, self.alpha_gradient(train, valid), strict=True):
            alpha.grad = gradient
        self.adam.step()
        gradient = self.gradients(train, self.w)
        length = torch.sqrt(sum((g**2).sum() for g in gradient))
        scale = torch.clamp(self.clip / (length + 1e-6), max=1.0)  # the 1e-6 is torch's
        with torch.no_grad():
            for w, buffer, g in zip(self.w, self.buffers, gradient, strict=True):
                buffer.mul_(self.momentum).add_(scale * g + self.decay * w)
                w.sub_(self.lr * buffer)
