#!/usr/bin/env python3
"""Makes tests/golden/loops: whole answers of tiny models, sampled by the families' published loops.

    python tests/golden/make_loop_fixtures.py

Needs torch and transformers. A twin of `dtrpo generate` at temperature 0 that shares no code with
it: each loop below is a reading of the released code that its comment names, the model is the stock
class of `transformers` in float64, and every state is a forward over all rows with a dense mask, so
there is no cache, no batch and no sharing. tests/unit/tools/loop_golden_test.cc wants the same
tokens at the same steps and log-probabilities within 1e-4.

Where our rules (ARCHITECTURE.md, "Rules of sampling and scoring") say more than the released code,
the loops here follow the rules: the mask token is never a candidate; the canvas ends with the block
that holds the last token asked for, and sampling ends at the step after which a stop token stands
with no mask before it.

Prompts are kept only if noise of a thousandth on all logits changes nothing: a decision that hangs on
less says nothing about either side.
"""

import json
import pathlib

import torch

import attention_masks
import make_model_fixtures
import reference_models

OUTPUT = pathlib.Path(__file__).parent / "loops"
MASK, STOP = make_model_fixtures.MASK_ID, make_model_fixtures.STOP_ID


def rounded_up(length, block):
    return (length + block - 1) // block * block


class Stopped(Exception):
    pass


class Canvas:
    """Prompt and answer, and who was committed when. Positions count the prompt."""

    def __init__(self, prompt):
        self.x = list(prompt)
        self.prompt = len(prompt)
        self.step, self.logprob = {}, {}

    def grow(self, length):
        self.x += [MASK] * (length - len(self.x))

    def masked(self, begin, end):
        return [p for p in range(begin, end) if self.x[p] == MASK]

    def commit(self, tokens, step, logits):
        """tokens: by position; logits: the row that each was read from, by position."""
        for position, token in tokens.items():
            self.x[position] = token
            self.step[position] = step
            self.logprob[position] = logits[position].log_softmax(-1)[token].item()
        if self.stop_index() >= 0:
            raise Stopped

    def stop_index(self):
        answer = self.x[self.prompt:]
        first = answer.index(STOP) if STOP in answer else -1
        return first if MASK not in answer[:max(first, 0)] else -1

    def answer(self, block):
        """To the end of the last block that was begun."""
        self.grow(rounded_up(len(self.x), block))
        positions = range(self.prompt, len(self.x))
        return {"response_tokens": self.x[self.prompt:],
                "unmask_step": [self.step.get(p, -1) for p in positions],
                "logprob": [round(self.logprob.get(p, 0.0), 6) for p in positions],
                "stop_index": self.stop_index()}


class Model:
    """Logits without the mask token, [rows, vocabulary]."""

    def __init__(self, folder):
        self.model = reference_models.load(folder).eval().double()
        self.noise = None  # a generator

    def __call__(self, ids, mask):
        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor([ids]), attention_mask=mask,
                                position_ids=torch.arange(len(ids))[None], use_cache=False).logits[0]
        if self.noise is not None:
            logits += 1e-3 * (2 * torch.rand(logits.shape, generator=self.noise) - 1)
        logits[:, MASK] = -torch.inf
        return logits

    def block_causal(self, ids, block):
        return self(ids, attention_masks.block_causal(len(ids), block, torch.float64))

    def bidirectional(self, ids):
        return self(ids, attention_masks.bidirectional(len(ids), torch.float64))


def confidence(logits):
    p, x0 = logits.softmax(-1).max(-1)
    return p, x0


def fast_dllm_v2(model, canvas, new, block_size, small_block_size, threshold):
    """Efficient-Large-Model/Fast_dLLM_v2_*, generation_functions.py, batch_sample without block cache
    (NVlabs/Fast-dLLM, v2). The released code prefills from block_size + 1 tokens on; here a prompt of
    exactly one block gives its first token as longer ones do."""
    end = rounded_up(canvas.prompt + new, block_size)

    def next_token():  # the argmax of the last clean row begins the next block
        logits = model.block_causal(canvas.x, block_size)[-1]
        canvas.grow(len(canvas.x) + 1)
        position = len(canvas.x) - 1
        canvas.commit({position: logits.argmax().item()}, 0, {position: logits})

    if canvas.prompt % block_size == 0:
        next_token()
    for block in range(canvas.prompt // block_size * block_size, end, block_size):
        canvas.grow(block + block_size)
        step = 0
        for start in range(block, block + block_size, small_block_size):
            stop = start + small_block_size
            while canvas.masked(start, stop):
                logits = model.block_causal(canvas.x, block_size)[block:]
                logits = torch.cat([logits[:1], logits[:-1]])[start - block:stop - block]
                x1_p, x_1 = confidence(logits)
                mask_idx = torch.tensor([canvas.x[p] == MASK for p in range(start, stop)])
                x1_p = torch.where(mask_idx, x1_p, -torch.inf)
                unmask_idx = x1_p > threshold
                unmask_idx[x1_p.argmax()] = True
                unmask_idx &= mask_idx
                step += 1
                chosen = unmask_idx.nonzero()[:, 0].tolist()
                canvas.commit({start + i: x_1[i].item() for i in chosen}, step,
                              {start + i: logits[i] for i in chosen})
        if block + block_size < end:
            next_token()


def sdar(model, canvas, new, block_length, denoising_steps, strategy, threshold=None):
    """JetAstra/SDAR, generate.py, block_diffusion_generate. Where fewer masks are left than a step
    commits, it takes all that are left (the released topk would go on to overwrite the prompt)."""
    end = rounded_up(canvas.prompt + new, block_length)
    base, remainder = divmod(block_length, denoising_steps)
    num_transfer_tokens = [base + 1] * remainder + [base] * (denoising_steps - remainder)
    for block in range(canvas.prompt // block_length * block_length, end, block_length):
        canvas.grow(block + block_length)
        for step in range(denoising_steps):
            masked = canvas.masked(block, block + block_length)
            if not masked:
                break
            logits = model.block_causal(canvas.x, block_length)
            x0_p, x0 = confidence(logits)
            count = min(num_transfer_tokens[step], len(masked))
            ranked = sorted(masked, key=lambda p: -x0_p[p])
            high = [p for p in masked if x0_p[p] > threshold] if threshold is not None else []
            if strategy == "sequential":
                chosen = masked[:count]
            elif strategy == "low_confidence_dynamic" and len(high) >= count:
                chosen = high
            else:
                chosen = ranked[:count]
            canvas.commit({p: x0[p].item() for p in chosen}, step + 1, logits)


def llada(model, canvas, gen_length, block_length, steps):
    """ML-GSAI/LLaDA, generate.py, remasking low_confidence; `steps` are a block's."""
    canvas.grow(canvas.prompt + gen_length)
    for begin in range(canvas.prompt, len(canvas.x), block_length):
        base, remainder = divmod(block_length, steps)
        num_transfer_tokens = [base + 1] * remainder + [base] * (steps - remainder)
        for i in range(steps):
            logits = model.bidirectional(canvas.x)
            x0_p, x0 = confidence(logits)
            masked = canvas.masked(begin, begin + block_length)
            chosen = sorted(masked, key=lambda p: -x0_p[p])[:num_transfer_tokens[i]]
            if chosen:
                canvas.commit({p: x0[p].item() for p in chosen}, i + 1, logits)


def fast_dllm_v1(model, canvas, gen_length, block_length, threshold=None, factor=None):
    """NVlabs/Fast-dLLM, v1/llada/generate.py, generate with get_transfer_index (threshold) or
    get_transfer_index_dynamic (factor; without its last lines, see make_sampler_fixtures.py)."""
    canvas.grow(canvas.prompt + gen_length)
    for begin in range(canvas.prompt, len(canvas.x), block_length):
        step = 0
        while masked := canvas.masked(begin, begin + block_length):
            logits = model.bidirectional(canvas.x)
            x0_p, x0 = confidence(logits)
            ranked = sorted(masked, key=lambda p: -x0_p[p])
            count = 1
            while count < len(ranked):
                least = threshold if factor is None else 1 - factor / (count + 2)
                if x0_p[ranked[count]] < least:
                    break
                count += 1
            step += 1
            canvas.commit({p: x0[p].item() for p in ranked[:count]}, step, logits)


def dream(model, canvas, gen_length, alg, steps, eps=1e-3):
    """Dream-org/Dream-v0-Instruct-7B, generation_utils.py, _sample, alg_temp 0. Steps that commit
    nothing leave the canvas as it is and aren't counted."""
    canvas.grow(canvas.prompt + gen_length)
    timesteps = torch.linspace(1, eps, steps + 1, dtype=torch.float64)
    committing = 0
    for i in range(steps):
        masked = canvas.masked(canvas.prompt, len(canvas.x))
        logits = model.bidirectional(canvas.x)
        logits = torch.cat([logits[:1], logits[:-1]])
        x0_p, x0 = confidence(logits)
        probs = logits.softmax(-1)
        t, s = timesteps[i], timesteps[i + 1]
        if alg == "topk_margin":
            top = probs.topk(2).values
            score = top[:, 0] - top[:, 1]
        elif alg == "entropy":
            score = (probs * torch.log(probs + 1e-10)).sum(-1)
        else:
            score = x0_p
        number = int(len(masked) * (1 - s / t)) if i < steps - 1 else len(masked)
        chosen = sorted(masked, key=lambda p: -score[p])[:number]
        if chosen:
            committing += 1
            canvas.commit({p: x0[p].item() for p in chosen}, committing, logits)


def run(model, loop, prompt, block, new, **options):
    canvas = Canvas(prompt)
    try:
        loop(model, canvas, new, **options)
    except Stopped:
        pass
    return canvas.answer(block)


def is_robust(model, expected, *args, **options):
    for seed in range(4):
        model.noise = torch.Generator().manual_seed(seed)
        noisy = run(model, *args, **options)
        model.noise = None
        if any(noisy[key] != expected[key] for key in ("response_tokens", "unmask_step")):
            return False
    return True


def prompt_of(length, vocabulary, stops, generator):
    """Stop tokens end nothing in a prompt, but a model that saw some is the likelier to say one."""
    prompt = make_model_fixtures.tokens(length, vocabulary, generator)
    prompt[torch.rand(length, generator=generator) < stops] = STOP
    return prompt.tolist()


def answers(model, vocabulary, generator, loop, lengths, block, new, **options):
    """One answer for each length of the prompt; every other one stops, if such a one is found."""
    for length in lengths:
        robust = None
        for attempt in range(60):
            prompt = prompt_of(length, vocabulary, attempt % 3 * 0.2, generator)
            expected = run(model, loop, prompt, block, new, **options)
            wanted = (expected["stop_index"] >= 0) == (length % 2 == 0)
            if wanted or robust is None:
                if is_robust(model, expected, loop, prompt, block, new, **options):
                    robust = {"prompt_tokens": prompt, **expected}
                    if wanted:
                        break
        assert robust, f"no robust prompt of {length} tokens: {loop.__name__} {options}"
        yield robust


def fast_dllm_cases():
    for block, small, threshold in ((4, 4, 0.5), (4, 2, 0.3), (8, 4, 0.6), (8, 8, 0.9), (8, 2, 1.0)):
        yield (["--block-size", block, "--sub-block", small, "--unmask", f"threshold:{threshold}"],
               fast_dllm_v2, range(1, 2 * block + 2), block, 13,
               {"block_size": block, "small_block_size": small, "threshold": threshold})


def sdar_cases():
    for block, threshold in ((4, 0.5), (8, 0.3), (16, 0.85)):
        yield (["--block-size", block, "--unmask", f"threshold:{threshold}"],
               sdar, range(1, 2 * block + 2), block, 14,
               {"block_length": block, "denoising_steps": block, "threshold": threshold,
                "strategy": "low_confidence_dynamic"})
    yield (["--block-size", 8, "--unmask", "threshold:0.4,2"],
           sdar, (1, 5, 8, 10, 16), 8, 14,
           {"block_length": 8, "denoising_steps": 4, "threshold": 0.4,
            "strategy": "low_confidence_dynamic"})
    for steps in (2, 3, 8):  # 8 steps: one token each, whatever the prompt leaves of its block
        yield (["--block-size", 8, "--unmask", f"steps:{steps}"],
               sdar, (8, 16) if steps < 8 else range(1, 10), 8, 14,
               {"block_length": 8, "denoising_steps": steps, "strategy": "low_confidence_static"})
    yield (["--block-size", 8, "--unmask", "sequential:2"], sdar, range(1, 10), 8, 14,
           {"block_length": 8, "denoising_steps": 4, "strategy": "sequential"})


def llada_cases():
    for new, block, steps in ((16, 8, 3), (12, 4, 4), (12, 12, 5)):
        yield (["--block-size", block, "--unmask", f"steps:{steps}"], llada, (1, 2, 5, 8, 11), 1,
               new, {"block_length": block, "steps": steps})
    yield (["--block-size", 8, "--unmask", "threshold:0.4"], fast_dllm_v1, (1, 2, 5, 8, 11), 1, 16,
           {"block_length": 8, "threshold": 0.4})
    yield (["--block-size", 8, "--unmask", "factor:1"], fast_dllm_v1, (1, 2, 5, 8, 11), 1, 16,
           {"block_length": 8, "factor": 1.0})


def dream_cases():
    for alg, new, steps in (("maskgit_plus", 12, 6), ("topk_margin", 10, 20), ("entropy", 12, 5)):
        yield (["--unmask", f"dream:{alg},{steps}"], dream, (1, 2, 5, 8, 11), 1, new,
               {"alg": alg, "steps": steps})


CASES = {"fast_dllm_4_2_tied": fast_dllm_cases, "fast_dllm_4_1_untied": fast_dllm_cases,
         "sdar": sdar_cases, "llada": llada_cases, "dream": dream_cases}


def main():
    OUTPUT.mkdir(exist_ok=True)
    for name, cases in CASES.items():
        model = Model(make_model_fixtures.OUTPUT / name)
        vocabulary = model.model.config.vocab_size
        generator = torch.Generator().manual_seed(len(name))
        lines = []
        stopped = several = total = 0
        for options, loop, lengths, block, new, parameters in cases():
            found = list(answers(model, vocabulary, generator, loop, lengths, block, new,
                                 **parameters))
            total += len(found)
            stopped += sum(answer["stop_index"] >= 0 for answer in found)
            several += sum(len(set(answer["unmask_step"])) < len(answer["unmask_step"])
                           for answer in found)
            options = [str(option) for option in options] + ["--max-new-tokens", str(new)]
            rows = ",\n".join(json.dumps(answer, separators=(",", ":")) for answer in found)
            lines.append(f'{{"loop":"{loop.__name__}","options":{json.dumps(options)},"answers":[\n{rows}]}}')
        assert several > total // 2, (name, several, total)
        path = OUTPUT / f"{name}.json"
        path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
        print(f"{path.name}: {total} answers, {stopped} stopped, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
