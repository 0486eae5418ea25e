"""Language models as backbones: tiny random ones, saved and loaded by the real path."""

import re
import shutil

import numpy as np
import pytest
import torch
from helpers import FEW, SMALL_SEPNET, batch_of, fitted, sepnet_data

from stgate.errors import CheckpointError, RequestError
from stgate.inference import Ensemble
from stgate.models import STHSepNet
from stgate.nn.sepnet import prefix_cache
from stgate.nn.sepnet.language_model import LanguageModel, feed_forward
from stgate.nn.sepnet.prompts import prompts, top_lags

transformers = pytest.importorskip("transformers", reason="the extra llm is not installed")
pytest.importorskip("peft", reason="the extra llm is not installed")
SMALL = {name: value for name, value in SMALL_SEPNET.items() if name != "depth"}
WORDS = ["min", "max", "median", "trend", "upward", "downward", "lags", "y", "given", "steps"]
SIZE = {"vocab_size": 40, "max_position_embeddings": 256}
BERT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "bert": lambda: transformers.BertConfig(**SIZE, **BERT),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=40, n_positions=256, n_embd=16, n_layer=3, n_head=2, bos_token_id=1, eos_token_id=1
    ),
    "llama": lambda: transformers.LlamaConfig(**SIZE, **BERT),
}


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def folder(request, tmp_path_factory):
    """A tiny language model of a kind, with a tokenizer that knows some words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    place = tmp_path_factory.mktemp(request.param)
    words = ["[PAD]", "[UNK]", *WORDS, *"0123456789.,:-"]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        place
    )
    torch.manual_seed(0)
    transformers.AutoModel.from_config(CONFIGS[request.param]()).save_pretrained(place)
    return str(place)


def test_adapters_learn_and_all_else_stays(folder):
    data = sepnet_data()
    model = STHSepNet(**SMALL, backbone=folder, linear=False, optimizer=lambda w: torch.optim.Adam(w, lr=0.01))
    model.adopt(data)
    language = model.predictor.built.temporal.backbone
    frozen = {name: weight.clone() for name, weight in language.named_parameters() if not weight.requires_grad}
    adapters = {name: weight.clone() for name, weight in language.named_parameters() if weight.requires_grad}
    assert len(adapters) == 2 * len(feed_forward(transformers.AutoModel.from_pretrained(folder)))
    fitted(model, data, **FEW)
    for name, weight in language.named_parameters():
        changed = not torch.equal(weight, (adapters if weight.requires_grad else frozen)[name])
        assert changed == weight.requires_grad, name
    model.train()
    model(batch_of(data)).mean.square().sum().backward()
    for name, weight in model.named_parameters():
        if weight.requires_grad and name.endswith(("lora_A.default.weight", "lora_B.default.weight", "mix.weight")):
            assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_a_checkpoint_holds_the_adapters_and_the_name(folder, tmp_path):
    data = sepnet_data()
    model = fitted(STHSepNet(**SMALL, backbone=folder, depth=2), data, **FEW)
    model.save(tmp_path / "m.ckpt")
    stored = torch.load(tmp_path / "m.ckpt", weights_only=True)
    kept = [name for name in stored["state_dict"] if ".backbone." in name]
    assert kept and all("lora_" in name for name in kept)
    again = STHSepNet.load_from_checkpoint(tmp_path / "m.ckpt")
    torch.testing.assert_close(again(batch_of(data)).mean, model(batch_of(data)).mean)


def test_a_forecast_does_not_depend_on_the_others_of_its_batch(folder):
    data = sepnet_data()
    model = fitted(STHSepNet(**SMALL, backbone=folder), data, **FEW)
    batch = batch_of(data)
    alone = {name: value if name == "static" else value[3:4] for name, value in batch.items()}
    torch.testing.assert_close(model(alone).mean, model(batch).mean[3:4], atol=1e-5, rtol=1e-5)


def test_what_a_frozen_model_has_read_is_kept_where_it_is_the_same(folder, monkeypatch):
    """Of decoders without adapters: prompts are read once, and all that comes of them is as if read anew."""
    language = LanguageModel(folder, None, 0).eval()
    kept = language._prefixes
    assert (kept is None) == folder.endswith("bert0")
    told, words = ["min 1 max 2 median", "min 3"], torch.randn(2, 4, 16, requires_grad=True)
    found = []
    for prefixes in (kept, kept, None):
        monkeypatch.setattr(language, "_prefixes", prefixes)
        made = language(told, words)
        found.append((made, *torch.autograd.grad(made.square().sum(), [words])))
    for made in zip(*found, strict=True):
        torch.testing.assert_close(made[0], made[2])
        torch.testing.assert_close(made[1], made[2])
    if kept is not None:
        assert set(kept.kept) == set(told)
        monkeypatch.setattr(kept, "_read", None)  # nothing is read again
        monkeypatch.setattr(language, "_prefixes", kept)
        torch.testing.assert_close(language(told[::-1], words.flip(0)), found[2][0].flip(0))
        monkeypatch.undo()
        monkeypatch.setattr(prefix_cache, "NUMBERS", 0)  # nothing is kept for long
        torch.testing.assert_close(language(told, words), found[2][0])
        assert set(kept.kept) == set(told)
    assert LanguageModel(folder, None, 4)._prefixes is None


def test_a_language_model_reads_in_training_as_it_does_elsewhere(folder):
    language = LanguageModel(folder, None, 4).train()
    torch.manual_seed(0)
    with torch.no_grad():
        for adapted in (w for name, w in language.named_parameters() if "lora_B" in name):
            adapted.normal_()
    words = torch.randn(1, 4, 16)
    torch.testing.assert_close(language(["min 3"], words), language(["min 3"], words), rtol=0, atol=0)
    torch.testing.assert_close(language(["min 3"], words), language.eval()(["min 3"], words), rtol=0, atol=0)


def test_layers_that_were_never_trained_are_refused(folder):
    with pytest.raises(RequestError, match="depth 9"):
        LanguageModel(folder, 9, 4)


def test_another_model_in_its_folder_is_refused(folder, tmp_path):
    """Its checkpoint would forecast other numbers without a word."""
    data, place = sepnet_data(), tmp_path / "model"
    shutil.copytree(folder, place)
    model = fitted(STHSepNet(**SMALL, backbone=str(place), description="Speeds."), data, **FEW)
    model.save(tmp_path / "m.ckpt")
    again = STHSepNet.load_from_checkpoint(tmp_path / "m.ckpt")
    torch.testing.assert_close(again(batch_of(data)).mean, model(batch_of(data)).mean)
    transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(place)).save_pretrained(place)
    with pytest.raises(CheckpointError, match="differs from the language model of the fit"):
        STHSepNet.load_from_checkpoint(tmp_path / "m.ckpt")


def test_a_folder_that_moved_is_named_once(folder, tmp_path):
    data, place = sepnet_data(), tmp_path / "model"
    shutil.copytree(folder, place)
    model = fitted(STHSepNet(**SMALL, backbone=str(place), description="Speeds."), data, **FEW)
    model.save(tmp_path / "m.ckpt")
    place.rename(tmp_path / "moved")
    with pytest.raises(RequestError, match="folder"):
        STHSepNet.load_from_checkpoint(tmp_path / "m.ckpt")
    moved = STHSepNet.load_from_checkpoint(tmp_path / "m.ckpt", backbone=str(tmp_path / "moved"))
    moved.save(tmp_path / "moved.ckpt")
    again = STHSepNet.load_from_checkpoint(tmp_path / "moved.ckpt")
    torch.testing.assert_close(again(batch_of(data)).mean, model(batch_of(data)).mean)
    assert again.predictor.fingerprint() == model.predictor.fingerprint()


def test_a_prompt_that_is_too_long_is_refused(folder):
    data = sepnet_data()
    with pytest.raises(
        RequestError, match=r"description: a prompt of \d+ tokens and 6 of the series, the model takes 256"
    ):
        fitted(STHSepNet(**SMALL, backbone=folder, description="min max " * 200), data, **FEW)


def test_a_model_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RequestError, match="backbone '/nowhere/model'") as caught:
        LanguageModel("/nowhere/model", None, 4)
    assert "\n" not in str(caught.value)


def test_a_hub_out_of_reach_is_asked_once(monkeypatch):
    """Not six times over half a minute, as the library does by itself."""
    import huggingface_hub

    asked = []

    def no_answer(self, name, **options):
        asked.append(name)
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", no_answer)
    with pytest.raises(RequestError, match=r"backbone 'nobody/none': .*the hub does not answer \(no route\)"):
        LanguageModel("nobody/none", None, 4)
    assert asked == ["nobody/none"]


@pytest.mark.filterwarnings("ignore:members run one after another")  # the attention of some cannot be vectorised
def test_an_ensemble_shares_the_language_model(folder):
    data = sepnet_data()
    model = fitted(STHSepNet(**SMALL, backbone=folder, inference=Ensemble(members=2)), data, **FEW)
    made = model(batch_of(data))
    assert torch.isfinite(made.mean).all()
    assert torch.isfinite(made.stddev).all()


def test_a_prompt_says_what_the_window_holds():
    values = torch.stack([torch.arange(12.0), 5 * torch.sin(torch.arange(12.0) * np.pi / 2)]).unsqueeze(-1)
    one, two = prompts(values, ["speed [mph]"], "Sensors of Los Angeles.", 6)
    assert "Sensors of Los Angeles." in one and "next 6 steps given the previous 12" in one
    assert re.search(r"min 0, max 11, median 5, the trend is upward", one)
    assert "speed [mph]" in two and "min -5, max 5" in two
    assert top_lags(values)[1, 0, 0] == 4  # its period
