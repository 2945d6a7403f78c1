#!/usr/bin/env python3
"""Makes tests/golden/sampler/expected.json: which masks each unmask policy commits, step by step.

A twin of common/diffusion that shares no code with it: each policy below is a reading of the code
or paper that its comment names, in plain Python. There is no model: the logits of a position at a
step come from a small random table (step s reads table s mod 3), so the order matters. The C++ test
(tests/unit/diffusion/sampler_golden_test.cc) must commit the same positions at the same steps, with
the same tokens and log-probabilities. Needs Python only. Run: make_sampler_fixtures.py
"""

import json
import math
import pathlib
import random

TABLES, POSITIONS, VOCABULARY, MASK = 3, 12, 9, 4


# --- Random numbers: Philox4x32-10 (Salmon et al., SC 2011) ---------------------------------------

def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


# Random123's known answer.
assert philox([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def uniform(seed, stream, index):
    """Word `index` of a stream as a number in [0, 1): common/base/philox.h."""
    low, high = 0xFFFFFFFF, 32
    block = index // 2
    words = philox([block & low, block >> high, stream & low, stream >> high],
                   [seed & low, seed >> high])
    word = words[2 * (index % 2)] | words[2 * (index % 2) + 1] << 32
    return (word >> 11) / 2**53


def token_uniform(seed, position, step):  # steps of a block count from 1
    return uniform(seed, position, step)


def order_uniform(seed, position, schedule_step):  # steps of a sub-block's schedule count from 0
    return uniform(seed, 2**63 + position, schedule_step)


# --- Tokens and what is known about them -----------------------------------------------------------

def softmax(logits):
    top = max(logits)
    weights = [math.exp(value - top) for value in logits]
    return [weight / sum(weights) for weight in weights]


def tempered_and_filtered(logits, options):
    """JetAstra/SDAR generate.py, sample_with_temperature_topk_topp: temperature, top-k, top-p.
    Temperature 0 divides by nothing, as in Dream's sample_tokens."""
    p = softmax([value / (options["temperature"] or 1) for value in logits])
    order = sorted(range(len(p)), key=lambda token: (-p[token], token))
    kept = order[:options["top_k"] or len(order)]
    total, before = sum(p[token] for token in kept), 0.0
    result = [0.0] * len(p)
    for token in kept:
        if token == kept[0] or before / total < options["top_p"]:
            result[token] = p[token]
        before += p[token]
    return [value / sum(result) for value in result]


def candidate(logits, options, draw):
    untempered = softmax([-math.inf if i == MASK else v for i, v in enumerate(logits)])
    tempered = tempered_and_filtered([-math.inf if i == MASK else v for i, v in enumerate(logits)],
                                     options)
    token = untempered.index(max(untempered))
    if options["temperature"] > 0:
        # Inverse transform; filtered tokens stand in order of probability, others in order of id.
        order = list(range(VOCABULARY))
        if options["top_p"] < 1 or options["top_k"]:
            order.sort(key=lambda i: (-tempered[i], i))
        total = 0.0
        for token in order:
            total += tempered[token]
            if total > draw:
                break
    p = tempered if options["confidence"] == "tempered" else untempered
    first, second = sorted(p)[:-3:-1]
    return {
        "token": token,
        "logprob": math.log(untempered[token]),
        "confidence": p[token],
        "entropy": -sum(v * math.log(v) for v in p if v > 0),
        "margin": first - second,
    }


# --- Policies: (candidates by position, state of the sub-block) -> positions ------------------------
# state: n masks when the sub-block began, i steps of the schedule so far, seed.

def best(scores, count):
    """torch.topk, with ties to the lowest position."""
    return sorted(scores, key=lambda position: (-scores[position], position))[:count]


def of(candidates, what):
    return {position: c[what] for position, c in candidates.items()}


def steps(k):
    """ML-GSAI/LLaDA generate.py: get_num_transfer_tokens and remasking low_confidence."""
    def policy(candidates, state):
        base, remainder = divmod(state["n"], k)
        num_transfer_tokens = [base + 1] * remainder + [base] * (k - remainder)
        return best(of(candidates, "confidence"), num_transfer_tokens[state["i"]])
    return policy


def threshold(tau, k=1):
    """JetAstra/SDAR generate.py, low_confidence_dynamic; k is its num_transfer_tokens[step]."""
    def policy(candidates, state):
        confidence = of(candidates, "confidence")
        high = [position for position, value in confidence.items() if value > tau]
        return high if len(high) >= k else best(confidence, k)
    return policy


def factor(f):
    """NVlabs/Fast-dLLM v1/llada/generate.py, get_transfer_index_dynamic, but for its last lines,
    which also commit the last rank when only that one is below its threshold."""
    def policy(candidates, state):
        confidence = of(candidates, "confidence")
        thresholds = [1 - f / (n + 1) for n in range(1, len(confidence) + 1)]
        thresholds[0] = -1
        count = 0
        for value, least in zip(sorted(confidence.values(), reverse=True), thresholds):
            if value < least:
                break
            count += 1
        return best(confidence, count)
    return policy


def entropy(bound):
    """JetAstra/SDAR's engines, entropy_bounded: the cumulative sum of sorted entropies."""
    def policy(candidates, state):
        entropies = of(candidates, "entropy")
        ascending = sorted(entropies, key=lambda position: (entropies[position], position))
        count, total = 0, 0.0
        for position in ascending:
            total += entropies[position]
            if total > bound:
                break
            count += 1
        return ascending[:max(count, 1)]
    return policy


def dream(order, steps=512, eps=1e-3, alg_temp=0.0):
    """Dream-org/Dream-v0-Instruct-7B generation_utils.py, _sample."""
    timesteps = [1 + (eps - 1) * i / steps for i in range(steps + 1)]

    def policy(candidates, state):
        i, seed = state["i"], state["seed"]
        t, s = timesteps[i], timesteps[i + 1]
        if order == "origin":
            p_transfer = 1 - s / t if i < steps - 1 else 1
            return [p for p in candidates if order_uniform(seed, p, i) < p_transfer]
        confidence = {
            "maskgit_plus": of(candidates, "confidence"),
            "topk_margin": of(candidates, "margin"),
            "entropy": {p: -h for p, h in of(candidates, "entropy").items()},
        }[order]
        number = int(len(candidates) * (1 - s / t)) if i < steps - 1 else len(candidates)
        if alg_temp == 0:
            return best(confidence, number)
        # softmax and torch.multinomial without replacement: q = p / Exp(1), the largest first.
        p = dict(zip(confidence, softmax([c / alg_temp for c in confidence.values()])))
        q = {j: p[j] / -math.log(order_uniform(seed, j, i)) for j in p}
        return best(q, number)
    return policy


def sequential(k):
    """JetAstra/SDAR generate.py, sequential."""
    return lambda candidates, state: sorted(candidates)[:k]


def random_positions(k):
    """ML-GSAI/LLaDA generate.py, remasking random: torch.rand as the confidence."""
    def policy(candidates, state):
        return best({p: order_uniform(state["seed"], p, state["i"]) for p in candidates}, k)
    return policy


POLICIES = {
    "steps:1": steps(1),
    "steps:5": steps(5),
    "steps:40": steps(40),
    "threshold:0.3": threshold(0.3),
    "threshold:0.5,2": threshold(0.5, 2),
    "threshold:1,5": threshold(1, 5),
    "factor:0.5": factor(0.5),
    "factor:1": factor(1),
    "factor:2.5": factor(2.5),
    "entropy:0.4": entropy(0.4),
    "entropy:4": entropy(4),
    "dream:origin,6": dream("origin", 6),
    "dream:origin,40,0.1": dream("origin", 40, 0.1),
    "dream:maskgit_plus": dream("maskgit_plus"),
    "dream:maskgit_plus,5,0.01": dream("maskgit_plus", 5, 0.01),
    "dream:topk_margin,4": dream("topk_margin", 4),
    "dream:topk_margin,30,0.2,0.1": dream("topk_margin", 30, 0.2, 0.1),
    "dream:entropy,7": dream("entropy", 7),
    "dream:entropy,5,0.001,0.3": dream("entropy", 5, 0.001, 0.3),
    "sequential:1": sequential(1),
    "sequential:5": sequential(5),
    "random:1": random_positions(1),
    "random:4": random_positions(4),
}


# --- Sampling one block of masks -------------------------------------------------------------------

def sample(tables, policy, options, prompt, seed):
    """Unmasks POSITIONS positions after `prompt` of them, sub-block by sub-block. Schedule steps
    that commit nothing leave the canvas as it is, so they are no steps of the trajectory."""
    result = {"step": [0] * POSITIONS, "token": [0] * POSITIONS, "logprob": [0.0] * POSITIONS}
    step = 0
    for begin in range(0, POSITIONS, options["sub_block"]):
        masked = list(range(begin, min(begin + options["sub_block"], POSITIONS)))
        state = {"n": len(masked), "i": 0, "seed": seed}
        while masked:
            candidates = {}
            for j in masked:
                draw = token_uniform(seed, prompt + j, step + 1)
                candidates[prompt + j] = candidate(tables[step % TABLES][j], options, draw)
            committed = policy(candidates, state)
            state["i"] += 1
            if not committed:
                continue
            step += 1
            for position in committed:
                j = position - prompt
                masked.remove(j)
                result["step"][j] = step
                result["token"][j] = candidates[position]["token"]
                result["logprob"][j] = round(candidates[position]["logprob"], 6)
    return result


def main():
    rng = random.Random(20260318)
    # Scales from nearly uniform to nearly certain; multiples of 1/64 are exact in float32.
    tables = [[[round(rng.gauss(0, scale) * 64) / 64 for _ in range(VOCABULARY)]
               for scale in (0.5 + 0.4 * position for position in rng.sample(range(POSITIONS),
                                                                            POSITIONS))]
              for _ in range(TABLES)]
    plain = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "confidence": "untempered"}
    settings = [
        dict(plain, sub_block=POSITIONS),
        dict(plain, sub_block=5, temperature=1.0),
        dict(plain, sub_block=POSITIONS, temperature=0.7, top_p=0.8, confidence="tempered"),
        dict(plain, sub_block=POSITIONS, temperature=1.5, top_k=3, top_p=0.9,
             confidence="tempered"),
        dict(plain, sub_block=8, top_k=4, confidence="tempered"),
    ]
    cases = []
    for name, policy in POLICIES.items():
        for number, options in enumerate(settings):
            seed = 1000 + number
            cases.append({"unmask": name, "seed": seed, **options,
                          **sample(tables, policy, options, POSITIONS, seed)})
    for case in cases:
        assert min(case["step"]) == 1 and len(set(case["step"])) == max(case["step"]), case

    def line(value):
        return json.dumps(value, separators=(",", ":"))

    path = pathlib.Path(__file__).parent / "sampler" / "expected.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        '{"mask_id":%d,"prompt_tokens":%d,\n"tables":[\n%s],\n"cases":[\n%s]}\n' %
        (MASK, POSITIONS, ",\n".join(map(line, tables)), ",\n".join(map(line, cases))))
    print(f"{path}: {len(cases)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
