// Thread safety: a SafetensorsFile is immutable after opening; a SafetensorsWriter belongs to one
// thread. No torch.
//
// The safetensors format (github.com/huggingface/safetensors, README "Format"): eight bytes
// little-endian N, N bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...,
// "__metadata__": {string: string}}, then the data; offsets count from there.
//
// Files are hostile: lengths are checked against the file before anything is read or allocated, and
// the tensors must cover the data exactly, without overlap or hole, as the reference implementation
// demands. Every error names the file and the tensor's field.
//
//   SafetensorsFile --shared--> mapped or in-memory bytes <--borrowed-- TensorView::data
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/file_system.h"

namespace dtrpo::checkpoint {

enum class DType {
  kBool,
  kU8,
  kI8,
  kF8E4M3,
  kF8E5M2,
  kU16,
  kI16,
  kF16,
  kBF16,
  kU32,
  kI32,
  kF32,
  kU64,
  kI64,
  kF64
};

// "F32", "BF16", ... as written in the file.
absl::string_view DTypeName(DType dtype);
int64_t DTypeSizeBytes(DType dtype);

struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // empty: a scalar
  // Borrowed. Row-major, little-endian. In files of other writers it may be unaligned for the type.
  absl::Span<const char> data;
};

inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit

class SafetensorsFile {
 public:
  // Maps a file of the real disk. Replacing the file by rename is fine while it is mapped; cutting
  // it short in place is not (SIGBUS). Pages are read on first use.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Map(const std::string& path);

  // Takes bytes; `file` is for messages.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> FromBytes(std::string bytes,
                                                                    const std::string& file);

  const std::string& file() const { return file_; }
  // In the order of their data.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  // Null: no such tensor.
  const TensorView* Find(absl::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // Gives back the memory of mapped data that is needed no more, or not soon: it is read from the
  // file again when it is. Nothing for data that isn't mapped, or another file's.
  void ReleasePages(absl::Span<const char> data) const;

 private:
  SafetensorsFile(std::string file, std::shared_ptr<const void> owner, absl::Span<const char> bytes,
                  bool mapped)
      : file_(std::move(file)), owner_(std::move(owner)), bytes_(bytes), mapped_(mapped) {}
  absl::Status Parse();

  std::string file_;
  std::shared_ptr<const void> owner_;  // of bytes_
  absl::Span<const char> bytes_;
  bool mapped_;
  std::vector<TensorView> tensors_;
  std::map<std::string, size_t, std::less<>> index_;  // name -> tensors_
  std::map<std::string, std::string> metadata_;
};

struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape = {};
};

// Bytes of a tensor; INVALID_ARGUMENT for a negative dimension or more than 2^62 bytes.
absl::StatusOr<int64_t> TensorSizeBytes(DType dtype, absl::Span<const int64_t> shape);

// Streams one file: the header first, then each tensor's data. Larger element types come first,
// then by name, and the header is padded with blanks, so each tensor is aligned to its element.
// metadata says format=pt, without which `transformers` refuses the file.
class SafetensorsWriter {
 public:
  // Writes the header. `out` outlives the writer; `file` is for messages. Names must differ.
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(
      base::WritableFile* out, const std::string& file, std::vector<TensorSpec> tensors,
      std::map<std::string, std::string> metadata = {{"format", "pt"}});

  // The order in which data must be appended.
  const std::vector<TensorSpec>& order() const { return order_; }
  // All data of the next tensor; a wrong name or size is INVALID_ARGUMENT.
  absl::Status Append(absl::string_view name, absl::Span<const char> data);
  // Checks that nothing is missing. Syncing and closing `out` is the caller's.
  absl::Status Finish() const;

 private:
  SafetensorsWriter(base::WritableFile* out, std::string file, std::vector<TensorSpec> order)
      : out_(out), file_(std::move(file)), order_(std::move(order)) {}

  base::WritableFile* const out_;
  const std::string file_;
  const std::vector<TensorSpec> order_;
  size_t next_ = 0;
};

// A whole file at once, to a file just created. Syncing and closing `out` is the caller's.
absl::Status AppendSafetensors(base::WritableFile* out, const std::string& file,
                               absl::Span<const TensorView> tensors);

}  // namespace dtrpo::checkpoint
