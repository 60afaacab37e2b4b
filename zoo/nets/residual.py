"""Residual networks for small images, with parameters named as their authors published them."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from zoo.nets.sequential import num_features


class _Block(nn.Module):
    """Two 3x3 convolutions with batch norm; the shortcut has no parameters (option A)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.added = channels - channels_in

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.added:
            before = self.added // 2
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, before, self.added - before))
        return F.relu(out + x)


class CifarResNet(nn.Module):
    """ResNet of depth ``6 * blocks + 2`` for small images: 3 stages of 16, 32 and 64 channels.

    References:
        He et al. (2016). Deep Residual Learning for Image Recognition. CVPR. Section 4.2.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, *, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, num_classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Block(channels_in, channels, stride)
    return nn.Sequential(first, *(_Block(channels, channels, 1) for _ in range(blocks - 1)))


class _PreactivationBlock(nn.Module):
    """Batch norm and ReLU come before each convolution; a wider block projects its shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.convShortcut = (
            None
            if channels_in == channels
            else nn.Conv2d(channels_in, channels, 1, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return out + (x if self.convShortcut is None else self.convShortcut(activated))


class _WideStage(nn.Module):
    def __init__(self, channels_in: int, channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            _PreactivationBlock(channels_in, channels, stride),
            *(_PreactivationBlock(channels, channels, 1) for _ in range(blocks - 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class WideResNet(nn.Module):
    """WRN of depth ``6 * blocks + 4``.

    References:
        Zagoruyko and Komodakis (2016). Wide Residual Networks. BMVC.
    """

    def __init__(
        self, input_shape: tuple[int, ...], num_classes: int, *, blocks: int, widen: int
    ) -> None:
        super().__init__()
        narrow, middle, wide = 16 * widen, 32 * widen, 64 * widen
        self.conv1 = nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False)
        self.block1 = _WideStage(16, narrow, blocks, stride=1)
        self.block2 = _WideStage(narrow, middle, blocks, stride=2)
        self.block3 = _WideStage(middle, wide, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(wide)
        self.fc = nn.Linear(wide, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, num_classes)."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


class _PlainBlock(nn.Module):
    """No batch norm; convolutions have biases; a strided block projects its shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.Conv2d(channels_in, channels, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class PlainResNet(nn.Module):
    """Small ResNet without batch norm, as verifiers use: stages of two blocks, each of stride 2.

    References:
        Wang et al. (2021). Beta-CROWN: Efficient Bound Propagation with Per-neuron Split
        Constraints for Complete and Incomplete Neural Network Verification. NeurIPS.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        *,
        channels: int,
        stages: int,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(input_shape[0], channels, 3, 2, padding=1)
        wide = 2 * channels
        self.layer1 = nn.Sequential(_PlainBlock(channels, wide, 2), _PlainBlock(wide, wide, 1))
        self.layer2 = nn.Sequential()
        if stages == 2:
            self.layer2 = nn.Sequential(_PlainBlock(wide, wide, 2), _PlainBlock(wide, wide, 1))
        width = num_features([self.conv1, self.layer1, self.layer2], input_shape)
        self.linear1 = nn.Linear(width, 100)
        self.linear2 = nn.Linear(100, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, num_classes)."""
        x = self.layer2(self.layer1(F.relu(self.conv1(x))))
        return self.linear2(F.relu(self.linear1(x.flatten(1))))
