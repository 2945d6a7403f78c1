"""Dense 4-D attention masks of block diffusion, the slow and obvious way, for `transformers` models.

A mask is additive: 0 where a query row may see a key row, the dtype's minimum elsewhere.
"""

import torch


def _additive(allowed, dtype):
    mask = torch.zeros(allowed.shape, dtype=dtype)
    mask.masked_fill_(~allowed, torch.finfo(dtype).min)
    return mask[None, None]


def block_causal(length, block, dtype):
    """[1, 1, L, L]: a row sees the blocks up to and including its own, blocks counted from 0."""
    of_row = torch.arange(length) // block
    return _additive(of_row[:, None] >= of_row[None, :], dtype)


def bidirectional(length, dtype):
    return _additive(torch.ones(length, length, dtype=torch.bool), dtype)


def two_half(length, block, dtype):
    """[1, 1, 2L, 2L] for rows [noisy L ; clean L], the training mask of Fast-dLLM-v2."""
    of_row = (torch.arange(length) // block).repeat(2)
    noisy = torch.arange(2 * length) < length
    q_block, k_block = of_row[:, None], of_row[None, :]
    q_noisy, k_noisy = noisy[:, None], noisy[None, :]
    block_diagonal = (q_noisy == k_noisy) & (q_block == k_block)
    offset_block_causal = q_noisy & ~k_noisy & (q_block > k_block)
    clean_block_causal = ~q_noisy & ~k_noisy & (q_block >= k_block)
    return _additive(block_diagonal | offset_block_causal | clean_block_causal, dtype)
