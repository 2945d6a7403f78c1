"""Makes tests/golden/lora: adapters as PEFT writes them, and what PEFT and torch's AdamW make of them.

    python tests/golden/make_lora_fixtures.py

Needs torch, transformers >= 5, peft, safetensors. The C++ tests need none of them. For some of the
checkpoints of tests/golden/model a folder holds

    adapter/              adapter_config.json and adapter_model.safetensors, by save_pretrained
    expected.safetensors  "logits" [rows, vocabulary] with the adapter on the fixture's first
                          two-half case; "loss" of it, the mean negative log-probability of the
                          clean token on each noisy row with the mask token excluded;
                          "gradient.<tensor>", and "after.<tensor>": the adapter after one AdamW step.
                          Computed in float64, rounded to float32

B is random, not zero, since a zero one would hide A, and alpha isn't the rank.
"""

import json
import pathlib

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

import attention_masks
import make_model_fixtures as maker
import reference_models

OUTPUT = pathlib.Path(__file__).parent / "lora"
ADAPTERS = {
    "fast_dllm_4_2_tied": {"r": 2, "lora_alpha": 5,
                           "target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"]},
    "sdar": {"r": 3, "lora_alpha": 6, "use_rslora": True,
             "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                                "down_proj"]},
}
# epsilon is large so that elements with hardly any gradient don't magnify rounding.
ADAMW = {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-3, "weight_decay": 0.1}


def first_case(name):
    cases = json.loads((maker.OUTPUT / name / "cases.json").read_text())
    return next(case for case in cases if case["mask"] == "two_half")


def logits_of(model, case):
    length = len(case["clean"])
    return model(input_ids=torch.tensor([case["noisy"] + case["clean"]]),
                 position_ids=torch.tensor([list(range(length)) * 2]),
                 attention_mask=attention_masks.two_half(length, case["block_size"], torch.float64),
                 use_cache=False).logits[0]


def loss_of(logits, case):
    noisy = logits[:len(case["clean"])].clone()
    noisy[:, maker.MASK_ID] = -torch.inf
    picked = noisy.log_softmax(-1).gather(1, torch.tensor(case["clean"]).unsqueeze(1))
    return -picked.mean()


def write(name, options):
    torch.manual_seed(11)
    base = reference_models.load(maker.OUTPUT / name)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **options))
    generator = torch.Generator().manual_seed(12)
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            values = torch.randn(parameter.shape, generator=generator)
            parameter.data = values / parameter.shape[1] ** 0.5
    folder = OUTPUT / name
    model.peft_config["default"].base_model_name_or_path = name
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    model = model.double()
    case = first_case(name)
    logits = logits_of(model, case)
    loss = loss_of(logits, case)
    loss.backward()
    trained = {key.replace(".default", ""): parameter
               for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert set(get_peft_model_state_dict(model)) == set(trained)
    expected = {"logits": logits, "loss": loss.reshape(1)}
    expected |= {f"gradient.{key}": parameter.grad for key, parameter in trained.items()}
    torch.optim.AdamW(trained.values(), **ADAMW).step()
    expected |= {f"after.{key}": parameter for key, parameter in trained.items()}
    save_file({key: value.detach().float().clone().contiguous() for key, value in expected.items()},
              folder / "expected.safetensors")
    print(name, "loss", loss.item(), "tensors", len(trained))


def main():
    for name, options in ADAPTERS.items():
        write(name, options)


if __name__ == "__main__":
    main()
