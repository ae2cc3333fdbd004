"""Small random models of every family that the engine builds, by transformers' own classes."""

import torch
from transformers import (
    LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM,
)

SHAPE = dict(
    vocab_size=97, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
    max_position_embeddings=512, rms_norm_eps=1e-5, initializer_range=0.1,
)
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5}

FAMILIES = {
    "Llama 2": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=False)),
    "Llama 3": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters=LLAMA3)),
    "Llama, linear RoPE": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=LINEAR)),
    "Mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=23, head_dim=10)),
    "Mistral, no window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=None)),
    "Qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True)),
    "Qwen2, upper layers windowed": lambda: Qwen2ForCausalLM(Qwen2Config(
        **SHAPE, use_sliding_window=True, sliding_window=70, max_window_layers=2, rope_parameters=YARN)),
    "Qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=18)),
    "Qwen3, one layer windowed": lambda: Qwen3ForCausalLM(Qwen3Config(
        **SHAPE, head_dim=16, use_sliding_window=True, sliding_window=5,
        layer_types=["full_attention", "sliding_attention", "full_attention"])),
}


def build(name, seed=0):
    return random_model(FAMILIES[name], seed)


def random_model(make, seed=0):
    """What `make` makes: in float32 as it is stored, with norms and biases that are random too, so that every part matters."""
    torch.manual_seed(seed)
    model = make()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()
