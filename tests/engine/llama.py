"""The same model in transformers: LlamaForCausalLM with our config, in float64 unless asked otherwise."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES = {
    "grouped queries, tied": dict(
        vocab_size=160, hidden_size=48, intermediate_size=100, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, head_dim=8, tie_word_embeddings=True,
    ),
    "one key per query, untied": dict(
        vocab_size=77, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, head_dim=8, tie_word_embeddings=False,
    ),
    "a head size of its own, long theta": dict(
        vocab_size=300, hidden_size=40, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=1, head_dim=18, tie_word_embeddings=False, rope_theta=500000.0,
    ),
}


def build(shape, seed=0, dtype=torch.float64):
    """The model with initial parameters larger than usual, so that every part of it matters, that float32 holds."""
    shape = dict(shape)
    theta = shape.pop("rope_theta", 10000.0)
    config = LlamaConfig(
        **shape, rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": theta},
        max_position_embeddings=4096, attention_bias=False, mlp_bias=False, attn_implementation="eager",
        initializer_range=0.1,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.to(dtype).eval()


def parameters(model):
    """By Hugging Face's names, a tied head once."""
    return {name: value.detach().float().numpy().copy() for name, value in model.named_parameters()}
