#include "common/model/compute_dtype.h"

#include <set>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"

namespace dtrpo::model {
namespace {

constexpr absl::string_view kFloat32 = "float32";
constexpr absl::string_view kBfloat16 = "bfloat16";

// Lower-case names as config.json has them; what we don't compute in keeps the file's word.
std::string NameOf(checkpoint::DType dtype) {
  switch (dtype) {
    case checkpoint::DType::kF32:
      return std::string(kFloat32);
    case checkpoint::DType::kBF16:
      return std::string(kBfloat16);
    case checkpoint::DType::kF16:
      return "float16";
    case checkpoint::DType::kF64:
      return "float64";
    default:
      return absl::AsciiStrToLower(checkpoint::DTypeName(dtype));
  }
}

ComputeDtype OwnDtype(const checkpoint::CheckpointFolder& folder) {
  std::set<std::string> stored;
  for (const std::string& name : folder.TensorNames()) {
    stored.insert(NameOf(folder.Find(name)->dtype));
  }
  std::string what = "the tensors are ";
  if (stored.empty()) {
    const std::string& said = folder.config().torch_dtype;
    stored.insert(said.empty() ? std::string(kFloat32) : said);
    what = "config.json says ";
  }
  absl::StrAppend(&what, absl::StrJoin(stored, " and "));
  if (stored.size() == 1 && *stored.begin() == kBfloat16) return {torch::kBFloat16, what};
  if (stored.size() == 1 && *stored.begin() == kFloat32) return {torch::kFloat32, what};
  return {torch::kFloat32, absl::StrCat(what, ", which is not computed in"), /*native=*/false};
}

}  // namespace

absl::StatusOr<ComputeDtype> ChooseDtype(absl::string_view word,
                                         const checkpoint::CheckpointFolder& folder) {
  if (word.empty() || word == kAutoDtype) return OwnDtype(folder);
  if (word == kFloat32) return ComputeDtype{torch::kFloat32, "asked for"};
  if (word == kBfloat16) return ComputeDtype{torch::kBFloat16, "asked for"};
  return absl::InvalidArgumentError(
      absl::StrCat("dtype '", word, "' is none of auto, float32, bfloat16"));
}

absl::string_view DtypeName(torch::Dtype dtype) {
  if (dtype == torch::kFloat32) return kFloat32;
  if (dtype == torch::kBFloat16) return kBfloat16;
  if (dtype == torch::kFloat16) return "float16";
  DTRPO_CHECK(dtype == torch::kFloat64) << c10::toString(dtype);
  return "float64";
}

}  // namespace dtrpo::model
