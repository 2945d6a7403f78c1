#include "common/pairs/pair_file.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/atomic_file.h"
#include "common/base/hash.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"

namespace dtrpo::pairs {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;
constexpr size_t kShownRejects = 3;

}  // namespace

// The one pass: what it has seen of the file so far.
class PairFile::Pass {
 public:
  Pass(base::FileSystem* files, const Options& options, PairFile* to)
      : files_(files), options_(options), to_(to) {}

  absl::Status Run();

 private:
  absl::Status TakeLine(absl::string_view line, uint64_t offset);
  absl::Status Reject(absl::string_view line, std::string reason);
  void HoldOut(trajectory::PreferencePair pair);
  absl::Status Finish();

  base::FileSystem* const files_;
  const Options& options_;
  PairFile* const to_;
  int64_t number_ = 0;
  bool skipping_ = false;  // the rest of a line that is rejected already
  std::unique_ptr<base::AtomicFile> rejects_;
  std::map<std::pair<uint64_t, int64_t>, trajectory::PreferencePair> heldout_;  // (hash, line)
};

absl::Status PairFile::Pass::Run() {
  const uint64_t size = to_->file_->size_bytes();
  base::Sha256 digest;
  std::string rest;  // of a line that isn't complete yet
  uint64_t read = 0;
  while (read < size) {
    const size_t more = static_cast<size_t>(std::min<uint64_t>(kChunkBytes, size - read));
    uint64_t begin = read - rest.size();  // of `rest` in the file
    rest.resize(rest.size() + more);
    DTRPO_RETURN_IF_ERROR(to_->file_->ReadAt(read, more, rest.data() + rest.size() - more));
    digest.Update(absl::string_view(rest).substr(rest.size() - more));
    read += more;
    absl::string_view left = rest;
    if (skipping_) {  // to the end of a line that was too long
      const size_t end = left.find('\n');
      skipping_ = end == absl::string_view::npos;
      const size_t skipped = skipping_ ? left.size() : end + 1;
      left.remove_prefix(skipped);
      begin += skipped;
    }
    for (size_t end; (end = left.find('\n')) != absl::string_view::npos;) {
      DTRPO_RETURN_IF_ERROR(TakeLine(left.substr(0, end), begin));
      begin += end + 1;
      left.remove_prefix(end + 1);
    }
    if (left.size() > kMaxPairLineBytes) {
      ++number_;
      ++to_->counts_.lines;
      DTRPO_RETURN_IF_ERROR(
          Reject(left, absl::StrCat("too long: more than ", kMaxPairLineBytes, " bytes")));
      skipping_ = true;
      left = "";
    }
    if (read == size && !left.empty()) DTRPO_RETURN_IF_ERROR(TakeLine(left, begin));
    rest = read == size ? std::string() : std::string(left);
    const double share = static_cast<double>(read) / static_cast<double>(size);
    if (options_.progress && !options_.progress(share)) {
      return absl::CancelledError(absl::StrCat(to_->path_, ": reading was ended"));
    }
  }
  to_->fingerprint_ = digest.FinishHex();
  return Finish();
}

absl::Status PairFile::Pass::TakeLine(absl::string_view line, uint64_t offset) {
  ++number_;
  if (absl::StripAsciiWhitespace(line).empty()) return absl::OkStatus();
  ++to_->counts_.lines;
  absl::StatusOr<ReadPair> read = to_->reader_->Read(line, number_);
  if (!read.ok()) return Reject(line, std::string(read.status().message()));
  if (read->heldout) {
    HoldOut(std::move(read->pair));
    return absl::OkStatus();
  }
  ++to_->counts_.usable;
  to_->lines_.push_back({.offset = offset,
                         .number = number_,
                         .hash = base::StableHash(line),
                         .size = static_cast<uint32_t>(line.size())});
  if (options_.usable) options_.usable(std::move(read->pair));
  return absl::OkStatus();
}

absl::Status PairFile::Pass::Reject(absl::string_view line, std::string reason) {
  ++to_->counts_.rejected;
  const text::RejectedLine rejected = text::MakeRejectedLine(number_, std::move(reason), line);
  if (to_->rejects_.size() < kShownRejects) to_->rejects_.push_back(rejected);
  if (options_.rejects_path.empty()) return absl::OkStatus();
  if (rejects_ == nullptr) {
    DTRPO_RETURN_IF_ERROR(files_->MakeDirectories(base::ParentPath(options_.rejects_path)));
    DTRPO_ASSIGN_OR_RETURN(rejects_, base::AtomicFile::Create(files_, options_.rejects_path));
  }
  return rejects_->Append(text::RejectsJsonl({&rejected, 1}));
}

// The smallest hashes win: which pairs are kept depends on no other line's place.
void PairFile::Pass::HoldOut(trajectory::PreferencePair pair) {
  ++to_->counts_.held_out;
  const uint64_t hash = base::StableHash("held-out pair", static_cast<uint64_t>(number_));
  heldout_.emplace(std::pair(hash, number_), std::move(pair));
  if (options_.max_heldout > 0 && static_cast<int64_t>(heldout_.size()) > options_.max_heldout) {
    heldout_.erase(std::prev(heldout_.end()));
  }
}

absl::Status PairFile::Pass::Finish() {
  if (rejects_ != nullptr) {
    DTRPO_RETURN_IF_ERROR(rejects_->Commit());
  } else if (!options_.rejects_path.empty() && files_->Exists(options_.rejects_path)) {
    DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(files_, options_.rejects_path, ""));
  }
  std::map<int64_t, trajectory::PreferencePair> by_line;
  for (auto& [key, pair] : heldout_) by_line.emplace(key.second, std::move(pair));
  for (auto& [line, pair] : by_line) to_->heldout_.push_back(std::move(pair));
  if (to_->counts_.usable > 0) return absl::OkStatus();
  if (to_->rejects_.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(to_->path_, ": no pairs to train on"));
  }
  return absl::InvalidArgumentError(absl::StrCat(to_->path_, ":", to_->rejects_.front().line, ": ",
                                                 to_->rejects_.front().reason,
                                                 "; no line is a pair to train on"));
}

absl::StatusOr<std::unique_ptr<PairFile>> PairFile::Read(base::FileSystem* files,
                                                         const std::string& path,
                                                         const PairReader* reader,
                                                         const Options& options) {
  std::unique_ptr<PairFile> result(new PairFile(path, reader));
  DTRPO_ASSIGN_OR_RETURN(result->file_, files->Open(path));
  DTRPO_RETURN_IF_ERROR(Pass(files, options, result.get()).Run());
  return result;
}

absl::StatusOr<trajectory::PreferencePair> PairFile::Usable(int64_t index) const {
  const Line& place = lines_.at(index);
  std::string line(place.size, '\0');
  const absl::Status read = file_->ReadAt(place.offset, line.size(), line.data());
  if (!read.ok() || base::StableHash(line) != place.hash) {
    return absl::DataLossError(
        absl::StrCat(path_, ":", place.number, ": the line isn't what it was when training began"));
  }
  DTRPO_ASSIGN_OR_RETURN(ReadPair pair, reader_->Read(line, place.number));
  return std::move(pair.pair);
}

}  // namespace dtrpo::pairs
