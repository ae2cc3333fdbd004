"""LoRA and QLoRA against PEFT: gradients, whole runs, files in both directions, and merging."""

import copy
import functools
import json
import subprocess

import numpy
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file
from torch.nn import functional
from transformers import AutoModelForCausalLM

import families
import llama
from probe import BIN, probe, relative_error
from test_bfloat16 import assert_no_worse, logits_and_gradients, rounded
from test_model import BATCH, LEAST, LENGTH, PEAK, WARM_UP, language, random_tokens

# Rows are multiples of a block's 32 numbers.
SHAPE = dict(vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16, tie_word_embeddings=True)
# The same with what other families add: biases and head norms, which stay as they are, a head size of its own, a window shorter
# than the sequences, and a head of its own.
OTHER = {name: value for name, value in SHAPE.items() if name not in ("head_dim", "tie_word_embeddings")} | {"initializer_range": 0.1}
MODELS = {
    "Llama": functools.partial(llama.build, SHAPE, dtype=torch.float32),
    "Qwen2": functools.partial(families.random_model, lambda: families.Qwen2ForCausalLM(families.Qwen2Config(
        **OTHER, tie_word_embeddings=True))),
    "Qwen3": functools.partial(families.random_model, lambda: families.Qwen3ForCausalLM(families.Qwen3Config(
        **OTHER, head_dim=24, tie_word_embeddings=False))),
    "Mistral": functools.partial(families.random_model, lambda: families.MistralForCausalLM(families.MistralConfig(
        **OTHER, head_dim=8, sliding_window=23, tie_word_embeddings=False))),
}
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
BASES = {"float32": 0, "bfloat16": 1, "q8_0": 2, "q4_0": 3}
STEPS = 100


def with_adapters(model, modules=MODULES, rank=8, alpha=16, seed=3):
    """PEFT's, with a B that is not zero, so that every part of the adapters matters."""
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=modules, task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_((0.05 * torch.randn_like(parameter)).float())
    return model


def file_name(name):
    return name.replace(".default", "")


def adapters_of(model):
    return {file_name(name): p.detach().float().numpy().copy() for name, p in model.named_parameters() if "lora_" in name}


def layers(modules):
    return sum(1 << MODULES.index(module) for module in modules)


def give_base(model, tensors):
    """The frozen weights of a PEFT model become what `tensors` ("base.NAME") say."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" not in name:
                plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
                parameter.copy_(torch.from_numpy(tensors["base." + plain]).reshape(parameter.shape))


def loss_of(model, tokens, targets):
    logits = model(torch.from_numpy(tokens).long()).logits
    return logits, functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).long().flatten())


ALL, SOME = MODULES, (["q_proj", "v_proj"], ["k_proj", "o_proj", "up_proj"], ["down_proj"])


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name, modules", [("Llama", modules) for modules in (ALL, *SOME)]
                         + [(name, modules) for name in ("Qwen2", "Qwen3", "Mistral") for modules in (ALL, SOME[1])],
                         ids=lambda value: value if isinstance(value, str) else "+".join(module[:-5] for module in value))
def test_logits_and_gradients(tmp_path, base, name, modules):
    plain = MODELS[name]()
    plain.config.save_pretrained(tmp_path)
    given = llama.parameters(plain)
    model = with_adapters(plain, modules).double()
    tokens, targets = random_tokens(1, 160, 2, 40), random_tokens(2, 160, 2, 40)
    for recompute in (0, 2):
        ours, numbers = probe(tmp_path, "adapters", {"tokens": tokens, "targets": targets, **given, **adapters_of(model)}, threads=2,
                              config=tmp_path, lora_rank=8, lora_alpha=16, lora_layers=layers(modules), base=BASES[base],
                              recompute=recompute)
        give_base(model, ours)
        model.zero_grad()
        logits, loss = loss_of(model, tokens, targets)
        loss.backward()
        assert relative_error(ours["logits"], logits.detach().numpy().reshape(80, -1)) < 1e-5
        assert numbers["loss"] == pytest.approx(loss.item(), rel=1e-6)
        compared = 0
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                assert relative_error(ours[file_name(name)], parameter.grad.numpy()) < 1e-5, name
                compared += 1
        assert compared == 2 * 3 * len(modules)
        # What the frozen weights have become is near what they were, or they themselves.
        error = {"float32": 0, "bfloat16": 2e-3, "q8_0": 6e-3, "q4_0": 0.1}[base]
        for name, value in given.items():
            assert relative_error(ours["base." + name], value) <= error, name


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_is_no_worse_than_pytorch(tmp_path, name):
    """Every kind of gradient and the logits, over layers and draws, as test_bfloat16.py compares models trained whole."""

    def draw(seed, batch, length):
        plain = MODELS[name](seed=seed)
        plain.config.save_pretrained(tmp_path)
        given = {key: rounded(value) for key, value in llama.parameters(plain).items()}
        model = with_adapters(plain, seed=seed + 3).bfloat16()
        model.set_attn_implementation("sdpa")
        give_base(model, {"base." + key: value for key, value in given.items()})
        exact = copy.deepcopy(model).double()
        tokens, targets = (random_tokens(2 * seed + i, 160, batch, length) for i in (0, 1))
        ours, numbers = probe(tmp_path, "adapters", {"tokens": tokens, "targets": targets, **given, **adapters_of(model)}, threads=2,
                              config=tmp_path, bfloat16=1, lora_rank=8, lora_alpha=16, base=BASES["bfloat16"])
        theirs, _ = logits_and_gradients(model, tokens, targets)
        reference, loss = logits_and_gradients(exact, tokens, targets)
        assert numbers["loss"] == pytest.approx(loss, rel=5e-3)
        ours = {key: value for key, value in ours.items() if not key.startswith("base.")}
        assert len(ours) == 1 + 2 * 3 * len(MODULES)
        return ours, *({file_name(key): value for key, value in found.items()} for found in (theirs, reference))

    assert_no_worse([draw(seed, batch, length) for seed in range(4) for batch, length in ((2, 40), (1, 100))])


@pytest.mark.parametrize("base", ["float32", "q8_0", "q4_0"])
def test_a_hundred_steps_of_training(tmp_path, base):
    plain = llama.build(SHAPE, dtype=torch.float32).train()
    given = llama.parameters(plain)
    model = with_adapters(plain)
    start = adapters_of(model)
    tokens = random_tokens(1, 160, 1, 4)
    frozen, _ = probe(tmp_path, "adapters", {"tokens": tokens, "targets": tokens, **given, **start}, lora_rank=8, lora_alpha=16,
                      base=BASES[base], **SHAPE)
    give_base(model, frozen)
    sequences = language(160)[:STEPS]
    trained = [p for name, p in model.named_parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=PEAK, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    losses = []
    for step, batch in enumerate(torch.from_numpy(sequences).long(), 1):
        logits = model(batch[:, :-1]).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        rate = PEAK * step / WARM_UP if step <= WARM_UP else LEAST + (PEAK - LEAST) * 0.5 * (
            1 + numpy.cos(numpy.pi * (step - WARM_UP) / (STEPS - WARM_UP)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        losses.append(loss.item())
    ours, numbers = probe(tmp_path, "train", {"sequences": sequences, **given, **start}, ranks=2, micro_batch=2, learning_rate=PEAK,
                          learning_rate_min=LEAST, warmup_steps=WARM_UP, lora_rank=8, lora_alpha=16, base=BASES[base], **SHAPE)
    assert losses[-1] < losses[0] - 0.3
    numpy.testing.assert_allclose(numbers["losses"], losses, atol=1e-3, rtol=0)
    for name, value in adapters_of(model).items():
        assert relative_error(ours[name], value) < 1e-2, name


def test_dropout_is_the_same_in_any_micro_batch_and_changes_the_loss(tmp_path):
    plain = llama.build(SHAPE)
    given, start = llama.parameters(plain), adapters_of(with_adapters(plain))
    sequences = language(160)[:5]
    runs = {}
    for dropout, micro_batch, ranks in [(0.0, 2, 1), (0.3, 2, 1), (0.3, BATCH, 1), (0.3, 1, 3)]:
        ours, numbers = probe(tmp_path, "train", {"sequences": sequences, **given, **start}, ranks=ranks, micro_batch=micro_batch,
                              lora_rank=8, lora_alpha=16, lora_dropout=dropout, **SHAPE)
        runs[dropout, micro_batch] = numbers["losses"]
    assert numpy.abs(numpy.subtract(runs[0.3, 2], runs[0.0, 2])).max() > 1e-3
    numpy.testing.assert_allclose(runs[0.3, 2], runs[0.3, BATCH], rtol=1e-5)
    numpy.testing.assert_allclose(runs[0.3, 2], runs[0.3, 1], rtol=1e-5)


def llm(*words):
    return subprocess.run([BIN / "athanor-llm", *map(str, words)], capture_output=True, text=True, timeout=300)


@pytest.fixture
def checkpoint(tmp_path):
    model = llama.build(SHAPE, dtype=torch.float32)
    model.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def test_merges_what_peft_has_saved(tmp_path, checkpoint):
    model = with_adapters(loaded(checkpoint), ["q_proj", "v_proj", "down_proj"], rank=4, alpha=12).eval()
    model.save_pretrained(tmp_path / "adapters")
    done = llm("merge", "--model", checkpoint, "--adapter", tmp_path / "adapters", "--out", tmp_path / "merged")
    assert done.returncode == 0, done.stderr
    tokens = torch.from_numpy(random_tokens(1, 160, 2, 30)).long()
    with torch.no_grad():
        assert relative_error(loaded(tmp_path / "merged")(tokens).logits.numpy(), model(tokens).logits.numpy()) < 1e-5
    # An older name of the option, and every type that numbers are written in.
    done = llm("merge", "--model", checkpoint, "--adapter", tmp_path / "adapters", "--output", tmp_path / "half", "--dtype", "float16")
    assert done.returncode == 0, done.stderr
    whole = load_file(tmp_path / "merged/model.safetensors")
    for name, half in load_file(tmp_path / "half/model.safetensors").items():
        assert half.dtype == numpy.float16 and numpy.array_equal(half, whole[name].astype(numpy.float16)), name


def adapter_files(tmp_path, checkpoint):
    model = with_adapters(loaded(checkpoint)).eval()
    model.save_pretrained(tmp_path / "adapters")
    return tmp_path / "adapters"


@pytest.mark.parametrize("change, message", [
    ({"peft_type": "IA3"}, 'type "IA3"; only LORA'),
    ({"use_dora": True}, 'sets "use_dora", which is not known here; merge the adapters in PEFT'),
    ({"modules_to_save": ["lm_head"]}, 'sets "modules_to_save"'),
    ({"bias": "all"}, "trains biases"),
    ({"r": 0}, "rank of an adapter must lie between"),
    ({"r": 4}, "they do not belong together"),
    ({"target_modules": ["q_proj"]}, "for which the model has no place"),
    ({"target_modules": ["embed_tokens"]}, "'embed_tokens' is no layer that can have an adapter"),
    ({"target_modules": 7}, "must be a list"),
])
def test_refuses_adapters_that_it_does_not_have(tmp_path, checkpoint, change, message):
    adapters = adapter_files(tmp_path, checkpoint)
    config = json.loads((adapters / "adapter_config.json").read_text())
    (adapters / "adapter_config.json").write_text(json.dumps({**config, **change}))
    done = llm("merge", "--model", checkpoint, "--adapter", adapters, "--out", tmp_path / "merged")
    assert done.returncode != 0 and message in done.stderr, done.stderr
    assert not (tmp_path / "merged/config.json").exists()


def test_refuses_folders_that_are_no_adapters(tmp_path, checkpoint):
    adapters = adapter_files(tmp_path, checkpoint)
    merge = ["merge", "--model", checkpoint, "--out", tmp_path / "merged", "--adapter"]
    assert "has no adapters; a folder that PEFT" in llm(*merge, tmp_path).stderr
    tensors = load_file(adapters / "adapter_model.safetensors")
    name = next(iter(tensors))
    save_file({key: value for key, value in tensors.items() if key != name}, adapters / "adapter_model.safetensors")
    assert f"lacks the tensor {name}" in llm(*merge, adapters).stderr
    (adapters / "adapter_model.safetensors").unlink()
    assert "has no adapters with safetensors" in llm(*merge, adapters).stderr
    for out, whose in ((checkpoint, "the model's"), (adapters, "the adapters'")):
        done = llm("merge", "--model", checkpoint, "--out", out, "--adapter", adapters)
        assert done.returncode == 2 and f"is {whose} own place" in done.stderr


def test_peft_loads_what_is_saved(tmp_path, checkpoint):
    model = with_adapters(loaded(checkpoint)).eval()
    start = adapters_of(model)
    given = llama.parameters(loaded(checkpoint))
    tokens = random_tokens(1, 160, 2, 30)
    ours, _ = probe(tmp_path, "adapters", {"tokens": tokens, "targets": tokens, **given, **start}, lora_rank=8, lora_alpha=16, save=1, **SHAPE)
    back = PeftModel.from_pretrained(loaded(checkpoint), tmp_path / "out.safetensors.adapters").eval()
    with torch.no_grad():
        logits = back(torch.from_numpy(tokens).long()).logits.numpy()
    assert relative_error(ours["logits"], logits.reshape(60, -1)) < 1e-5
