// Thread safety: a pure function but for the disk, which is passed in.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "proto/dtrpo/v1/job.pb.h"

namespace dtrpo::ctl {

// Reads JOB.yaml (the fields of proto/dtrpo/v1/job.proto), fills defaults and checks it. Relative
// paths in it are taken from `directory` (the caller's current one) and made absolute, because the
// services run elsewhere. A refusal is one line with file, line and field.
absl::StatusOr<v1::JobSpec> LoadJobFile(base::FileSystem* files, const std::string& path,
                                        const std::string& directory);

}  // namespace dtrpo::ctl
