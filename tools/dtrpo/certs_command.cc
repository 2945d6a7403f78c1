#include "tools/dtrpo/certs_command.h"

#include <iostream>

#include "common/base/status_macros.h"
#include "tools/certs/role_certificates.h"

namespace dtrpo::tools {
namespace {

constexpr char kHelp[] =
    R"(Makes DIR/ca, an authority of your own, unless it is there, and a folder for each role with tls.crt,
tls.key and ca.crt, as cert-manager's secrets have them. Run it again to renew the certificates:
services that are running take the new ones within seconds. For development and tests; the
authority's key is a plain file. What the roles may do and what a cluster uses: docs/security.md.)";

std::vector<std::string> RoleNames() {
  std::vector<std::string> names;
  for (const rpc::Role role : rpc::AllRoles()) names.emplace_back(rpc::RoleName(role));
  return names;
}

}  // namespace

void CertsCommand::AddOptions(CLI::App* app) {
  app->footer(kHelp);
  app->add_option("--dir", dir_, "where the folders go")->type_name("DIR")->capture_default_str();
  app->add_option("--role", roles_, "a role to make a certificate for, several times; default: all")
      ->check(CLI::IsMember(RoleNames()))
      ->type_name("ROLE");
  app->add_option("--host", hosts_,
                  "a host name or IP address in the certificates, several times, beside localhost, "
                  "127.0.0.1 and ::1; for foreign clients, ours look at the role")
      ->type_name("HOST");
  app->add_option("--days", days_, "days until the certificates expire; never after the CA")
      ->check(CLI::Range(0.001, 36500.0))
      ->type_name("DAYS")
      ->capture_default_str();
  app->add_option("--ca-days", authority_days_, "days until a new CA expires")
      ->check(CLI::Range(0.001, 36500.0))
      ->type_name("DAYS")
      ->capture_default_str();
}

absl::Status CertsCommand::Run() {
  RoleCertificateOptions options;
  options.dir = dir_;
  for (const std::string& name : roles_) options.roles.push_back(*rpc::ParseRole(name));
  options.hosts = hosts_;
  options.valid_for = absl::Hours(24) * days_;
  options.authority_valid_for = absl::Hours(24) * authority_days_;
  DTRPO_RETURN_IF_ERROR(MakeRoleCertificates(options));
  std::cout << "certificates: " << dir_ << "/ROLE/{tls.crt,tls.key,ca.crt}" << std::endl;
  return absl::OkStatus();
}

}  // namespace dtrpo::tools
