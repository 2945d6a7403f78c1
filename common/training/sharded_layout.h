// Thread safety: pure functions and plain data. No torch.
//
// How the ranks of a training share its parameters (ZeRO stage 1; Rajbhandari et al., SC 2020):
//
//   parameters, the last first (about as gradients appear):   [ p9 | p8 | p7 | p6 | p5 | ... ]
//   buckets of about bucket_elements, each padded to a multiple of the number of ranks
//                                                             [ p9 p8 p7 . ] [ p6 p5 ... ]
//   rank r owns the r-th of `world` equal slices of each bucket: it holds the optimizer's state of
//   these elements and updates them
//
// Lengths and offsets are in elements.
#pragma once

#include <cstdint>
#include <vector>

namespace dtrpo::training {

struct BucketEntry {
  int64_t parameter = 0;  // index
  int64_t offset = 0;     // where it begins in the bucket
};

struct Bucket {
  std::vector<BucketEntry> entries;
  int64_t used = 0;    // by parameters
  int64_t length = 0;  // with padding: a multiple of the number of ranks
};

// The part of one parameter that lies in a rank's slice of a bucket.
struct Piece {
  int64_t parameter = 0;
  int64_t begin = 0;  // elements [begin, end) of the flattened parameter
  int64_t end = 0;
  int64_t offset = 0;  // of `begin` in the slice
};

// REQUIRES: world >= 1, bucket_elements >= 1. Every parameter is in exactly one bucket, whole.
std::vector<Bucket> MakeBuckets(const std::vector<int64_t>& lengths, int world,
                                int64_t bucket_elements);

// In the order of the bucket. Over all ranks: every element of its parameters once.
std::vector<Piece> PiecesOf(const Bucket& bucket, const std::vector<int64_t>& lengths, int rank,
                            int world);

}  // namespace dtrpo::training
