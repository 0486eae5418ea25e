"""Hugging Face language models as backbones: frozen, with low-rank adapters on their feed-forward layers."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from stgate.errors import RequestError
from stgate.nn.sepnet.prefix_cache import PrefixCache, is_causal

SAMPLE = 256
"""Number of entries of each weight that the fingerprint of a language model hashes."""
PROMPTS = 4096
"""Number of prompts whose tokens are cached."""


class LanguageModel(nn.Module):
    """Language model that reads a prompt and tokens of a series; its own weights are frozen.

    A checkpoint stores the adapters only. The model itself is loaded again by its name.

    Args:
        name: Name of a model on the hub, or a local folder.
        layers: Number of layers to use, counted from the first; all when None.
        rank: Rank of the adapters; 0 for none.

    Raises:
        RequestError: The extra `llm` is not installed, there is no such model, or it has fewer layers.

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
        """Set the training mode; the language model stays in evaluation mode, so that cached prompts hold.

        Args:
            mode: True to train, False to evaluate.
        """
        super().train(mode)
        self.model.eval()
        return self

    def fingerprint(self) -> str:
        """Compute an identifier of the model: 12 hexadecimal digits of a SHA-256 over samples of frozen weights."""
        digest = hashlib.sha256()
        for name, weight in self.model.named_parameters():
            if not weight.requires_grad:
                step = max(weight.numel() // SAMPLE, 1)
                digest.update(f"{name} {tuple(weight.shape)}".encode())
                digest.update(weight.flatten()[::step].cpu().numpy().tobytes())
        return digest.hexdigest()[:12]

    @property
    def vocabulary(self) -> Tensor:
        """Embeddings of all tokens of the vocabulary, (word, width)."""
        made: Tensor = self.model.get_input_embeddings().weight  # type: ignore[operator]
        return made

    def forward(self, prompts: Sequence[str], tokens: Tensor) -> Tensor:
        """Compute the last hidden states of tokens that follow a prompt.

        A causal model without adapters reads each prompt once and caches its keys and values.

        Args:
            prompts: Prompt of each window.
            tokens: Tokens of the series, (batch, token, width).

        Returns:
            Hidden states of these tokens, (batch, token, width).

        Raises:
            RequestError: Prompt and tokens are longer than the model's context.
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
        """Embed prompts, padded at their start.

        Args:
            prompts: Prompts to embed.

        Returns:
            Embeddings, (prompt, token, width), and a mask, (prompt, token), 0 at the padding.
        """
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
    """List the names of the linear layers in a transformer's blocks that do not belong to attention.

    Args:
        model: Transformer of Hugging Face.
    """
    kinds = ("Linear", "Conv1D")
    names = [name for name, module in model.named_modules() if type(module).__name__ in kinds]
    inside = [name for name in names if re.search(r"(^|\.)(layers?|h|blocks?)\.\d+\.", name)]
    return [name for name in inside if not re.search(r"att(ention|n)", name, re.IGNORECASE)]


def _loaded(name: str, layers: int | None) -> tuple[Any, nn.Module]:
    """Load tokenizer and model, with the libraries' messages turned off."""
    try:
        import huggingface_hub
        import peft  # noqa: F401 (missing peft must fail before the download)
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
        raise RequestError(f"backbone {name!r}: not a model on the hub, nor a folder of one ({why})") from error
    finally:
        for log, verbosity in zip(logs, before, strict=True):
            log.set_verbosity(verbosity)
        if bar:
            transformers.utils.logging.enable_progress_bar()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer, model


def _is_here(name: str) -> bool:
    """Return True to load from this machine only: a folder, or a cached model while the hub cannot be reached.

    The hub is asked once; by default, the library asks six times over half a minute.

    Raises:
        RequestError: The model is not on this machine, and the hub does not answer.
    """
    import huggingface_hub

    if os.path.isdir(name):
        return True
    try:
        huggingface_hub.HfApi().model_info(name, timeout=10)
    except (huggingface_hub.errors.RepositoryNotFoundError, huggingface_hub.errors.HFValidationError):
        return False
    except Exception as error:  # the error depends on the library that sends the request
        if not isinstance(huggingface_hub.try_to_load_from_cache(name, "config.json"), str):
            fix = "download it where there is a network and give its folder"
            raise RequestError(
                f"backbone {name!r}: not a folder, and the hub does not answer ({error}); {fix}"
            ) from error
        return True
    return False


def _without_frozen(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Remove frozen weights from the state to store, as the model is loaded by its name again."""
    learned = {prefix + name for name, weight in module.named_parameters() if weight.requires_grad}
    for name in [name for name in state if name.startswith(prefix) and name not in learned]:
        del state[name]


def _frozen_are_there(module: nn.Module, keys: Any) -> None:  # noqa: ANN401 (torch's own, which has no public name)
    """Remove frozen weights from the missing keys, as they are not stored."""
    learned = {name for name, weight in module.named_parameters() if weight.requires_grad}
    frozen = [name for name, _ in (*module.named_parameters(), *module.named_buffers()) if name not in learned]
    missing = [key for key in keys.missing_keys if not any(f".{key}".endswith(f".{name}") for name in frozen)]
    keys.missing_keys[:] = missing
