// Any bytes are either refused with the file's name or are a file whose tensors lie inside it and
// tile its data; the writer's copy of it reads back equal.
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "common/base/check.h"
#include "common/checkpoint/safetensors.h"

namespace dtrpo::checkpoint {
namespace {

class StringFile : public base::WritableFile {
 public:
  absl::Status Append(absl::string_view data) override {
    text.append(data.data(), data.size());
    return absl::OkStatus();
  }
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::Status Close() override { return absl::OkStatus(); }
  std::string text;
};

void CheckOne(const std::string& bytes) {
  const auto file = SafetensorsFile::FromBytes(bytes, "fuzzed.safetensors");
  if (!file.ok()) {
    DTRPO_CHECK(absl::StartsWith(file.status().message(), "fuzzed.safetensors: "))
        << file.status().message();
    return;
  }
  size_t covered = 0;
  for (const TensorView& tensor : (*file)->tensors()) {
    DTRPO_CHECK((*file)->Find(tensor.name) == &tensor);
    const int64_t size = TensorSizeBytes(tensor.dtype, tensor.shape).value();
    DTRPO_CHECK(tensor.data.size() == static_cast<size_t>(size));
    covered += tensor.data.size();
  }
  DTRPO_CHECK(covered <= bytes.size());

  StringFile copy;
  const absl::Status written = AppendSafetensors(&copy, "copy", (*file)->tensors());
  DTRPO_CHECK(written.ok()) << written.message();
  const auto reread = SafetensorsFile::FromBytes(copy.text, "copy");
  DTRPO_CHECK(reread.ok()) << reread.status().message();
  for (const TensorView& tensor : (*file)->tensors()) {
    const TensorView* twin = (*reread)->Find(tensor.name);
    DTRPO_CHECK(twin != nullptr && twin->dtype == tensor.dtype && twin->shape == tensor.shape &&
                twin->data == tensor.data)
        << tensor.name;
  }
}

}  // namespace
}  // namespace dtrpo::checkpoint

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  dtrpo::checkpoint::CheckOne(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
