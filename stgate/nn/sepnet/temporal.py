"""Temporal branch: the mean over nodes, cut into patches that a transformer reads as mixtures of prototypes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from stgate.nn.inputs import Inputs
from stgate.nn.sepnet.backbones import SmallTransformer
from stgate.nn.sepnet.language_model import LanguageModel
from stgate.schema.spec import PanelSpec


def pooled(inputs: Inputs) -> Tensor:
    """Means of the targets over observed nodes, and the share of observed nodes: (batch, step, 2 * target).

    Args:
        inputs: Standardised inputs of the window.
    """
    targets = inputs.since.shape[-1]
    values, mask = inputs.values[..., :targets], inputs.mask[..., :targets]
    count = mask.sum(2)
    return torch.cat([(values * mask).sum(2) / count.clamp(min=1), count / mask.shape[2]], -1)


class Patching(nn.Module):
    """Patches of a series, each embedded as a token.

    The last step is repeated `stride` times, so that there are (steps - length) // stride + 2 patches.

    Args:
        steps: Number of steps of the series.
        channels: Number of channels of a step.
        length: Number of steps of a patch.
        stride: Number of steps from one patch to the next.
        width: Number of channels of a token.

    References:
        Nie et al. (2023), A time series is worth 64 words. ICLR.
    """

    def __init__(self, steps: int, channels: int, length: int, stride: int, width: int) -> None:
        super().__init__()
        self.length, self.stride = length, stride
        self.count = (steps - length) // stride + 2
        self.embed = nn.Linear(length * channels, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map a series (batch, step, channel) to tokens (batch, patch, width)."""
        longer = pad(x.transpose(1, 2), (0, self.stride), mode="replicate")
        made: Tensor = self.embed(longer.unfold(2, self.length, self.stride).transpose(1, 2).flatten(2))
        return made


class Reprogramming(nn.Module):
    """Reprogramming of patches for a language model: cross attention from patches to prototypes.

    Args:
        patch: Number of channels of a patch's token.
        prototype: Number of channels of a prototype, and of the output.
        heads: Number of attention heads.
        key: Number of channels of the keys of one head.
        dropout: Dropout rate of the attention weights.

    References:
        Jin et al. (2024), Time-LLM: time series forecasting by reprogramming large language models. ICLR.
    """

    def __init__(self, patch: int, prototype: int, heads: int, key: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = (nn.Linear(size, heads * key) for size in (patch, prototype, prototype))
        self.out = nn.Linear(heads * key, prototype)

    def forward(self, patches: Tensor, prototypes: Tensor) -> Tensor:
        """Express patches by prototypes.

        Args:
            patches: Tokens of the patches, (batch, patch, width).
            prototypes: Prototypes, (prototype, channel).

        Returns:
            Tokens for the backbone, (batch, patch, channel).
        """
        q, k, v = self.query(patches), self.key(prototypes), self.value(prototypes)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for x in (q, k, v))
        score = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        score = torch.dropout(score, self.dropout, self.training)
        made: Tensor = self.out((score @ v).transpose(-3, -2).flatten(-2))
        return made


class Statistics(nn.Module):
    """Prompt in numbers: least, largest and median value, trend, and autocorrelation of each pooled target.

    Args:
        steps: Number of steps of the window.
        targets: Number of targets.
        width: Number of channels of the token made from these numbers.
    """

    def __init__(self, steps: int, targets: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(targets * (4 + steps // 2), width)

    def forward(self, x: Tensor) -> Tensor:
        """Map a pooled series (batch, step, target) to one token (batch, 1, width)."""
        steps = x.shape[1]
        moments = torch.stack([x.amin(1), x.amax(1), x.median(1).values, x[:, -1] - x[:, 0]], -1)
        centred = x - x.mean(1, keepdim=True)
        scale = centred.square().mean(1) + 1e-6
        lags = [(centred[:, k:] * centred[:, : steps - k]).mean(1) / scale for k in range(1, steps // 2 + 1)]
        made: Tensor = self.embed(torch.cat([moments, *(lag.unsqueeze(-1) for lag in lags)], -1).flatten(1))
        return made.unsqueeze(1)


class LearnedPrototypes(nn.Module):
    """Learned prototypes, for a backbone without a vocabulary.

    Args:
        count: Number of prototypes.
        width: Number of channels of a prototype.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.words = nn.Parameter(0.02 * torch.randn(count, width))

    def forward(self) -> Tensor:
        """Return the prototypes, (prototype, width)."""
        return self.words


class VocabularyPrototypes(nn.Module):
    """Prototypes that are learned mixtures of the token embeddings of a language model.

    Args:
        words: Number of tokens of the vocabulary.
        count: Number of prototypes.
    """

    def __init__(self, words: int, count: int) -> None:
        super().__init__()
        self.mix = nn.Linear(words, count)

    def forward(self, words: Tensor) -> Tensor:
        """Mix the vocabulary (word, width) to prototypes (prototype, width)."""
        made: Tensor = self.mix(words.T).T
        return made


class TemporalBranch(nn.Module):
    """Temporal branch: a forecast that all nodes share, from the means over nodes.

    Args:
        spec: Description of the panel.
        outputs: Number of likelihood parameters of a target.
        backbone: Backbone: `transformer`, or the name or folder of a language model.
        width: Number of channels of a patch's token, and of the tokens of the small transformer.
        layers: Number of layers of the backbone, the first ones of a language model; all of its layers when None.
        heads: Number of attention heads.
        rank: Rank of a language model's adapters; 0 for none.
        patch: Number of steps of a patch.
        stride: Number of steps from one patch to the next.
        prototypes: Number of prototypes by which patches are expressed.
        dropout: Dropout rate of attention.
    """

    def __init__(
        self,
        spec: PanelSpec,
        outputs: int,
        *,
        backbone: str,
        width: int,
        layers: int | None,
        heads: int,
        rank: int,
        patch: int,
        stride: int,
        prototypes: int,
        dropout: float,
    ) -> None:
        super().__init__()
        targets, channels = len(spec.targets), 2 * len(spec.targets) + 2 * len(spec.calendar)
        patch = min(patch, spec.window)
        self.shape = (spec.horizon, 1, targets, outputs)
        self.patching = Patching(spec.window, channels, patch, min(stride, patch), width)
        self.statistics: Statistics | None = None
        self.backbone: SmallTransformer | LanguageModel
        if backbone == "transformer":
            self.prototypes: nn.Module = LearnedPrototypes(prototypes, width)
            self.statistics = Statistics(spec.window, targets, width)
            self.backbone = SmallTransformer(width, layers or 2, heads, self.patching.count + 1, dropout)
        else:
            self.backbone = LanguageModel(backbone, layers, rank)
            self.prototypes = VocabularyPrototypes(len(self.backbone.vocabulary), prototypes)
        channel = self.backbone.width
        self.reprogram = Reprogramming(width, channel, heads, width // heads, dropout)
        self.out = nn.Linear(self.patching.count * channel, spec.horizon * targets * outputs)

    def forward(self, inputs: Inputs, prompts: Sequence[str] = ()) -> Tensor:
        """Forecast what all nodes share.

        Args:
            inputs: Standardised inputs of the window.
            prompts: Prompt of each window, for a language model.

        Returns:
            Raw outputs, (batch, lead, 1, target, output), in standardised units.
        """
        series = pooled(inputs)
        patches, count = self.patching(torch.cat([series, inputs.calendar], -1)), self.patching.count
        if isinstance(self.backbone, LanguageModel):
            tokens = self.reprogram(patches, self.prototypes(self.backbone.vocabulary))
            read = self.backbone(prompts, tokens)
        else:
            assert self.statistics is not None
            tokens = self.reprogram(patches, self.prototypes())
            prompt = self.statistics(series[..., : series.shape[-1] // 2])
            read = self.backbone(torch.cat([prompt, tokens], 1))
        made: Tensor = self.out(read[:, -count:].flatten(1)).unflatten(-1, self.shape)
        return made
