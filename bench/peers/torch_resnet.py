"""PyTorch: ResNet-20 on CIFAR-shaped batches of 128: training step, gradient, Hessian-vector product."""

import torch
import torch.nn.functional as F
from torch import nn

from common import arguments
from torch_common import peak_bytes, report

BATCH = 128


class Block(nn.Module):
    def __init__(self, channels_in, channels_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.stride, self.extra = stride, channels_out - channels_in

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.extra:  # shortcut option A
            half = self.extra // 2
            x = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, half, half))
        return torch.relu(y + x)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        sizes = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
        self.blocks = nn.Sequential(*(Block(*size) for size in sizes))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.blocks(torch.relu(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))


def train_step(model, loss):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return step


def hvp(params, loss):
    """Double backward with a fixed probe of +-1, as a Hutchinson estimate uses it."""
    probe = [torch.randint(2, p.shape, device=p.device).float() * 2 - 1 for p in params]

    def product():
        grads = torch.autograd.grad(loss(), params, create_graph=True)
        return torch.autograd.grad(grads, params, grad_outputs=probe)
    return product


def add_variant(out, variant, layout):
    model = ResNet20().to(memory_format=layout)
    x = torch.randn(BATCH, 3, 32, 32).to(memory_format=layout)
    labels = torch.randint(10, (BATCH,))
    params = list(model.parameters())
    loss = lambda: F.cross_entropy(model(x), labels)
    out.add("train/resnet20_step", str(BATCH), train_step(model, loss), variant=variant, peak=peak_bytes,
            notes="SGD 0.01, momentum 0.9, weight decay 1e-4")
    out.add("grad/resnet20", str(BATCH), lambda: torch.autograd.grad(loss(), params), variant=variant,
            peak=peak_bytes)
    out.add("hvp/resnet20", str(BATCH), hvp(params, loss), variant=variant, peak=peak_bytes,
            notes="double backward")


def main():
    args = arguments(__doc__)
    out = report(args)
    add_variant(out, "", torch.contiguous_format)
    add_variant(out, "channels_last", torch.channels_last)
    out.save()


if __name__ == "__main__":
    main()
