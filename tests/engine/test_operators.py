"""Every operator's forward and backward, in float32, against PyTorch in float64."""

import numpy
import pytest
import torch
from torch.nn import functional

from probe import probe, relative_error

TOLERANCE = 1e-5
THREADS = pytest.mark.parametrize("threads", [1, 3])


def normal(seed, *shape, scale=1.0):
    return (numpy.random.default_rng(seed).standard_normal(shape) * scale).astype(numpy.float32)


def double(array):
    return torch.from_numpy(array).to(torch.float64).requires_grad_()


def check(ours, **references):
    for name, reference in references.items():
        if isinstance(reference, torch.Tensor):
            reference = reference.detach().numpy()
        assert relative_error(ours[name], reference) < TOLERANCE, name


@THREADS
@pytest.mark.parametrize("a_transposed", [0, 1])
@pytest.mark.parametrize("b_transposed", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 512, 100), (97, 33, 65), (256, 300, 128)])
def test_matmul(tmp_path, threads, a_transposed, b_transposed, shape):
    m, n, k = shape
    a, b, c = normal(1, m, k), normal(2, k, n), normal(3, m, n)
    given = {"a": a.T if a_transposed else a, "b": b.T if b_transposed else b, "c": c}
    ours, _ = probe(tmp_path, "matmul", given, threads=threads, a_transposed=a_transposed, b_transposed=b_transposed)
    check(ours, c=double(c) + double(a) @ double(b))


@THREADS
def test_embedding(tmp_path, threads):
    tokens = numpy.random.default_rng(1).integers(0, 37, 200).astype(numpy.int32)
    table, dx = normal(2, 37, 130), normal(3, 200, 130)
    ours, _ = probe(tmp_path, "embedding", {"tokens": tokens, "table": table, "dx": dx}, threads=threads)
    weight = double(table)
    x = functional.embedding(torch.from_numpy(tokens).long(), weight)
    x.backward(torch.from_numpy(dx).double())
    check(ours, x=x, d_table=weight.grad)


@THREADS
@pytest.mark.parametrize("shape", [(1, 8), (100, 64), (33, 257), (5, 2048)])
def test_add_and_rmsnorm(tmp_path, threads, shape):
    given = {"x": normal(1, *shape), "delta": normal(2, *shape), "gain": normal(3, shape[1]), "dy": normal(4, *shape)}
    ours, _ = probe(tmp_path, "rmsnorm", given, threads=threads, eps=1e-5)
    x, delta, gain = double(given["x"]), double(given["delta"]), double(given["gain"])
    y = functional.rms_norm(x + delta, (shape[1],), gain, eps=1e-5)
    y.backward(torch.from_numpy(given["dy"]).double())
    check(ours, y=y, dx=x.grad, d_gain=gain.grad)


def rotate_half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


@pytest.mark.parametrize("theta", [10000, 500000])
def test_rope(tmp_path, theta):
    batch, length, heads, head_dim = 2, 300, 3, 16
    shape = (batch * length, heads * head_dim)
    given = {"x": normal(1, *shape), "dy": normal(2, *shape)}
    ours, _ = probe(tmp_path, "rope", given, length=length, head_dim=head_dim, theta=theta)
    x = double(given["x"])
    inverse = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), inverse).repeat(1, 2)[None, :, None, :]
    heads_of_x = x.view(batch, length, heads, head_dim)
    y = heads_of_x * angles.cos() + rotate_half(heads_of_x) * angles.sin()
    y.backward(torch.from_numpy(given["dy"]).double().view(y.shape))
    check(ours, y=y.reshape(shape), dx=x.grad)


@THREADS
@pytest.mark.parametrize(
    "batch, length, heads, kv_heads, head_dim",
    [(3, 1, 4, 2, 8), (2, 17, 2, 2, 6), (1, 64, 3, 1, 32), (2, 65, 4, 2, 64), (1, 300, 6, 3, 20), (1, 257, 2, 1, 128)],
)
def test_attention(tmp_path, threads, batch, length, heads, kv_heads, head_dim):
    q, d_o = normal(1, batch * length, heads * head_dim), normal(2, batch * length, heads * head_dim)
    k, v = normal(3, batch * length, kv_heads * head_dim), normal(4, batch * length, kv_heads * head_dim)
    ours, _ = probe(
        tmp_path, "attention", {"q": q, "k": k, "v": v, "d_o": d_o}, threads=threads,
        batch=batch, length=length, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
    )
    q, k, v = double(q), double(k), double(v)

    def by_head(x, count):
        return x.view(batch, length, count, head_dim).transpose(1, 2)

    o = functional.scaled_dot_product_attention(
        by_head(q, heads), by_head(k, kv_heads), by_head(v, kv_heads), is_causal=True, enable_gqa=True
    )
    o = o.transpose(1, 2).reshape(batch * length, heads * head_dim)
    o.backward(torch.from_numpy(d_o).double())
    check(ours, o=o, dv=v.grad)
    if length > 1:  # the softmax of one score is constant
        check(ours, dq=q.grad, dk=k.grad)
    else:
        assert numpy.abs(ours["dq"]).max() < 1e-6 and numpy.abs(ours["dk"]).max() < 1e-6


@THREADS
@pytest.mark.parametrize("scale", [1, 20])
def test_swiglu(tmp_path, threads, scale):
    given = {"gate_up": normal(1, 70, 2 * 99, scale=scale), "dy": normal(2, 70, 99)}
    ours, _ = probe(tmp_path, "swiglu", given, threads=threads)
    gate_up = double(given["gate_up"])
    gate, up = gate_up.chunk(2, dim=1)
    y = functional.silu(gate) * up
    y.backward(torch.from_numpy(given["dy"]).double())
    check(ours, y=y, d_gate_up=gate_up.grad)


@THREADS
@pytest.mark.parametrize("rows", [1, 7, 64, 200])
@pytest.mark.parametrize("z_loss", [0, 1e-4, 0.02])
def test_cross_entropy(tmp_path, threads, rows, z_loss):
    x, weight = normal(1, 150, 48), normal(2, 500, 48, scale=0.5)
    targets = numpy.random.default_rng(3).integers(0, 500, 150).astype(numpy.int32)
    targets[::7] = -1
    given = {"x": x, "weight": weight, "targets": targets}
    ours, numbers = probe(tmp_path, "cross_entropy", given, threads=threads, rows=rows, scale=0.01, z_loss=z_loss)
    x, weight = double(x), double(weight)
    logits = x @ weight.T
    loss = functional.cross_entropy(logits, torch.from_numpy(targets).long(), ignore_index=-1, reduction="sum")
    loss = loss + z_loss * (logits.logsumexp(1)[torch.from_numpy(targets) >= 0] ** 2).sum()
    (loss * 0.01).backward()
    assert numbers["loss"] == pytest.approx(loss.item(), rel=1e-6)
    check(ours, dx=x.grad, d_weight=weight.grad)


def test_adamw(tmp_path):
    start, gradients = normal(1, 5003), normal(2, 25, 5003, scale=0.1)
    settings = {"beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1, "eps": 1e-8}
    ours, _ = probe(tmp_path, "adamw", {"parameters": start, "gradients": gradients}, rate=1e-2, **settings)
    parameter = double(start)
    optimizer = torch.optim.AdamW([parameter], lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1, eps=1e-8)
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient).double()
        optimizer.step()
    state = optimizer.state[parameter]
    check(ours, parameters=parameter, m=state["exp_avg"], v=state["exp_avg_sq"])
