#include "common/evaluation/pass_at_k.h"

#include "common/base/check.h"

namespace dtrpo::evaluation {

double PassAtK(int64_t n, int64_t c, int64_t k) {
  DTRPO_CHECK(0 <= c && c <= n && 1 <= k && k <= n) << "n " << n << ", c " << c << ", k " << k;
  if (n - c < k) return 1;
  double none_right = 1;
  for (int64_t i = n - c + 1; i <= n; ++i) {
    none_right *= 1 - static_cast<double>(k) / static_cast<double>(i);
  }
  return 1 - none_right;
}

}  // namespace dtrpo::evaluation
