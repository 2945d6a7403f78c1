#include "common/storage/store_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/atomic_file.h"
#include "common/base/status_macros.h"

namespace dtrpo::storage {
namespace {

constexpr absl::string_view kFormatLine = "dtrpo store, format ";

absl::Status CheckFormat(base::FileSystem* files, const std::string& folder) {
  const std::string path = base::JoinPath(folder, "FORMAT");
  DTRPO_ASSIGN_OR_RETURN(const std::optional<std::string> text, base::ReadIfThere(files, path));
  if (!text.has_value()) {
    // Only a folder without data may become a store: its FORMAT is written before anything else.
    if (files->Exists(base::JoinPath(folder, "db"))) {
      return absl::FailedPreconditionError(
          absl::StrCat(folder, " holds data but no FORMAT file: it isn't a store of this program"));
    }
    return base::WriteFileAtomically(files, path, absl::StrCat(kFormatLine, kStoreFormat, "\n"));
  }
  absl::string_view rest = absl::StripAsciiWhitespace(*text);
  int format = 0;
  if (!absl::ConsumePrefix(&rest, kFormatLine) || !absl::SimpleAtoi(rest, &format)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " isn't the FORMAT file of a store of this program"));
  }
  if (format == kStoreFormat) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      path, ": the store has format ", format, ", this program reads format ", kStoreFormat,
      format > kStoreFormat ? ": a newer program wrote it; use that one"
                            : ": there is no migration from it; export it with the program that "
                              "wrote it, and import"));
}

}  // namespace

absl::StatusOr<StoreFolder> StoreFolder::Open(base::FileSystem* files, const std::string& path) {
  DTRPO_RETURN_IF_ERROR(base::Annotate(files->MakeDirectories(path), "the store's folder"));
  const std::string lock_path = base::JoinPath(path, "LOCK");
  const int lock = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(lock_path, ": can't be made"));
  }
  StoreFolder folder(path, lock);
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": another process has this store open"));
  }
  DTRPO_RETURN_IF_ERROR(CheckFormat(files, path));
  return folder;
}

StoreFolder::StoreFolder(StoreFolder&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

StoreFolder& StoreFolder::operator=(StoreFolder&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(lock_, other.lock_);
  return *this;
}

StoreFolder::~StoreFolder() {
  if (lock_ >= 0) ::close(lock_);
}

}  // namespace dtrpo::storage
