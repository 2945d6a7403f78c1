#include "common/training/saved_optimizer.h"

#include <torch/utils.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/safetensors.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/compute_dtype.h"

namespace dtrpo::training {
namespace {

constexpr char kPrefix[] = "optimizer-";

// "<name>@<begin>:<end>/<total>"; false: a whole tensor's name.
bool ParseRange(absl::string_view full, std::string& name, int64_t& begin, int64_t& end,
                int64_t& total) {
  const size_t at = full.rfind('@');
  if (at == full.npos) return false;
  const std::vector<std::string> numbers =
      absl::StrSplit(full.substr(at + 1), absl::ByAnyChar(":/"));
  if (numbers.size() != 3 || !absl::SimpleAtoi(numbers[0], &begin) ||
      !absl::SimpleAtoi(numbers[1], &end) || !absl::SimpleAtoi(numbers[2], &total)) {
    return false;
  }
  name = std::string(full.substr(0, at));
  return true;
}

// All files of the set, or why it isn't whole.
absl::StatusOr<std::vector<std::string>> FilesOf(base::FileSystem* files, const std::string& path) {
  if (files->Exists(base::JoinPath(path, kOptimizerFile))) {
    return std::vector<std::string>{kOptimizerFile};
  }
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> names, files->List(path));
  for (const std::string& name : names) {
    const size_t of = name.find("-of-");
    int world = 0;
    if (!absl::StartsWith(name, kPrefix) || of == name.npos ||
        !absl::SimpleAtoi(name.substr(of + 4, 5), &world) || world < 2) {
      continue;
    }
    std::vector<std::string> set;
    for (int rank = 0; rank < world; ++rank) {
      set.push_back(OptimizerFileOf(rank, world));
      if (!std::binary_search(names.begin(), names.end(), set.back())) {
        return absl::DataLossError(
            absl::StrCat(base::JoinPath(path, set.back()), ": missing beside ", name));
      }
    }
    return set;
  }
  return absl::NotFoundError(
      absl::StrCat(base::JoinPath(path, kOptimizerFile), ": no such file, nor a set of ranks'"));
}

}  // namespace

std::string OptimizerFileOf(int rank, int world) {
  if (world == 1) return kOptimizerFile;
  return absl::StrFormat("%s%05d-of-%05d.safetensors", kPrefix, rank + 1, world);
}

std::string RangeName(const std::string& name, int64_t begin, int64_t end, int64_t total) {
  return absl::StrCat(name, "@", begin, ":", end, "/", total);
}

absl::StatusOr<SavedOptimizer> SavedOptimizer::Open(base::FileSystem* files,
                                                    const std::string& path) {
  SavedOptimizer saved;
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> names, FilesOf(files, path));
  saved.source_ = base::JoinPath(path, names.front());
  for (const std::string& file : names) {
    DTRPO_ASSIGN_OR_RETURN(std::shared_ptr<const checkpoint::SafetensorsFile> tensors,
                           checkpoint::SafetensorsFile::Map(base::JoinPath(path, file)));
    for (const checkpoint::TensorView& view : tensors->tensors()) {
      DTRPO_ASSIGN_OR_RETURN(const torch::Dtype dtype,
                             model::ParseDtype(checkpoint::DTypeName(view.dtype)));
      DTRPO_ASSIGN_OR_RETURN(torch::Tensor tensor,
                             model::BorrowTensor(view.data, view.shape, dtype, tensors));
      Range range{.begin = 0, .end = tensor.numel(), .total = tensor.numel(), .tensor = tensor};
      std::string name = view.name;
      range.whole = !ParseRange(view.name, name, range.begin, range.end, range.total);
      if (!range.whole && (range.begin < 0 || range.end > range.total ||
                           range.end - range.begin != tensor.numel())) {
        return absl::DataLossError(absl::StrCat(base::JoinPath(path, file), ": tensor ", view.name,
                                                " has ", tensor.numel(), " elements"));
      }
      saved.ranges_[name].push_back(std::move(range));
    }
  }
  for (auto& [name, ranges] : saved.ranges_) {
    std::sort(ranges.begin(), ranges.end(),
              [](const Range& a, const Range& b) { return a.begin < b.begin; });
  }
  return saved;
}

absl::Status SavedOptimizer::Read(const std::string& name, int64_t begin, int64_t total,
                                  const torch::Tensor& to) const {
  const auto wrong = [&](absl::string_view what) {
    return absl::DataLossError(
        absl::StrCat(source_, ": optimizer state: tensor ", name, " ", what));
  };
  const auto it = ranges_.find(name);
  if (it == ranges_.end()) return wrong("is missing");
  const int64_t end = begin + to.numel();
  int64_t filled = begin;
  for (const Range& range : it->second) {
    if (range.total != total || range.tensor.scalar_type() != to.scalar_type()) {
      return wrong("has another shape or type");
    }
    if (range.end <= filled || range.begin > filled) continue;
    const int64_t until = std::min(end, range.end);
    if (until <= filled) break;
    to.narrow(0, filled - begin, until - filled)
        .copy_(range.tensor.reshape({-1}).narrow(0, filled - range.begin, until - filled));
    filled = until;
  }
  return filled == end ? absl::OkStatus() : wrong(absl::StrCat("lacks element ", filled));
}

absl::StatusOr<model::NamedTensors> SavedOptimizer::ReadAll(const model::NamedTensors& like) const {
  model::NamedTensors tensors;
  for (const auto& [name, own] : like) {
    const auto it = ranges_.find(name);
    if (it != ranges_.end() && it->second.front().whole) {
      // As it is: whoever restores it looks at its shape and type.
      tensors.emplace_back(name, it->second.front().tensor);
      continue;
    }
    const torch::Tensor tensor = torch::empty({own.numel()}, own.options().requires_grad(false));
    DTRPO_RETURN_IF_ERROR(Read(name, 0, own.numel(), tensor));
    tensors.emplace_back(name, tensor.view(own.sizes()));
  }
  return tensors;
}

}  // namespace dtrpo::training
