"""Cache of the keys and values of prompts in a frozen language model, so that no prompt is read twice."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

NUMBERS = 2**27
"""Largest number of cached entries of keys and values, half a gigabyte."""

PrefixStates = list[tuple[Tensor, Tensor]]
"""Keys and values (head, token, size) of each layer."""


class PrefixCache:
    """Cache of keys and values of prompts, for causal models.

    They are computed without dropout, in training as well.

    Args:
        model: Frozen decoder of Hugging Face.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.kept: dict[str, PrefixStates] = {}
        self.numbers = 0
        names = inspect.signature(type(model).forward).parameters
        self.name = "cache" if "cache" in names else "past_key_values"  # the name in older releases

    def options(self, texts: Sequence[str], tokens: Tensor, there: Tensor) -> dict[str, Any]:
        """Options with which the model continues from prompts.

        Args:
            texts: Prompt of each row.
            tokens: Embedded prompts, (row, token, width), padded at their start.
            there: Mask, (row, token), 0 at the padding.

        Returns:
            Keyword arguments of the model that hold the keys and values of the prompts.
        """
        from transformers import DynamicCache

        if self.numbers > NUMBERS:
            self.kept.clear()
            self.numbers = 0
        new = [i for i, text in enumerate(texts) if text not in self.kept]
        if new:
            self._read([texts[i] for i in new], tokens[new], there[new])
        longest, made = tokens.shape[1], DynamicCache()
        for layer in range(len(self.kept[texts[0]])):
            both = (
                torch.stack([_padded(self.kept[text][layer][which], longest) for text in texts]).to(tokens.device)
                for which in (0, 1)
            )
            made.update(*both, layer)
        return {self.name: made, "use_cache": True}

    @torch.no_grad()
    def _read(self, texts: Sequence[str], tokens: Tensor, there: Tensor) -> None:
        training = self.model.training
        self.model.eval()
        position = (there.cumsum(1) - 1).clamp(min=0)
        made = self.model(inputs_embeds=tokens, attention_mask=there, position_ids=position, use_cache=True)[1]
        self.model.train(training)
        layers = [(layer.keys, layer.values) for layer in made.layers]
        for i, text in enumerate(texts):
            count = int(there[i].sum())
            self.kept[text] = [(k[i, :, -count:].clone(), v[i, :, -count:].clone()) for k, v in layers]
            self.numbers += sum(2 * k.numel() for k, _ in self.kept[text])


def _padded(x: Tensor, length: int) -> Tensor:
    """Pad (head, token, size) with zeros at its start, to a number of tokens."""
    return torch.nn.functional.pad(x, (0, 0, length - x.shape[1], 0))


def is_causal(model: nn.Module, width: int) -> bool:
    """Test that no token of a model depends on later tokens.

    Args:
        model: Language model of Hugging Face.
        width: Number of channels of a token.
    """
    training = model.training
    model.eval()
    weight = next(model.parameters())
    angle = torch.arange(3 * width, device=weight.device, dtype=weight.dtype).view(3, width)
    tokens = torch.stack([angle.sin(), angle.sin()])
    tokens[1, 2] = angle[2].cos()
    with torch.no_grad():
        first, second = model(inputs_embeds=tokens, use_cache=False).last_hidden_state[:, :2]
    model.train(training)
    return torch.allclose(first, second, rtol=1e-6, atol=1e-6)
