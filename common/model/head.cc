#include "common/model/head.h"

namespace dtrpo::model {
namespace {

// Vocabulary entries whose part of the weight still fits into a core's cache while it is repacked.
constexpr int64_t kTile = 512;
constexpr int64_t kMaxTiledRows = 128;

// MKL repacks the whole weight for each product, whatever the number of rows: a vocabulary's worth
// of memory traffic for a few dozen rows. As a batch of small products the repacked part stays in
// the cache: 1.3 to 2 times as fast at 4 to 64 rows, no gain from a few hundred rows on. bfloat16
// goes to another library, which doesn't need it.
bool WorthTiling(const torch::Tensor& hidden, const torch::Tensor& weight) {
  return weight.device().is_cpu() && weight.scalar_type() == torch::kFloat32 &&
         hidden.size(0) <= kMaxTiledRows && weight.size(0) >= 2 * kTile;
}

}  // namespace

torch::Tensor HeadLogits(const torch::Tensor& hidden, const torch::Tensor& weight) {
  if (!WorthTiling(hidden, weight)) return torch::mm(hidden, weight.t());
  const int64_t r = hidden.size(0), V = weight.size(0), D = weight.size(1);
  const int64_t tiles = V / kTile, tiled = tiles * kTile;
  const torch::Tensor parts =
      torch::bmm(hidden.unsqueeze(0).expand({tiles, r, D}),
                 weight.narrow(0, 0, tiled).view({tiles, kTile, D}).transpose(1, 2));
  const torch::Tensor logits = parts.transpose(0, 1).reshape({r, tiled});
  if (tiled == V) return logits;
  return torch::cat({logits, torch::mm(hidden, weight.narrow(0, tiled, V - tiled).t())}, 1);
}

}  // namespace dtrpo::model
