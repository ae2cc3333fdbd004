"""The whole decoder against transformers' LlamaForCausalLM: logits and every gradient, and training with PyTorch's AdamW, also
of other families."""

import math

import numpy
import pytest
import torch
from torch.nn import functional

import families
import llama
from probe import probe, relative_error

torch.set_num_threads(1)  # these models are too small for more

SHAPES = pytest.mark.parametrize("shape", llama.SHAPES.values(), ids=llama.SHAPES.keys())


def random_tokens(seed, vocabulary, *shape):
    return numpy.random.default_rng(seed).integers(0, vocabulary, shape).astype(numpy.int32)


@SHAPES
@pytest.mark.parametrize("batch, length", [(2, 1), (3, 20), (1, 64), (2, 65), (1, 150)])
def test_logits_and_every_gradient(tmp_path, shape, batch, length):
    model = llama.build(shape)
    tokens = random_tokens(1, shape["vocab_size"], batch, length)
    targets = random_tokens(2, shape["vocab_size"], batch, length)
    targets[:, ::5] = -1 if length > 1 else targets[:, ::5]
    ours, numbers = probe(
        tmp_path, "model", {"tokens": tokens, "targets": targets, **llama.parameters(model)}, threads=2, **shape
    )
    logits = model(torch.from_numpy(tokens).long()).logits
    loss = functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).long().flatten(), ignore_index=-1)
    loss.backward()

    assert relative_error(ours["logits"], logits.detach().numpy().reshape(batch * length, -1)) < 1e-5
    assert relative_error(ours["step_by_step"], logits[0].detach().numpy()) < 1e-5
    assert numbers["loss"] == pytest.approx(loss.item(), rel=1e-6)
    compared = 0
    for name, parameter in model.named_parameters():
        reference = parameter.grad.numpy()
        if length == 1 and ("q_proj" in name or "k_proj" in name):  # one score's softmax is constant
            assert numpy.abs(ours[name]).max() < 1e-6
        else:
            assert relative_error(ours[name], reference) < 1e-5, name
        compared += 1
    assert compared == 2 + 9 * shape["num_hidden_layers"] + (0 if shape["tie_word_embeddings"] else 1)


STEPS, BATCH, LENGTH, WARM_UP, PEAK, LEAST = 100, 6, 33, 5, 3e-3, 3e-4


def rate_at(step):
    if step <= WARM_UP:
        return PEAK * step / WARM_UP
    return LEAST + (PEAK - LEAST) * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP)))


def language(vocabulary):
    """Sequences with something to learn: a token mostly decides the next one."""
    random = numpy.random.default_rng(5)
    successor = random.permutation(vocabulary)
    tokens = random.integers(0, vocabulary, (STEPS, BATCH, LENGTH + 1))
    for t in range(1, LENGTH + 1):
        follows = random.random((STEPS, BATCH)) < 0.8
        tokens[:, :, t] = numpy.where(follows, successor[tokens[:, :, t - 1]], tokens[:, :, t])
    return tokens.astype(numpy.int32)


def train_in_pytorch(model, sequences, z_loss=0):
    """A model in float32, which is left trained; returns (losses, norms of the gradients)."""
    model.train()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=PEAK, betas=(0.9, 0.95), eps=1e-8,
    )
    losses, norms = [], []
    for step, batch in enumerate(torch.from_numpy(sequences).long(), 1):
        logits = model(batch[:, :-1]).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()) + z_loss * (logits.logsumexp(-1) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step)
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


def train_in_ours(folder, start, sequences, **options):
    """From the parameters `start`; returns (the trained ones, losses and gradient_norms by name)."""
    return probe(folder, "train", {"sequences": sequences, **start}, learning_rate=PEAK, learning_rate_min=LEAST, warmup_steps=WARM_UP, **options)


def assert_the_same_run(ours, numbers, losses, norms, trained):
    assert len(numbers["losses"]) == len(losses) == 100
    assert losses[-1] < losses[0] - 0.5  # something was learned
    assert max(norms) > 1 and min(norms) < max(norms)  # and clipping was at work
    numpy.testing.assert_allclose(numbers["losses"], losses, atol=1e-3, rtol=0)
    numpy.testing.assert_allclose(numbers["gradient_norms"], norms, rtol=1e-2)
    assert ours.keys() == trained.keys()
    for name, value in trained.items():
        assert relative_error(ours[name], value) < 1e-2, name


@pytest.fixture(scope="module")
def pytorch_runs():
    runs = {}

    def run(shape):
        key = shape["vocab_size"]
        if key not in runs:
            model = llama.build(shape, dtype=torch.float32)
            runs[key] = *train_in_pytorch(model, language(key)), llama.parameters(model)
        return runs[key]

    return run


@SHAPES
@pytest.mark.parametrize("ranks, micro_batch", [(1, 6), (1, 4), (2, 2), (3, 1)])
def test_a_hundred_steps_of_training(tmp_path, pytorch_runs, shape, ranks, micro_batch):
    start = llama.parameters(llama.build(shape))
    ours, numbers = train_in_ours(tmp_path, start, language(shape["vocab_size"]), ranks=ranks, micro_batch=micro_batch, **shape)
    assert_the_same_run(ours, numbers, *pytorch_runs(shape))


@pytest.mark.parametrize("name", ["Qwen3", "Qwen2", "Mistral", "Llama 3"])  # norms of heads, biases, a short window, scaled RoPE
def test_a_hundred_steps_of_a_family(tmp_path, name):
    model = families.build(name)
    model.config.save_pretrained(tmp_path)
    start, sequences = llama.parameters(model), language(model.config.vocab_size)
    losses, norms = train_in_pytorch(model, sequences)
    ours, numbers = train_in_ours(tmp_path, start, sequences, config=tmp_path, ranks=2, micro_batch=2)
    assert_the_same_run(ours, numbers, losses, norms, llama.parameters(model))


def test_training_with_z_loss(tmp_path):
    shape = llama.SHAPES["one key per query, untied"]
    model, sequences = llama.build(shape, dtype=torch.float32), language(shape["vocab_size"])
    start = llama.parameters(model)
    losses, norms = train_in_pytorch(model, sequences, z_loss=0.02)
    ours, numbers = train_in_ours(tmp_path, start, sequences, z_loss=0.02, ranks=2, micro_batch=2, **shape)
    assert_the_same_run(ours, numbers, losses, norms, llama.parameters(model))
