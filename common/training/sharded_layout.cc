#include "common/training/sharded_layout.h"

#include <algorithm>

#include "common/base/check.h"

namespace dtrpo::training {

std::vector<Bucket> MakeBuckets(const std::vector<int64_t>& lengths, int world,
                                int64_t bucket_elements) {
  DTRPO_CHECK(world >= 1 && bucket_elements >= 1);
  std::vector<Bucket> buckets;
  for (int64_t p = static_cast<int64_t>(lengths.size()) - 1; p >= 0; --p) {
    if (buckets.empty() || buckets.back().used >= bucket_elements) buckets.emplace_back();
    Bucket& bucket = buckets.back();
    bucket.entries.push_back({.parameter = p, .offset = bucket.used});
    bucket.used += lengths[p];
  }
  for (Bucket& bucket : buckets) bucket.length = (bucket.used + world - 1) / world * world;
  return buckets;
}

std::vector<Piece> PiecesOf(const Bucket& bucket, const std::vector<int64_t>& lengths, int rank,
                            int world) {
  const int64_t slice = bucket.length / world;
  const int64_t begin = rank * slice, end = begin + slice;
  std::vector<Piece> pieces;
  for (const BucketEntry& entry : bucket.entries) {
    const int64_t from = std::max(begin, entry.offset);
    const int64_t to = std::min(end, entry.offset + lengths[entry.parameter]);
    if (from >= to) continue;
    pieces.push_back({.parameter = entry.parameter,
                      .begin = from - entry.offset,
                      .end = to - entry.offset,
                      .offset = from - begin});
  }
  return pieces;
}

}  // namespace dtrpo::training
