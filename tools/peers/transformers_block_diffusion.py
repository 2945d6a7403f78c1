#!/usr/bin/env python3
"""Block diffusion on transformers, done plainly: what the engine in common/diffusion is measured
against. A benchmark, not a dependency.

    transformers_block_diffusion.py --checkpoint DIR --prompts FILE --count 16 --batch 16

The decoding is that of Fast-dLLM-v2: whole prompt blocks go into the cache under a block-causal
mask; then, block by block, each step runs all rows of the block against the cache, with the head on
all of them, and commits tokens of the leftmost unfinished sub-block; row i-1 predicts token i.
A finished block runs once more to stay in the cache, and the last row of that forward tells the
first token of the next block. Temperature 0. Stop tokens are not looked for: the checkpoints of
make_checkpoint.py never produce one.

A batch goes through its blocks in step. Prompts of different lengths are padded on the left by
whole blocks, so that all sequences have their block boundaries in the same columns. A batch ends
with its longest sequence; with --drop-finished the others leave it, and the cache, when they end.
"""

import argparse
import dataclasses
import json
import pathlib
import time

import torch
from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM


@dataclasses.dataclass
class Request:
    id: str
    prompt: list
    max_new_tokens: int


@dataclasses.dataclass
class Options:
    unmask: str = "threshold:0.9"  # or steps:k, k steps a sub-block
    sub_block: int = 8
    batch: int = 16
    drop_finished: bool = False


def read_requests(path, count, new_tokens_divisor=1):
    lines = pathlib.Path(path).read_text().splitlines()[:count]
    return [Request(line["id"], line["prompt_tokens"], line["max_new_tokens"] // new_tokens_divisor)
            for line in map(json.loads, lines)]


class Batch:
    """Sequences side by side. Columns [0, columns); row r begins at column pad[r]."""

    def __init__(self, requests, block, mask_id):
        whole = [len(request.prompt) // block * block for request in requests]
        self.requests = requests
        self.prompt_columns = max(whole)
        pad = [self.prompt_columns - own for own in whole]
        self.begin = [p + len(request.prompt) for p, request in zip(pad, requests)]
        ends = [b + request.max_new_tokens for b, request in zip(self.begin, requests)]
        self.ends = torch.tensor([-(-end // block) * block for end in ends])
        self.columns = int(self.ends.max())
        column = torch.arange(self.columns)
        self.positions = (column - torch.tensor(pad)[:, None]).clamp_min(0)
        self.real = column >= torch.tensor(pad)[:, None]
        self.masked = column >= torch.tensor(self.begin)[:, None]
        self.ids = torch.full((len(requests), self.columns), mask_id)
        for row, request in enumerate(requests):
            self.ids[row, pad[row]:self.begin[row]] = torch.tensor(request.prompt)

    def response(self, row):
        begin = self.begin[row]
        return self.ids[row, begin:begin + self.requests[row].max_new_tokens].tolist()


class Peer:
    def __init__(self, checkpoint, dtype):
        folder = pathlib.Path(checkpoint)
        config = json.loads((folder / "config.json").read_text())
        for key in ("model_type", "architectures", "torch_dtype"):
            del config[key]
        self.block = config.pop("bd_size")
        self.mask_id = json.loads((folder / "added_tokens.json").read_text())["|<MASK>|"]
        self.model = Qwen2ForCausalLM.from_pretrained(
            folder, config=Qwen2Config(**config), dtype=getattr(torch, dtype),
            attn_implementation="sdpa").eval()
        self.forwards = 0

    @torch.inference_mode()
    def generate(self, requests, options):
        """Response tokens of each request."""
        self.forwards = 0
        responses = []
        for begin in range(0, len(requests), options.batch):
            responses += self._generate_batch(requests[begin:begin + options.batch], options)
        return responses

    def _generate_batch(self, requests, options):
        batch = Batch(requests, self.block, self.mask_id)
        cache = DynamicCache()
        rows = torch.arange(len(requests))  # those that still run
        first = None                        # token of the next block's first column
        if batch.prompt_columns > 0:
            first = self._prefill(batch, cache)
        for begin in range(batch.prompt_columns, batch.columns, self.block):
            if options.drop_finished and (batch.ends[rows] <= begin).any():
                kept = (batch.ends[rows] > begin).nonzero().squeeze(1)
                cache.batch_select_indices(kept)
                rows, first = rows[kept], first[kept]
            ids, masked = batch.ids[rows, begin:begin + self.block], batch.masked[rows]
            masked = masked[:, begin:begin + self.block]
            if first is not None:
                ids[:, 0] = torch.where(masked[:, 0], first, ids[:, 0])
                masked[:, 0] = False
            where = self._block_inputs(batch, rows, begin)
            self._denoise(ids, masked, where, cache, options)
            batch.ids[rows, begin:begin + self.block] = ids
            if begin + self.block < batch.columns:
                first = self._next_token(ids, where, cache)
        return [batch.response(row) for row in range(len(requests))]

    def _forward(self, ids, where, cache, **kwargs):
        self.forwards += 1
        return self.model(input_ids=ids, past_key_values=cache, use_cache=True, **where,
                          **kwargs).logits

    def _next_token(self, ids, where, cache):
        """Stores the rows in the cache; the token after the last one."""
        logits = self._forward(ids, where, cache, logits_to_keep=1)[:, -1]
        logits[:, self.mask_id] = -torch.inf
        return logits.argmax(-1)

    def _prefill(self, batch, cache):
        end = batch.prompt_columns
        blocks = torch.arange(end) // self.block
        seen = (blocks[:, None] >= blocks) & batch.real[:, None, :end]
        seen |= ~batch.real[:, :end, None]  # rows of padding see something, or they become NaN
        where = {"attention_mask": seen[:, None], "position_ids": batch.positions[:, :end]}
        return self._next_token(batch.ids[:, :end], where, cache)

    def _block_inputs(self, batch, rows, begin):
        """The block's rows see all real columns up to the block's end."""
        end = begin + self.block
        seen = batch.real[rows, None, None, :end].expand(-1, 1, self.block, -1)
        return {"attention_mask": seen, "position_ids": batch.positions[rows, begin:end]}

    def _denoise(self, ids, masked, where, cache, options):
        """Fills in the block, sub-block by sub-block. ids, masked [rows, block] are changed."""
        for begin in range(0, self.block, options.sub_block):
            end = min(begin + options.sub_block, self.block)
            ours = masked[:, begin:end]
            masks_at_start, step = ours.sum(1, keepdim=True), 0
            while ours.any():
                logits = self._forward(ids, where, cache)
                cache.crop(-self.block)  # the block isn't finished
                if begin == 0:  # its first token is known; any row will do
                    logits = torch.cat([logits[:, :1], logits[:, :end - 1]], 1)
                else:
                    logits = logits[:, begin - 1:end - 1]
                logits = logits.float()
                logits[..., self.mask_id] = -torch.inf
                confidence, tokens = logits.softmax(-1).max(-1)
                commit = ours & select(confidence, ours, masks_at_start, step, options.unmask)
                ids[:, begin:end] = torch.where(commit, tokens, ids[:, begin:end])
                ours &= ~commit
                step += 1


def select(confidence, masked, masks_at_start, step, unmask):
    """[rows, sub-block] -> which masks to commit."""
    kind, argument = unmask.split(":")
    order = confidence.masked_fill(~masked, -1).argsort(stable=True, dim=1, descending=True)
    rank = order.argsort(1)
    if kind == "threshold":
        return (confidence > float(argument)) | (rank == 0)
    assert kind == "steps", unmask
    steps = int(argument)
    return rank < masks_at_start // steps + (step < masks_at_start % steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, metavar="DIR")
    parser.add_argument("--prompts", required=True, metavar="FILE", help="of make_prompts.py")
    parser.add_argument("--count", type=int, default=16, help="so many lines of the file")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--unmask", default="threshold:0.9", help="threshold:tau or steps:k")
    parser.add_argument("--sub-block", type=int, default=8)
    parser.add_argument("--drop-finished", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", metavar="FILE", help="JSONL of response tokens")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    requests = read_requests(options.prompts, options.count)
    peer = Peer(options.checkpoint, options.dtype)
    start = time.perf_counter()
    responses = peer.generate(
        requests,
        Options(options.unmask, options.sub_block, options.batch, options.drop_finished))
    seconds = time.perf_counter() - start
    tokens = sum(map(len, responses))
    print(f"tokens={tokens} forwards={peer.forwards} seconds={seconds:.2f} "
          f"tokens_per_second={tokens / seconds:.1f}")
    if options.output:
        pathlib.Path(options.output).write_text("".join(
            json.dumps({"id": request.id, "response_tokens": response}) + "\n"
            for request, response in zip(requests, responses)))


if __name__ == "__main__":
    main()
