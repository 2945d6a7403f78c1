// Thread safety: plain data and pure functions.
//
// A weights version is one flat byte image: every tensor that is trained at an aligned offset,
// described by a manifest. What a job doesn't train isn't in it: every process has that from the
// base checkpoint, and the manifest names it by checksum. The same number with the same checksum is
// the same version; other bits under a number need a higher generation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace dtrpo::weights {

inline constexpr uint64_t kTensorAlignmentBytes = 64;
inline constexpr uint64_t kDefaultChunkBytes = uint64_t{1} << 20;
inline constexpr uint64_t kMaxChunkBytes = uint64_t{2} << 20;
inline constexpr int kMaxTensorRank = 8;

struct TensorSpec {
  std::string name;   // the checkpoint's own name
  std::string dtype;  // safetensors word: "F32", "BF16", "F64"
  std::vector<int64_t> shape;
  uint64_t offset_bytes = 0;
  uint64_t size_bytes = 0;
};

struct Manifest {
  std::string job_id;
  int64_t version = 0;  // 0 is the base model
  int64_t generation = 0;
  std::string sha256;  // of the whole image, hex; empty until the image is complete
  // Of the frozen tensors that the image's belong to, hex; empty: the image is the whole model.
  std::string base_sha256;
  uint64_t size_bytes = 0;
  uint64_t chunk_size_bytes = kDefaultChunkBytes;
  std::vector<TensorSpec> tensors;

  uint64_t ChunkCount() const { return (size_bytes + chunk_size_bytes - 1) / chunk_size_bytes; }
  // Size of chunk `index`; the last one is shorter. REQUIRES: index < ChunkCount().
  uint64_t ChunkBytes(uint64_t index) const;
};

// Fills in sizes and offsets of the tensors, in the given order, and size_bytes.
absl::Status LayOut(Manifest& manifest);

// Refuses what a hostile or broken peer could send: unknown dtypes, negative shapes, sizes that
// don't match the shape, overlaps, an image larger than `max_bytes`, chunk sizes out of range.
// INVALID_ARGUMENT naming version and tensor.
absl::Status Validate(const Manifest& manifest, uint64_t max_bytes);

// Bytes of one element of a safetensors dtype; 0 for unknown words.
uint64_t DtypeBytes(const std::string& dtype);

// "job j version 12 generation 0"
std::string Describe(const Manifest& manifest);

// Same job, number, generation and bits, over the same base.
bool SameBits(const Manifest& a, const Manifest& b);

}  // namespace dtrpo::weights
