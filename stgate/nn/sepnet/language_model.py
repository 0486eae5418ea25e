"""Language models of Hugging Face as backbones: frozen, with low-rank adapters on their feed-forward layers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from stgate.errors import RequestError
from stgate.nn.sepnet.prefix_cache import PrefixCache, is_causal

SAMPLE = 256
"""Numbers of a weight by which a language model is told from others."""
PROMPTS = 4096
"""Prompts whose tokens are kept."""


class LanguageModel(nn.Module):
    """A language model that reads a prompt and tokens of a series; its own weights stay as they were.

    What is stored of it are the adapters: the model itself is loaded by its name again.

    Args:
        name: Of a model on the hub, or a local folder.
        layers: How many of its layers are used, the first; all when None.
        rank: Of the adapters; 0 for none.

    Raises:
        RequestError: The extra is not installed, there is no such model, or it has fewer layers.

    References:
        Hu et al. (2022), LoRA: low-rank adaptation of large language models. ICLR.
    """

    def __init__(self, name: str, layers: int | None, rank: int) -> None:
        super().__init__()
        self.tokenizer, self.model = _loaded(name, layers)
        self.model.requires_grad_(False)
        if rank:
            import peft

            targets = feed_forward(self.model)
            transposed = type(self.model.get_submodule(targets[0])).__name__ == "Conv1D"  # GPT-2's linear layers
            options = {"lora_alpha": 2 * rank, "fan_in_fan_out": transposed}
            adapters = peft.LoraConfig(r=rank, target_modules=targets, **options)
            peft.inject_adapter_in_model(adapters, self.model)
        self.width = int(self.model.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self._tokens: dict[str, list[int]] = {}
        self._prefixes = None if rank or not is_causal(self.model, self.width) else PrefixCache(self.model)
        self.register_state_dict_post_hook(_without_frozen)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_frozen_are_there)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> Self:
        """Its own layers drop nothing in training either: what was read once holds."""
        super().train(mode)
        self.model.eval()
        return self

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of a SHA-256 over a sample of each frozen weight: which language model this is."""
        digest = hashlib.sha256()
        for name, weight in self.model.named_parameters():
            if not weight.requires_grad:
                step = max(weight.numel() // SAMPLE, 1)
                digest.update(f"{name} {tuple(weight.shape)}".encode())
                digest.update(weight.flatten()[::step].cpu().numpy().tobytes())
        return digest.hexdigest()[:12]

    @property
    def vocabulary(self) -> Tensor:
        """(word, width), the embeddings of all words."""
        made: Tensor = self.model.get_input_embeddings().weight  # type: ignore[operator]
        return made

    def forward(self, prompts: Sequence[str], tokens: Tensor) -> Tensor:
        """The last hidden states of tokens (batch, token, width) that follow a prompt each.

        A model without adapters, in which a token knows nothing of those after it, reads a prompt once and keeps what
        it made of it.
        """
        words, there = self.read(prompts)
        count = tokens.shape[1]
        most = getattr(self.model.config, "max_position_embeddings", None)
        if most is not None and words.shape[1] + count > most:
            has = f"a prompt of {words.shape[1]} tokens and {count} of the series, the model takes {most}"
            raise RequestError(f"description: {has}; shorten it, or raise patch and stride")
        seen = torch.cat([there, there.new_ones(len(tokens), count)], 1)
        position = (seen.cumsum(1) - 1).clamp(min=0)
        options: dict[str, Any] = {"inputs_embeds": torch.cat([words, tokens], 1), "use_cache": False}
        if self._prefixes is not None:
            options = {"inputs_embeds": tokens, **self._prefixes.options(prompts, words, there)}
            position = position[:, -count:]
        made: Tensor = self.model(**options, attention_mask=seen, position_ids=position).last_hidden_state
        return made[:, -count:]

    def read(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The words of prompts, padded before their beginning: (prompt, token, width), and which are there."""
        if len(self._tokens) > PROMPTS:
            self._tokens.clear()
        for text in prompts:
            if text not in self._tokens:
                self._tokens[text] = self.tokenizer(text)["input_ids"]
        longest = max(len(self._tokens[text]) for text in prompts)
        pad = self.tokenizer.pad_token_id or 0
        ids = [[pad] * (longest - len(self._tokens[text])) + self._tokens[text] for text in prompts]
        there = [[0] * (longest - len(self._tokens[text])) + [1] * len(self._tokens[text]) for text in prompts]
        at = self.vocabulary.device
        return self.vocabulary[torch.tensor(ids, device=at)], torch.tensor(there, device=at)


def feed_forward(model: nn.Module) -> list[str]:
    """Names of the linear layers in the blocks of a transformer that are not of its attention."""
    kinds = ("Linear", "Conv1D")
    names = [name for name, module in model.named_modules() if type(module).__name__ in kinds]
    inside = [name for name in names if re.search(r"(^|\.)(layers?|h|blocks?)\.\d+\.", name)]
    return [name for name in inside if not re.search(r"att(ention|n)", name, re.IGNORECASE)]


def _loaded(name: str, layers: int | None) -> tuple[Any, nn.Module]:
    """Tokenizer and model, without a word on progress, retries, and heads and layers that are left out."""
    try:
        import huggingface_hub
        import peft  # noqa: F401 (so that nothing is fetched in vain)
        import transformers
    except ImportError as error:
        raise RequestError(f"backbone {name!r}: needs transformers and peft; pip install 'stgate[llm]'") from error
    logs = [transformers.utils.logging, huggingface_hub.utils.logging]
    before, bar = [log.get_verbosity() for log in logs], transformers.utils.logging.is_progress_bar_enabled()
    for log in logs:
        log.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        here = {"local_files_only": _is_here(name)}
        config = transformers.AutoConfig.from_pretrained(name, **here)
        if layers is not None and layers > config.num_hidden_layers:
            has = config.num_hidden_layers
            raise RequestError(f"depth {layers}: {name} has {has} layers, more would be random; give at most {has}")
        cut = {} if layers is None else {"num_hidden_layers": layers}
        options = {"use_safetensors": True, "dtype": torch.float32}  # safetensors hold numbers, never code
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **here)
        model = transformers.AutoModel.from_pretrained(name, **options, **cut, **here)
    except RequestError:
        raise
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise RequestError(f"backbone {name!r}: no such model on the hub, nor folder of one ({why})") from error
    finally:
        for log, verbosity in zip(logs, before, strict=True):
            log.set_verbosity(verbosity)
        if bar:
            transformers.utils.logging.enable_progress_bar()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer, model


def _is_here(name: str) -> bool:
    """Whether a model is to be loaded from this machine alone: a folder, or fetched before and the hub out of reach.

    The hub is asked once; left to itself, the library asks six times over half a minute.

    Raises:
        RequestError: It is not here, and the hub does not answer.
    """
    import huggingface_hub

    if Path(name).is_dir():
        return True
    try:
        huggingface_hub.HfApi().model_info(name, timeout=10)
    except (huggingface_hub.errors.RepositoryNotFoundError, huggingface_hub.errors.HFValidationError):
        return False
    except Exception as error:  # of that by which the library asks, which is not always the same
        if not isinstance(huggingface_hub.try_to_load_from_cache(name, "config.json"), str):
            mend = "fetch it where there is a network and name its folder"
            raise RequestError(
                f"backbone {name!r}: no folder, and the hub does not answer ({error}); {mend}"
            ) from error
        return True
    return False


def _without_frozen(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Of what is stored, drop what the model by this name has anyway."""
    learned = {prefix + name for name, weight in module.named_parameters() if weight.requires_grad}
    for name in [name for name in state if name.startswith(prefix) and name not in learned]:
        del state[name]


def _frozen_are_there(module: nn.Module, keys: Any) -> None:  # noqa: ANN401 (torch's own, which has no public name)
    """What is not stored is not missed."""
    learned = {name for name, weight in module.named_parameters() if weight.requires_grad}
    frozen = [name for name, _ in (*module.named_parameters(), *module.named_buffers()) if name not in learned]
    missing = [key for key in keys.missing_keys if not any(f".{key}".endswith(f".{name}") for name in frozen)]
    keys.missing_keys[:] = missing
