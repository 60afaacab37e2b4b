"""Two convolutional networks with parameters named as their authors published them."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from zoo.nets.sequential import num_features


class LeNet5Wide(nn.Module):
    """LeNet-5 with 32 and 64 channels of 3x3 convolutions and 200 hidden units (advertorch)."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(input_shape[0], 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        pool = nn.MaxPool2d(2)
        width = num_features([self.conv1, pool, self.conv2, pool], input_shape)
        self.linear1 = nn.Linear(width, 200)
        self.linear2 = nn.Linear(200, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, num_classes)."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.linear2(F.relu(self.linear1(x.flatten(1))))


class SpatialTransformerCNN(nn.Module):
    """Three convolutions behind a spatial transformer, for traffic signs (gtsrb-pytorch).

    References:
        Jaderberg et al. (2015). Spatial Transformer Networks. NeurIPS.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(input_shape[0], 100, 5)
        self.bn1 = nn.BatchNorm2d(100)
        self.conv2 = nn.Conv2d(100, 150, 3)
        self.bn2 = nn.BatchNorm2d(150)
        self.conv3 = nn.Conv2d(150, 250, 3)
        self.bn3 = nn.BatchNorm2d(250)
        pool = nn.MaxPool2d(2)
        width = num_features([self.conv1, pool, self.conv2, pool, self.conv3, pool], input_shape)
        self.fc1 = nn.Linear(width, 350)
        self.fc2 = nn.Linear(350, num_classes)
        self.localization = nn.Sequential(
            nn.Conv2d(input_shape[0], 8, 7),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(8, 10, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
        )
        located = num_features([self.localization], input_shape)
        last = nn.Linear(32, 6)
        self.fc_loc = nn.Sequential(nn.Linear(located, 32), nn.ReLU(), last)
        # Training starts from the identity transformation.
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, num_classes)."""
        theta = self.fc_loc(self.localization(x).flatten(1)).view(-1, 2, 3)
        # Published weights are of 2018, when torch aligned corners and could not do otherwise.
        grid = F.affine_grid(theta, list(x.shape), align_corners=True)
        x = F.grid_sample(x, grid, align_corners=True)
        for conv, norm in (
            (self.conv1, self.bn1),
            (self.conv2, self.bn2),
            (self.conv3, self.bn3),
        ):
            x = norm(F.max_pool2d(F.leaky_relu(conv(x)), 2))
            x = F.dropout2d(x, training=self.training)
        x = F.dropout(F.relu(self.fc1(x.flatten(1))), training=self.training)
        return self.fc2(x)
