"""Makes tests/golden/model: tiny random checkpoints and the logits `transformers` gives for them.

    python tests/golden/make_model_fixtures.py

Needs torch, transformers >= 5, safetensors. The C++ tests need none of them: what is written here is
committed. Each folder of tests/golden/model is a checkpoint as its family's authors lay it out, plus

    cases.json            what was run: token ids, the mask's kind, the block size
    expected.safetensors  "<case>.logits" [rows, vocabulary], computed in float64, rounded to float32

Biases and norms are random too, since at their initial values a missing one would go unseen, and
weights are large enough for logits of several units: small ones would hide errors. Every model runs
under every mask, whatever its family's own: the masks are the caller's business.
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import (LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM)

import attention_masks
import reference_models

OUTPUT = pathlib.Path(__file__).parent / "model"
MASK_ID, STOP_ID, BLOCK = 3, 2, 4


def qwen2(heads, kv_heads, hidden, layers, intermediate, vocabulary, tied, theta):
    return Qwen2ForCausalLM(Qwen2Config(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, intermediate_size=intermediate, vocab_size=vocabulary,
        max_position_embeddings=256, rms_norm_eps=1e-6, tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        attn_implementation="eager"))


def qwen3():
    return Qwen3ForCausalLM(Qwen3Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, intermediate_size=32, vocab_size=40, max_position_embeddings=256,
        rms_norm_eps=1e-6, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6}, attn_implementation="eager"))


def llama():
    return LlamaForCausalLM(LlamaConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        intermediate_size=32, vocab_size=40, max_position_embeddings=256, rms_norm_eps=1e-5,
        tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 5e5},
        attn_implementation="eager"))


def randomise(model, seed):
    generator = torch.Generator().manual_seed(20260318 + seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.copy_(1 + 0.3 * values)
            elif name.endswith("bias"):
                parameter.copy_(0.5 * values)
            elif "embed_tokens" in name:
                parameter.copy_(0.7 * values)
            else:
                parameter.copy_(1.2 * values / parameter.shape[1] ** 0.5)
    return model.eval()


def qwen_config(model, **family):
    c = model.config
    return {
        "hidden_size": c.hidden_size, "num_hidden_layers": c.num_hidden_layers,
        "num_attention_heads": c.num_attention_heads,
        "num_key_value_heads": c.num_key_value_heads, "intermediate_size": c.intermediate_size,
        "vocab_size": c.vocab_size, "max_position_embeddings": c.max_position_embeddings,
        "rms_norm_eps": c.rms_norm_eps, "tie_word_embeddings": c.tie_word_embeddings,
        "hidden_act": "silu", "torch_dtype": "float32", "mask_token_id": MASK_ID,
        "eos_token_id": STOP_ID, "pad_token_id": STOP_ID, **family,
    }


def fast_dllm_config(model, **rope):
    return qwen_config(model, architectures=["Fast_dLLM_QwenForCausalLM"],
                       model_type="Fast_dLLM_Qwen", bd_size=BLOCK, **rope)


def llada_config(model):
    c = model.config
    return {
        "architectures": ["LLaDAModelLM"], "model_type": "llada", "d_model": c.hidden_size,
        "n_layers": c.num_hidden_layers, "n_heads": c.num_attention_heads,
        "n_kv_heads": c.num_key_value_heads, "mlp_hidden_size": c.intermediate_size,
        "vocab_size": c.vocab_size, "embedding_size": c.vocab_size,
        "max_sequence_length": c.max_position_embeddings, "rms_norm_eps": c.rms_norm_eps,
        "rope_theta": 5e5, "weight_tying": False, "include_bias": False,
        "include_qkv_bias": False, "activation_type": "silu", "block_type": "llama",
        "torch_dtype": "float32", "mask_token_id": MASK_ID, "eos_token_id": STOP_ID,
        "pad_token_id": STOP_ID,
    }


def dream_config(model):
    return qwen_config(model, architectures=["DreamModel"], model_type="Dream", rope_theta=1e6)


def tokens(length, vocabulary, generator):
    return torch.randint(MASK_ID + 1, vocabulary, (length,), generator=generator)


def remask(clean, prompt, generator):
    """Masks about half of the response and at least one token of it."""
    noisy = clean.clone()
    drop = torch.rand(len(clean), generator=generator) < 0.5
    drop[:prompt] = False
    drop[-1] = True
    noisy[drop] = MASK_ID
    return noisy


def block_cases(vocabulary, block, generator):
    for length in (3 * block, 2 * block + 1):
        ids = tokens(length, vocabulary, generator)
        yield {"name": f"block_causal_{length}", "mask": "block_causal", "block_size": block,
               "tokens": ids.tolist()}
    for prompt in (2 * block, block + 1, block - 1):
        clean = tokens(4 * block, vocabulary, generator)
        yield {"name": f"two_half_prompt_{prompt}", "mask": "two_half", "block_size": block,
               "prompt_tokens": prompt, "clean": clean.tolist(),
               "noisy": remask(clean, prompt, generator).tolist()}


def bidirectional_cases(vocabulary, generator):
    for length in (9, 16):
        ids = remask(tokens(length, vocabulary, generator), 5, generator)
        yield {"name": f"bidirectional_{length}", "mask": "bidirectional", "tokens": ids.tolist()}


def logits_of(model, case):
    """[rows, vocabulary] in float64. `model` is in float64."""
    if case["mask"] == "two_half":
        length = len(case["clean"])
        ids = case["noisy"] + case["clean"]
        positions = list(range(length)) * 2
        mask = attention_masks.two_half(length, case["block_size"], torch.float64)
    else:
        ids = case["tokens"]
        positions = list(range(len(ids)))
        mask = (attention_masks.block_causal(len(ids), case["block_size"], torch.float64)
                if case["mask"] == "block_causal"
                else attention_masks.bidirectional(len(ids), torch.float64))
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), position_ids=torch.tensor([positions]),
                     attention_mask=mask, use_cache=False).logits[0]


def check_that_the_mask_counts(model, case):
    """A mask that the class ignored or replaced by a causal one would make worthless fixtures."""
    if case["mask"] == "two_half":
        changed = dict(case, clean=case["clean"][:-1] + [MASK_ID + 1 + case["clean"][-1] % 7])
        rows = slice(0, len(case["clean"]))  # no noisy row sees the last clean block
        assert torch.equal(logits_of(model, case)[rows], logits_of(model, changed)[rows])
    else:
        last = case["tokens"][-1]
        changed = dict(case, tokens=case["tokens"][:-1] + [MASK_ID + 1 + (last + 1) % 7])
        moved = (logits_of(model, case) - logits_of(model, changed)).abs().amax(-1) > 1e-9
        block = case.get("block_size", len(moved))
        first = (len(moved) - 1) // block * block  # of the rows that see the last one
        assert moved[first:].all() and not moved[:first].any()


def write(name, model, config, rename=lambda key: key):
    folder = OUTPUT / name
    folder.mkdir(parents=True, exist_ok=True)
    tied = model.config.tie_word_embeddings
    state = {rename(key): value.clone().contiguous() for key, value in model.state_dict().items()
             if not (tied and key == "lm_head.weight")}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    reference = model.double()
    generator = torch.Generator().manual_seed(BLOCK)
    vocabulary = model.config.vocab_size
    cases = [*block_cases(vocabulary, BLOCK, generator), *bidirectional_cases(vocabulary, generator)]
    for case in cases:
        check_that_the_mask_counts(reference, case)
    save_file({case["name"] + ".logits": logits_of(reference, case).float() for case in cases},
              folder / "expected.safetensors")
    lines = ",\n".join(json.dumps(case) for case in cases)
    (folder / "cases.json").write_text(f"[\n{lines}\n]\n")
    print(name, "logits up to", max(logits_of(reference, c).abs().max().item() for c in cases))


def main():
    small = randomise(qwen2(4, 2, 16, 2, 32, 40, True, 1e6), 1)
    write("fast_dllm_4_2_tied", small, fast_dllm_config(small, rope_theta=1e6))
    deep = randomise(qwen2(4, 1, 24, 3, 40, 48, False, 1e4), 2)
    parameters = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    write("fast_dllm_4_1_untied", deep, fast_dllm_config(deep, **parameters))
    wide = randomise(qwen2(4, 4, 32, 2, 32, 40, True, 1e4), 3)
    write("fast_dllm_4_4_tied", wide, fast_dllm_config(wide, rope_theta=1e4))
    sdar = randomise(qwen3(), 4)
    write("sdar", sdar,
          qwen_config(sdar, architectures=["SDARForCausalLM"], model_type="sdar", block_size=BLOCK,
                      head_dim=8, rope_theta=1e6, attention_bias=False))
    llada = randomise(llama(), 5)
    write("llada", llada, llada_config(llada), reference_models.llada_name)
    dream = randomise(qwen2(6, 2, 24, 2, 32, 40, False, 1e6), 6)
    write("dream", dream, dream_config(dream))


if __name__ == "__main__":
    main()
