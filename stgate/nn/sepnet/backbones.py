"""Backbones of the temporal branch: what reads a sequence of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SmallTransformer(nn.Module):
    """A small transformer encoder, trained from scratch: it needs no weights, no tokenizer and no network.

    Args:
        width: Of a token.
        layers: Blocks of attention and a feed-forward layer.
        heads: Of attention.
        tokens: The longest sequence.
        dropout: In each block.
    """

    def __init__(self, width: int, layers: int, heads: int, tokens: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.position = nn.Parameter(0.02 * torch.randn(tokens, width))
        block = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, token, width) -> (batch, token, width)."""
        made: Tensor = self.blocks(tokens + self.position[: tokens.shape[1]])
        return made
