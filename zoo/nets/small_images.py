"""The four-stage ResNets as they are used on images of 32x32: a 3x3 stem and no pooling before."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def _shortcut(channels_in: int, channels: int, stride: int, *, norm: bool) -> nn.Sequential:
    """A projection where the shape changes, else nothing."""
    shortcut = nn.Sequential()
    if stride > 1 or channels_in != channels:
        shortcut.append(nn.Conv2d(channels_in, channels, 1, stride, bias=False))
        if norm:
            shortcut.append(nn.BatchNorm2d(channels))
    return shortcut


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, batch norm after each."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _shortcut(channels_in, channels, stride, norm=True)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same size, or of half the size if the stride is 2."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, batch norm after each."""

    expansion = 4

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        wide = self.expansion * channels
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.shortcut = _shortcut(channels_in, wide, stride, norm=True)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same size, or of half the size if the stride is 2."""
        out = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


class PreactivationBlock(nn.Module):
    """Two 3x3 convolutions, batch norm and ReLU before each."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = _shortcut(channels_in, channels, stride, norm=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same size, or of half the size if the stride is 2."""
        activated = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return out + (self.shortcut(activated) if len(self.shortcut) else x)


_Block = type[BasicBlock] | type[Bottleneck] | type[PreactivationBlock]


class StemResNet(nn.Module):
    """ResNet with stages of 64, 128, 256 and 512 channels behind a 3x3 convolution of stride 1.

    Args:
        input_shape: (channels, height, width).
        num_classes: Number of logits.
        block: What the stages are made of.
        blocks: How many in each stage: (2, 2, 2, 2) for ResNet-18, (3, 4, 6, 3) for ResNet-50.

    References:
        He et al. (2016). Deep Residual Learning for Image Recognition. CVPR; with preactivation
        blocks: He et al. (2016). Identity Mappings in Deep Residual Networks. ECCV.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        *,
        block: _Block,
        blocks: tuple[int, int, int, int],
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(input_shape[0], 64, 3, padding=1, bias=False)
        # Preactivation blocks begin with a batch norm and ReLU of their own.
        self.bn1 = None if block is PreactivationBlock else nn.BatchNorm2d(64)
        wide = block.expansion
        self.layer1 = _stage(block, 64, 64, blocks[0], stride=1)
        self.layer2 = _stage(block, 64 * wide, 128, blocks[1], stride=2)
        self.layer3 = _stage(block, 128 * wide, 256, blocks[2], stride=2)
        self.layer4 = _stage(block, 256 * wide, 512, blocks[3], stride=2)
        self.linear = nn.Linear(512 * wide, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, num_classes)."""
        x = self.conv1(x)
        if self.bn1 is not None:
            x = F.relu(self.bn1(x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(x.mean((2, 3)))


def _stage(
    block: _Block, channels_in: int, channels: int, count: int, stride: int
) -> nn.Sequential:
    first = block(channels_in, channels, stride)
    wide = block.expansion * channels
    return nn.Sequential(first, *(block(wide, channels, 1) for _ in range(count - 1)))
