#include "tools/certs/role_certificates.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "tools/certs/certificate_authority.h"

namespace dtrpo::tools {
namespace {

constexpr mode_t kOwnerOnly = 0600;
constexpr mode_t kEverybody = 0644;
// A machine whose clock is a little behind takes the certificate, too.
constexpr absl::Duration kClockSkew = absl::Minutes(5);

// A reader sees the old file or the new one.
absl::Status WriteFile(const std::string& path, const std::string& text, mode_t mode) {
  const std::string temporary = path + ".new";
  ::unlink(temporary.c_str());
  const auto failed = [&] {
    return absl::FailedPreconditionError(absl::StrCat(path, ": ", std::strerror(errno)));
  };
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) return failed();
  const ssize_t written = ::write(fd, text.data(), text.size());
  const bool whole = written == static_cast<ssize_t>(text.size()) && ::fchmod(fd, mode) == 0;
  ::close(fd);
  if (!whole || ::rename(temporary.c_str(), path.c_str()) != 0) return failed();
  return absl::OkStatus();
}

absl::StatusOr<CertificateAuthority> LoadOrMakeAuthority(const RoleCertificateOptions& options) {
  base::FileSystem* files = base::PosixFileSystem();
  const std::string folder = options.dir + "/ca";
  const std::string certificate = folder + "/tls.crt", key = folder + "/tls.key";
  if (files->Exists(certificate)) {
    PemPair pem;
    DTRPO_ASSIGN_OR_RETURN(pem.certificate, files->Read(certificate));
    DTRPO_ASSIGN_OR_RETURN(pem.key, files->Read(key));
    DTRPO_ASSIGN_OR_RETURN(auto authority,
                           base::Annotate(CertificateAuthority::FromPem(pem), folder));
    if (authority.not_after() > options.now) return authority;
    return absl::InvalidArgumentError(
        absl::StrCat(certificate, ": expired at ", absl::FormatTime(authority.not_after()),
                     "; remove ", folder, " to make another authority"));
  }
  DTRPO_ASSIGN_OR_RETURN(
      auto authority,
      CertificateAuthority::Create({.common_name = "dtrpo development CA",
                                    .uri = {},
                                    .hosts = {},
                                    .not_before = options.now - kClockSkew,
                                    .not_after = options.now + options.authority_valid_for}));
  DTRPO_RETURN_IF_ERROR(files->MakeDirectories(folder));
  DTRPO_RETURN_IF_ERROR(WriteFile(key, authority.pem().key, kOwnerOnly));
  DTRPO_RETURN_IF_ERROR(WriteFile(certificate, authority.pem().certificate, kEverybody));
  return authority;
}

}  // namespace

absl::Status MakeRoleCertificates(const RoleCertificateOptions& options) {
  DTRPO_ASSIGN_OR_RETURN(const CertificateAuthority authority, LoadOrMakeAuthority(options));
  std::vector<std::string> hosts = {"localhost", "127.0.0.1", "::1"};
  hosts.insert(hosts.end(), options.hosts.begin(), options.hosts.end());
  std::vector<rpc::Role> roles = options.roles;
  if (roles.empty()) roles.assign(rpc::AllRoles().begin(), rpc::AllRoles().end());
  for (const rpc::Role role : roles) {
    const std::string name(rpc::RoleName(role));
    DTRPO_ASSIGN_OR_RETURN(
        const PemPair pem,
        authority.Issue(
            {.common_name = "dtrpo " + name,
             .uri = rpc::RoleUri(role),
             .hosts = hosts,
             // `now` may lie in the past, for a certificate that has expired.
             .not_before = std::min(options.now, options.now + options.valid_for) - kClockSkew,
             .not_after = std::min(options.now + options.valid_for, authority.not_after())}));
    const rpc::TlsFiles files = RoleFiles(options.dir, name);
    DTRPO_RETURN_IF_ERROR(
        base::PosixFileSystem()->MakeDirectories(absl::StrCat(options.dir, "/", name)));
    DTRPO_RETURN_IF_ERROR(WriteFile(files.ca, authority.pem().certificate, kEverybody));
    DTRPO_RETURN_IF_ERROR(WriteFile(files.key, pem.key, kOwnerOnly));
    DTRPO_RETURN_IF_ERROR(WriteFile(files.certificate, pem.certificate, kEverybody));
  }
  return absl::OkStatus();
}

rpc::TlsFiles RoleFiles(const std::string& dir, absl::string_view role) {
  const std::string folder = absl::StrCat(dir, "/", role);
  return {.certificate = folder + "/tls.crt", .key = folder + "/tls.key", .ca = folder + "/ca.crt"};
}

}  // namespace dtrpo::tools
