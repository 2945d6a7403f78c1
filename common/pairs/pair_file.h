// Thread safety: immutable after Read(); Usable() may run on many threads at once. No torch.
//
// A file of preference pairs of any size. One pass over it puts every line that isn't empty into
// exactly one of three heaps: rejected (listed with its reason), held out, and usable. What stays
// in memory is 32 bytes a usable line and a few held-out pairs; a usable pair is read again when it
// is wanted, in any order.
//
//   lines = rejected + held_out + usable
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/file_system.h"
#include "common/pairs/pair_reader.h"
#include "common/text/preference_file.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::pairs {

inline constexpr uint32_t kMaxPairLineBytes = uint32_t{16} << 20;

struct PairCounts {
  int64_t lines = 0;
  int64_t rejected = 0;
  int64_t held_out = 0;
  int64_t usable = 0;
};

class PairFile {
 public:
  struct Options {
    // Where rejected lines are listed as they are found; an old list there is replaced. Empty:
    // nowhere.
    std::string rejects_path = {};
    // So many of the held-out pairs are kept at most, chosen by a hash of their lines; 0: all.
    int64_t max_heldout = 256;
    // Called about once a mebibyte with the share of the file that was read; false ends it.
    std::function<bool(double share)> progress = {};
    // Gets each usable pair of the pass, in the order of the file.
    std::function<void(trajectory::PreferencePair)> usable = {};
  };
  // `files` and `reader` outlive it. NOT_FOUND without the file; CANCELLED when `progress` said so;
  // INVALID_ARGUMENT, with the first rejected line, when no line can be used.
  static absl::StatusOr<std::unique_ptr<PairFile>> Read(base::FileSystem* files,
                                                        const std::string& path,
                                                        const PairReader* reader,
                                                        const Options& options);

  const PairCounts& counts() const { return counts_; }
  // SHA-256 of the content.
  const std::string& fingerprint() const { return fingerprint_; }
  // Those that were kept, in the order of the file.
  const std::vector<trajectory::PreferencePair>& heldout() const { return heldout_; }
  // The first few.
  const std::vector<text::RejectedLine>& rejects() const { return rejects_; }

  // The index-th usable pair. DATA_LOSS when its line isn't what it was.
  absl::StatusOr<trajectory::PreferencePair> Usable(int64_t index) const;

 private:
  struct Line {
    uint64_t offset = 0;
    int64_t number = 0;  // from 1
    uint64_t hash = 0;
    uint32_t size = 0;
  };
  class Pass;
  PairFile(std::string path, const PairReader* reader) : path_(std::move(path)), reader_(reader) {}

  const std::string path_;
  const PairReader* const reader_;
  std::unique_ptr<base::RandomAccessFile> file_;
  std::vector<Line> lines_;
  PairCounts counts_;
  std::string fingerprint_;
  std::vector<trajectory::PreferencePair> heldout_;
  std::vector<text::RejectedLine> rejects_;
};

}  // namespace dtrpo::pairs
