#include "common/weights/manifest.h"

#include <algorithm>
#include <limits>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace dtrpo::weights {
namespace {

absl::Status Invalid(const Manifest& manifest, const std::string& what) {
  return absl::InvalidArgumentError(
      absl::StrCat("weights manifest of ", Describe(manifest), ": ", what));
}

absl::StatusOr<uint64_t> TensorBytes(const Manifest& manifest, const TensorSpec& tensor) {
  const uint64_t element = DtypeBytes(tensor.dtype);
  if (element == 0)
    return Invalid(manifest,
                   absl::StrCat("tensor ", tensor.name, ": unknown dtype '", tensor.dtype, "'"));
  if (tensor.shape.size() > kMaxTensorRank) {
    return Invalid(manifest, absl::StrCat("tensor ", tensor.name, ": rank ", tensor.shape.size(),
                                          " is above ", kMaxTensorRank));
  }
  uint64_t bytes = element;
  for (int64_t extent : tensor.shape) {
    if (extent <= 0 ||
        bytes > std::numeric_limits<uint64_t>::max() / 2 / static_cast<uint64_t>(extent)) {
      return Invalid(manifest,
                     absl::StrCat("tensor ", tensor.name, ": impossible extent ", extent));
    }
    bytes *= static_cast<uint64_t>(extent);
  }
  return bytes;
}

}  // namespace

uint64_t Manifest::ChunkBytes(uint64_t index) const {
  return std::min(chunk_size_bytes, size_bytes - index * chunk_size_bytes);
}

uint64_t DtypeBytes(const std::string& dtype) {
  if (dtype == "F64") return 8;
  if (dtype == "F32") return 4;
  if (dtype == "BF16" || dtype == "F16") return 2;
  return 0;
}

std::string Describe(const Manifest& manifest) {
  return absl::StrCat("job ", manifest.job_id, " version ", manifest.version, " generation ",
                      manifest.generation);
}

bool SameBits(const Manifest& a, const Manifest& b) {
  return a.job_id == b.job_id && a.version == b.version && a.generation == b.generation &&
         a.sha256 == b.sha256 && a.size_bytes == b.size_bytes && a.base_sha256 == b.base_sha256;
}

absl::Status LayOut(Manifest& manifest) {
  uint64_t offset = 0;
  for (TensorSpec& tensor : manifest.tensors) {
    DTRPO_ASSIGN_OR_RETURN(tensor.size_bytes, TensorBytes(manifest, tensor));
    offset = (offset + kTensorAlignmentBytes - 1) / kTensorAlignmentBytes * kTensorAlignmentBytes;
    tensor.offset_bytes = offset;
    offset += tensor.size_bytes;
  }
  manifest.size_bytes = offset;
  return absl::OkStatus();
}

absl::Status Validate(const Manifest& manifest, uint64_t max_bytes) {
  if (manifest.job_id.empty()) return Invalid(manifest, "job_id is empty");
  if (manifest.version < 0) return Invalid(manifest, "version is negative");
  if (manifest.generation < 0) return Invalid(manifest, "generation is negative");
  if (manifest.sha256.size() != 64) return Invalid(manifest, "sha256 isn't 64 hex digits");
  if (!manifest.base_sha256.empty() && manifest.base_sha256.size() != 64) {
    return Invalid(manifest, "base_sha256 isn't 64 hex digits");
  }
  if (manifest.size_bytes == 0 || manifest.size_bytes > max_bytes) {
    return Invalid(manifest, absl::StrCat("size_bytes ", manifest.size_bytes, " isn't in [1, ",
                                          max_bytes, "]"));
  }
  if (manifest.chunk_size_bytes < 1024 || manifest.chunk_size_bytes > kMaxChunkBytes) {
    return Invalid(manifest, absl::StrCat("chunk_size_bytes ", manifest.chunk_size_bytes,
                                          " isn't in [1024, ", kMaxChunkBytes, "]"));
  }
  if (manifest.tensors.empty()) return Invalid(manifest, "it lists no tensor");
  absl::flat_hash_set<std::string> names;
  uint64_t end = 0;  // tensors are listed in the order of their offsets
  for (const TensorSpec& tensor : manifest.tensors) {
    if (tensor.name.empty() || !names.insert(tensor.name).second) {
      return Invalid(manifest,
                     absl::StrCat("tensor name '", tensor.name, "' is empty or repeated"));
    }
    DTRPO_ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(manifest, tensor));
    if (tensor.size_bytes != bytes) {
      return Invalid(manifest, absl::StrCat("tensor ", tensor.name, ": size_bytes ",
                                            tensor.size_bytes, ", its shape says ", bytes));
    }
    if (tensor.offset_bytes % kTensorAlignmentBytes != 0 || tensor.offset_bytes < end ||
        tensor.offset_bytes > manifest.size_bytes ||
        manifest.size_bytes - tensor.offset_bytes < bytes) {
      return Invalid(manifest,
                     absl::StrCat("tensor ", tensor.name, ": offset_bytes ", tensor.offset_bytes,
                                  " overlaps another tensor, isn't aligned or leaves the image"));
    }
    end = tensor.offset_bytes + bytes;
  }
  return absl::OkStatus();
}

}  // namespace dtrpo::weights
