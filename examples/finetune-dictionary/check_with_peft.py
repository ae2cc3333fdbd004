"""Holds a run of examples/finetune-dictionary against PyTorch, transformers and PEFT: the adapters load and give the held-out loss
that the run told, before and after; and the same training, made by PEFT, reaches about the same. Exits 1 where not.

    check_with_peft.py FOLDER        what examples/finetune-dictionary/run made
"""

import itertools
import json
import math
import pathlib
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

IGNORED = -100
SAME, ABOUT = 1e-3, 0.1  # nats: the same weights on the same tokens; another start and another order of the data


def examples(path, tokenizer):
    """(ids, labels) of each chat: the answers are learnt, each with the token that ends it."""
    with open(path) as lines:
        for line in lines:
            messages = json.loads(line)["messages"]
            prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=True).input_ids
            whole = tokenizer.apply_chat_template(messages, return_dict=True).input_ids
            assert whole[:len(prompt)] == prompt
            end = whole.index(tokenizer.eos_token_id, len(prompt)) + 1
            yield whole[:end], [IGNORED] * len(prompt) + whole[len(prompt):end]


def loss_sum(model, batch):
    """(summed loss, targets) of some examples, padded at their ends."""
    length = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in batch])
    labels = torch.tensor([labels + [IGNORED] * (length - len(labels)) for _, labels in batch])
    mask = torch.tensor([[1] * len(one) + [0] * (length - len(one)) for one, _ in batch])
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].flatten(0, 1)
    targets = labels[:, 1:].flatten()
    return functional.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum"), int((targets != IGNORED).sum())


def held_out_loss(model, held_out):
    model.eval()
    total = count = 0
    with torch.no_grad():
        for at in range(0, len(held_out), 16):
            loss, targets = loss_sum(model, held_out[at:at + 16])
            total, count = total + loss.item(), count + targets
    return total / count


def train(model, data, events, peak):
    """As many steps as the run made, each of as many targets as its steps had, at the same rates."""
    groups = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    stream = itertools.cycle(data)  # its words are in no order of the alphabet
    model.train()
    for event in events:
        batch, targets = [], 0
        while targets < event["targets"]:
            batch.append(next(stream))
            targets += sum(label != IGNORED for label in batch[-1][1])
        for group in optimizer.param_groups:
            group["lr"] = event["learning_rate"]
        optimizer.zero_grad()
        loss, count = loss_sum(model, batch)
        (loss / count).backward()
        torch.nn.utils.clip_grad_norm_(groups, 1.0)
        optimizer.step()
        if event["step"] % 10 == 0:
            print(f"  PEFT, step {event['step']}: loss {loss.item() / count:.4f}", flush=True)


def main():
    folder = pathlib.Path(sys.argv[1])
    events = [json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()]
    told = [event["loss"] for event in events if event["event"] == "evaluation"]
    steps = [event for event in events if event["event"] == "step"]
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    held_out = list(examples(folder / "validation.jsonl", tokenizer))

    def base():
        return AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)

    found = {"before": held_out_loss(base(), held_out)}
    found["after"] = held_out_loss(PeftModel.from_pretrained(base(), folder / "adapters"), held_out)
    found["merged"] = held_out_loss(AutoModelForCausalLM.from_pretrained(folder / "merged", dtype=torch.float32), held_out)
    expected = {"before": told[0], "after": told[-1], "merged": told[-1]}
    print(f"{'held-out loss':14} {'ours':>8} {'PyTorch':>8}")
    for name, loss in found.items():
        print(f"{name:14} {expected[name]:8.4f} {loss:8.4f}", flush=True)
    config = json.loads((folder / "adapters/adapter_config.json").read_text())
    torch.manual_seed(1)
    model = get_peft_model(base(), LoraConfig(r=config["r"], lora_alpha=config["lora_alpha"], target_modules=config["target_modules"],
                                              lora_dropout=0.0, task_type="CAUSAL_LM"))
    train(model, examples(folder / "data/chats/train.jsonl", tokenizer), steps, max(step["learning_rate"] for step in steps))
    theirs = held_out_loss(model, held_out)
    print(f"{'trained there':14} {told[-1]:8.4f} {theirs:8.4f}")
    wrong = [name for name, loss in found.items() if not math.isclose(loss, expected[name], abs_tol=SAME)]
    if abs(theirs - told[-1]) > ABOUT:
        wrong.append("trained there")
    if wrong:
        sys.exit(f"not as it should be: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
