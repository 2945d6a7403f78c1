#include "tools/dtrpoctl/tls_options.h"

namespace dtrpo::ctl {

void AddTlsOptions(CLI::App* app, rpc::TlsFiles* files) {
  app->add_option("--tls-certificate", files->certificate,
                  "Certificate of role client or admin, PEM (tls.crt); default: "
                  "$DTRPO_TLS_CERTIFICATE, else plain text")
      ->envname("DTRPO_TLS_CERTIFICATE")
      ->type_name("FILE");
  app->add_option("--tls-key", files->key, "Its key, PEM (tls.key); default: $DTRPO_TLS_KEY")
      ->envname("DTRPO_TLS_KEY")
      ->type_name("FILE");
  app->add_option("--tls-ca", files->ca,
                  "Who signed the services' certificates, PEM (ca.crt); default: $DTRPO_TLS_CA")
      ->envname("DTRPO_TLS_CA")
      ->type_name("FILE");
}

absl::StatusOr<std::shared_ptr<const rpc::TlsIdentity>> LoadTlsIdentity(
    const rpc::TlsFiles& files) {
  if (!files.any()) return nullptr;
  return rpc::TlsIdentity::Load(files);
}

}  // namespace dtrpo::ctl
