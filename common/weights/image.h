// Thread safety: an Image is immutable once it is shared; readers need no lock. A StagingArea
// belongs to one thread.
//
//   learner params --copy once--> StagingArea --Finish--> shared_ptr<const Image> --views-->
//   Transformer (rollout)
//                                                                  \--chunks--> network -->
//                                                                  StagingArea --> Image ...
//
// Tensors of a rollout's model are views into the image, so a swap is the exchange of one pointer,
// and a sequence that holds the old image keeps the version it started with.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/weights/manifest.h"

namespace dtrpo::weights {

// Bytes aligned for tensors, freed with the last owner.
class AlignedBytes {
 public:
  explicit AlignedBytes(uint64_t size_bytes);
  ~AlignedBytes();
  AlignedBytes(const AlignedBytes&) = delete;
  AlignedBytes& operator=(const AlignedBytes&) = delete;
  char* data() { return data_; }
  absl::string_view view() const { return {data_, size_}; }
  uint64_t size() const { return size_; }

 private:
  char* data_;
  uint64_t size_;
};

class Image {
 public:
  const Manifest& manifest() const { return manifest_; }
  absl::string_view bytes() const { return bytes_->view(); }
  absl::string_view TensorBytes(const TensorSpec& tensor) const {
    return bytes().substr(tensor.offset_bytes, tensor.size_bytes);
  }
  absl::string_view Chunk(uint64_t index) const {
    return bytes().substr(index * manifest_.chunk_size_bytes, manifest_.ChunkBytes(index));
  }

 private:
  friend class StagingArea;
  Image(Manifest manifest, std::unique_ptr<AlignedBytes> bytes)
      : manifest_(std::move(manifest)), bytes_(std::move(bytes)) {}
  Manifest manifest_;
  std::unique_ptr<AlignedBytes> bytes_;
};

// Where an image is put together, chunk by chunk from the network or tensor by tensor from a model.
// Nothing outside sees it before Finish() has checked the whole.
class StagingArea {
 public:
  // The manifest's sha256 may be empty when the image is made here rather than received.
  explicit StagingArea(Manifest manifest);

  // Chunks come in order, each once. DATA_LOSS when the checksum doesn't fit, INVALID_ARGUMENT for
  // a wrong index or size.
  absl::Status AddChunk(uint64_t index, absl::string_view data, uint32_t crc32c);

  // Writable bytes of one tensor, to fill an image from a model.
  absl::Span<char> MutableTensor(const TensorSpec& tensor);

  // Checks (or, when the manifest has none, computes) the sha256 and gives the image away. Received
  // images must be complete. The area is empty afterwards.
  absl::StatusOr<std::shared_ptr<const Image>> Finish();

  const Manifest& manifest() const { return manifest_; }

 private:
  Manifest manifest_;
  std::unique_ptr<AlignedBytes> bytes_;
  uint64_t next_chunk_ = 0;
};

}  // namespace dtrpo::weights
