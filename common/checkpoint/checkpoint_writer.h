// Thread safety: free functions without state; two writers of one folder at a time are not
// supported. No torch.
//
// A checkpoint folder appears whole or not at all, also after power loss:
//   1. everything is written to `<path>.tmp` and synced, file by file;
//   2. last comes the marker, which lists every file with its size and checksum;
//   3. the folder is synced, renamed to `path`, and the folder above it synced.
// Whoever finds the marker and files that match it has a complete checkpoint; a leftover `.tmp` is
// rubbish and removed by the next writer or by RemoveLeftovers() in retention.h.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/file_system.h"
#include "common/checkpoint/safetensors.h"
#include "common/checkpoint/shards.h"

namespace dtrpo::checkpoint {

inline constexpr absl::string_view kMarkerFile = "checkpoint_complete.json";

struct CheckpointContents {
  // The model's tensors, in one file or several (shards.h). Data is borrowed until the call returns
  // and written from where it is.
  std::vector<TensorView> weights = {};
  int64_t max_shard_bytes = 0;  // 0: kDefaultShardBytes
  // Other tensors by file name, borrowed likewise: a learner's "optimizer.safetensors".
  std::map<std::string, std::vector<TensorView>> tensor_files = {};
  // Complete folders, written like this one by others; their files are moved into it and the
  // folders removed. On the same disk.
  std::vector<std::string> parts = {};
  // Files taken over as they are: these paths, relative, from this folder. Weights files among them
  // are left out, so that no shard or index of the old weights stands beside the new ones.
  std::string copy_from = {};
  std::vector<std::string> copy_names = {};
  // Name -> content; wins over a copied file of the same name.
  std::map<std::string, std::string> extra_files = {};
};

struct WriteOptions {
  // False: ALREADY_EXISTS when `path` is there. True: it is moved aside, replaced and removed;
  // between the two renames a crash leaves it as `<path>.old`.
  bool overwrite = false;
};

// `path` names a folder; its parents are created.
absl::Status WriteCheckpoint(base::FileSystem* files, const std::string& path,
                             const CheckpointContents& contents, const WriteOptions& options = {});

enum class Verify { kSizes, kChecksums };

// OK when the folder has a marker and every file it lists is there with that size (and checksum).
// NOT_FOUND: no marker, e.g. a folder that others made. FAILED_PRECONDITION names the first file
// that differs.
absl::Status CheckComplete(base::FileSystem* files, const std::string& path, Verify verify);

}  // namespace dtrpo::checkpoint
