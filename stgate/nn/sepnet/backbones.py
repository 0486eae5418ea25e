"""Backbones of the temporal branch, which read a sequence of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SmallTransformer(nn.Module):
    """Small transformer encoder, trained from scratch; it needs no stored weights, no tokenizer and no internet.

    Args:
        width: Number of channels of a token.
        layers: Number of blocks of attention and a feed-forward layer.
        heads: Number of attention heads.
        tokens: Length of the longest sequence.
        dropout: Dropout rate in each block.
    """

    def __init__(self, width: int, layers: int, heads: int, tokens: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.position = nn.Parameter(0.02 * torch.randn(tokens, width))
        block = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (batch, token, width) to hidden states (batch, token, width)."""
        made: Tensor = self.blocks(tokens + self.position[: tokens.shape[1]])
        return made
