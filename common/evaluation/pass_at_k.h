// Thread safety: pure functions.
#pragma once

#include <cstdint>

namespace dtrpo::evaluation {

// pass@k of one question: the probability that at least one of k answers drawn without replacement
// from its n is right, when c of the n are: 1 - C(n-c, k) / C(n, k). The unbiased estimator of
// Chen et al. 2021, "Evaluating large language models trained on code" (arXiv 2107.03374), section
// 2.1, in its product form, which overflows nowhere. REQUIRES: 0 <= c <= n, 1 <= k <= n.
double PassAtK(int64_t n, int64_t c, int64_t k);

}  // namespace dtrpo::evaluation
