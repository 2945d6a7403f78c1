#include "common/weights/image.h"

#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/sha256.h"

namespace dtrpo::weights {

AlignedBytes::AlignedBytes(uint64_t size_bytes)
    : data_(
          static_cast<char*>(::operator new (size_bytes, std::align_val_t{kTensorAlignmentBytes}))),
      size_(size_bytes) {}

AlignedBytes::~AlignedBytes() {
  ::operator delete (data_, std::align_val_t{kTensorAlignmentBytes});
}

StagingArea::StagingArea(Manifest manifest)
    : manifest_(std::move(manifest)), bytes_(std::make_unique<AlignedBytes>(manifest_.size_bytes)) {
  // Gaps between aligned tensors are part of the checksum.
  if (manifest_.sha256.empty()) std::memset(bytes_->data(), 0, bytes_->size());
}

absl::Status StagingArea::AddChunk(uint64_t index, absl::string_view data, uint32_t crc32c) {
  if (index != next_chunk_ || index >= manifest_.ChunkCount()) {
    return absl::InvalidArgumentError(absl::StrCat("weights of ", Describe(manifest_), ": chunk ",
                                                   index, " came, chunk ", next_chunk_, " of ",
                                                   manifest_.ChunkCount(), " was due"));
  }
  if (data.size() != manifest_.ChunkBytes(index)) {
    return absl::InvalidArgumentError(absl::StrCat("weights of ", Describe(manifest_), ": chunk ",
                                                   index, " has ", data.size(), " bytes, not ",
                                                   manifest_.ChunkBytes(index)));
  }
  if (base::Crc32c(data) != crc32c) {
    return absl::DataLossError(absl::StrCat("weights of ", Describe(manifest_),
                                            ": checksum of chunk ", index, " doesn't fit"));
  }
  std::memcpy(bytes_->data() + index * manifest_.chunk_size_bytes, data.data(), data.size());
  ++next_chunk_;
  return absl::OkStatus();
}

absl::Span<char> StagingArea::MutableTensor(const TensorSpec& tensor) {
  DTRPO_CHECK(tensor.offset_bytes + tensor.size_bytes <= bytes_->size()) << tensor.name;
  return {bytes_->data() + tensor.offset_bytes, tensor.size_bytes};
}

absl::StatusOr<std::shared_ptr<const Image>> StagingArea::Finish() {
  const bool received = !manifest_.sha256.empty();
  if (received && next_chunk_ != manifest_.ChunkCount()) {
    return absl::InvalidArgumentError(absl::StrCat("weights of ", Describe(manifest_),
                                                   ": ended after ", next_chunk_, " of ",
                                                   manifest_.ChunkCount(), " chunks"));
  }
  const std::string sha256 = base::Sha256Hex(bytes_->view());
  if (received && sha256 != manifest_.sha256) {
    return absl::DataLossError(absl::StrCat("weights of ", Describe(manifest_),
                                            ": the whole has checksum ", sha256, ", not ",
                                            manifest_.sha256));
  }
  manifest_.sha256 = sha256;
  return std::shared_ptr<const Image>(new Image(manifest_, std::move(bytes_)));
}

}  // namespace dtrpo::weights
