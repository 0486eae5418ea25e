"""The temporal branch: the mean over nodes, cut into patches that a transformer reads in its own words."""

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
    """Means of the targets over the nodes that were observed, and their share of all: (batch, step, 2 * target)."""
    targets = inputs.since.shape[-1]
    values, mask = inputs.values[..., :targets], inputs.mask[..., :targets]
    count = mask.sum(2)
    return torch.cat([(values * mask).sum(2) / count.clamp(min=1), count / mask.shape[2]], -1)


class Patching(nn.Module):
    """Patches of a series, each a token: (batch, step, channel) -> (batch, patch, width).

    The last step is repeated `stride` times, so that there are (steps - length) // stride + 2 patches.

    Args:
        steps: Of the series.
        channels: Of a step.
        length: Of a patch, in steps.
        stride: From one to the next.
        width: Of a token.

    References:
        Nie et al. (2023), A time series is worth 64 words. ICLR.
    """

    def __init__(self, steps: int, channels: int, length: int, stride: int, width: int) -> None:
        super().__init__()
        self.length, self.stride = length, stride
        self.count = (steps - length) // stride + 2
        self.embed = nn.Linear(length * channels, width)

    def forward(self, x: Tensor) -> Tensor:
        """See above."""
        longer = pad(x.transpose(1, 2), (0, self.stride), mode="replicate")
        made: Tensor = self.embed(longer.unfold(2, self.length, self.stride).transpose(1, 2).flatten(2))
        return made


class Reprogramming(nn.Module):
    """Patches in the words of a language model: cross attention of patches to prototypes.

    Args:
        patch: Width of a patch's token.
        word: Width of a prototype, and of what is given out.
        heads: Of attention; each has keys of `key` numbers.
        key: See above.
        dropout: On the weights of attention.

    References:
        Jin et al. (2024), Time-LLM: time series forecasting by reprogramming large language models. ICLR.
    """

    def __init__(self, patch: int, word: int, heads: int, key: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = (nn.Linear(size, heads * key) for size in (patch, word, word))
        self.out = nn.Linear(heads * key, word)

    def forward(self, patches: Tensor, prototypes: Tensor) -> Tensor:
        """(batch, patch, width) and (prototype, word) -> (batch, patch, word)."""
        q, k, v = self.query(patches), self.key(prototypes), self.value(prototypes)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for x in (q, k, v))
        score = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        score = torch.dropout(score, self.dropout, self.training)
        made: Tensor = self.out((score @ v).transpose(-3, -2).flatten(-2))
        return made


class Statistics(nn.Module):
    """A prompt in numbers: least, largest and median value, trend, and the autocorrelation of each pooled target.

    Args:
        steps: Of the window.
        targets: How many.
        width: Of the token that is made of them.
    """

    def __init__(self, steps: int, targets: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(targets * (4 + steps // 2), width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, step, target) -> (batch, 1, width)."""
        steps = x.shape[1]
        moments = torch.stack([x.amin(1), x.amax(1), x.median(1).values, x[:, -1] - x[:, 0]], -1)
        centred = x - x.mean(1, keepdim=True)
        scale = centred.square().mean(1) + 1e-6
        lags = [(centred[:, k:] * centred[:, : steps - k]).mean(1) / scale for k in range(1, steps // 2 + 1)]
        made: Tensor = self.embed(torch.cat([moments, *(lag.unsqueeze(-1) for lag in lags)], -1).flatten(1))
        return made.unsqueeze(1)


class LearnedPrototypes(nn.Module):
    """Prototypes that are learned, for a backbone that knows no words."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.words = nn.Parameter(0.02 * torch.randn(count, width))

    def forward(self) -> Tensor:
        """(prototype, width)."""
        return self.words


class VocabularyPrototypes(nn.Module):
    """Prototypes that are learned mixtures of all words of a language model."""

    def __init__(self, words: int, count: int) -> None:
        super().__init__()
        self.mix = nn.Linear(words, count)

    def forward(self, words: Tensor) -> Tensor:
        """(word, width) -> (prototype, width)."""
        made: Tensor = self.mix(words.T).T
        return made


class TemporalBranch(nn.Module):
    """What all nodes have in common: (batch, lead, 1, target, output).

    Args:
        spec: The panel's.
        outputs: Likelihood parameters a target.
        backbone: `transformer`, or the name or folder of a language model.
        width: Of a patch's token; also of the small transformer's words.
        layers: Of the backbone; of a language model its first, all when None.
        heads: Of attention.
        rank: Of a language model's adapters.
        patch: Steps of a patch.
        stride: From one patch to the next.
        prototypes: Words that patches are told in.
        dropout: In attention.
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
        word = self.backbone.width
        self.reprogram = Reprogramming(width, word, heads, width // heads, dropout)
        self.out = nn.Linear(self.patching.count * word, spec.horizon * targets * outputs)

    def forward(self, inputs: Inputs, prompts: Sequence[str] = ()) -> Tensor:
        """See above; a language model is given a prompt for each window."""
        series = pooled(inputs)
        patches, count = self.patching(torch.cat([series, inputs.calendar], -1)), self.patching.count
        if isinstance(self.backbone, LanguageModel):
            words = self.reprogram(patches, self.prototypes(self.backbone.vocabulary))
            read = self.backbone(prompts, words)
        else:
            assert self.statistics is not None
            words = self.reprogram(patches, self.prototypes())
            told = self.statistics(series[..., : series.shape[-1] // 2])
            read = self.backbone(torch.cat([told, words], 1))
        made: Tensor = self.out(read[:, -count:].flatten(1)).unflatten(-1, self.shape)
        return made
