#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/safetensors.h"

namespace dtrpo::checkpoint {
namespace {

// Data begins on this boundary, so that a mapped tensor of any type is aligned.
constexpr size_t kAlignmentBytes = 8;

std::string LittleEndian64(uint64_t value) {
  std::string bytes(8, '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>(value & 0xff);
    value >>= 8;
  }
  return bytes;
}

absl::StatusOr<std::string> HeaderOf(const std::vector<TensorSpec>& tensors,
                                     const std::map<std::string, std::string>& metadata,
                                     const std::string& file) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t offset = 0;
  for (const TensorSpec& tensor : tensors) {
    if (tensor.name == "__metadata__" || header.contains(tensor.name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": tensor '", tensor.name, "': the name is taken"));
    }
    DTRPO_ASSIGN_OR_RETURN(const int64_t size,
                           base::Annotate(TensorSizeBytes(tensor.dtype, tensor.shape), file,
                                          ": tensor '", tensor.name, "': shape"));
    header[tensor.name] = {{"dtype", std::string(DTypeName(tensor.dtype))},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + size}}};
    offset += size;
  }
  // Names are ours or came out of a parsed header; anything else would throw on bad UTF-8.
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.append((kAlignmentBytes - text.size() % kAlignmentBytes) % kAlignmentBytes, ' ');
  if (text.size() > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": the header has ", text.size(), " bytes, limit ", kMaxHeaderBytes));
  }
  return text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    base::WritableFile* out, const std::string& file, std::vector<TensorSpec> tensors,
    std::map<std::string, std::string> metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorSpec& a, const TensorSpec& b) {
    const int64_t size_a = DTypeSizeBytes(a.dtype), size_b = DTypeSizeBytes(b.dtype);
    return size_a != size_b ? size_a > size_b : a.name < b.name;
  });
  DTRPO_ASSIGN_OR_RETURN(const std::string header, HeaderOf(tensors, metadata, file));
  DTRPO_RETURN_IF_ERROR(out->Append(LittleEndian64(header.size())));
  DTRPO_RETURN_IF_ERROR(out->Append(header));
  return absl::WrapUnique(new SafetensorsWriter(out, file, std::move(tensors)));
}

absl::Status SafetensorsWriter::Append(absl::string_view name, absl::Span<const char> data) {
  const std::string where = absl::StrCat(file_, ": tensor '", name, "': ");
  if (next_ == order_.size()) return absl::InvalidArgumentError(where + "one too many");
  const TensorSpec& spec = order_[next_];
  if (spec.name != name) {
    return absl::InvalidArgumentError(absl::StrCat(where, "'", spec.name, "' comes first"));
  }
  DTRPO_ASSIGN_OR_RETURN(const int64_t size, TensorSizeBytes(spec.dtype, spec.shape));
  if (static_cast<uint64_t>(size) != data.size()) {
    return absl::InvalidArgumentError(absl::StrCat(where, data.size(), " bytes of data for ",
                                                   DTypeName(spec.dtype), " [",
                                                   absl::StrJoin(spec.shape, ", "), "]"));
  }
  DTRPO_RETURN_IF_ERROR(out_->Append(absl::string_view(data.data(), data.size())));
  ++next_;
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Finish() const {
  if (next_ == order_.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(file_, ": tensor '", order_[next_].name, "': its data was not written"));
}

absl::Status AppendSafetensors(base::WritableFile* out, const std::string& file,
                               absl::Span<const TensorView> tensors) {
  std::vector<TensorSpec> specs;
  std::map<absl::string_view, absl::Span<const char>> data;
  for (const TensorView& tensor : tensors) {
    specs.push_back({tensor.name, tensor.dtype, tensor.shape});
    data[tensor.name] = tensor.data;
  }
  DTRPO_ASSIGN_OR_RETURN(const auto writer, SafetensorsWriter::Create(out, file, std::move(specs)));
  for (const TensorSpec& spec : writer->order()) {
    DTRPO_RETURN_IF_ERROR(writer->Append(spec.name, data[spec.name]));
  }
  return writer->Finish();
}

}  // namespace dtrpo::checkpoint
