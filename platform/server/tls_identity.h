// Our own certificate authority and the server certificate it signs, made on first start and kept in a folder:
// ca.pem and ca.key (10 years), server.pem and server.key (renewed within 30 days of its end, or when names change).
// P-256 keys; the private ones have mode 0600.
//
// The certificate names this machine's loopback, the given names, and AWS's hosts for the region, so that clients which
// insist on https://sts.REGION.amazonaws.com can be led here (`athanor exec`).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/files.h"

// OpenSSL's; whoever uses it includes <openssl/ssl.h>.
typedef struct ssl_ctx_st SSL_CTX;

namespace athanor::server {

class TlsIdentity {
 public:
  // Loads from `folder`, or makes what is missing, damaged or about to expire there. `names` are further DNS names or
  // addresses. Throws when the folder cannot be written.
  TlsIdentity(Files& files, const Clock& clock, std::string folder, std::string region, std::vector<std::string> names);
  ~TlsIdentity();
  TlsIdentity(const TlsIdentity&) = delete;
  TlsIdentity& operator=(const TlsIdentity&) = delete;

  // For the server's side of a connection. Lives as long as this object.
  SSL_CTX* server_context() const { return context_; }
  // The CA's certificate, which clients are told to trust (AWS_CA_BUNDLE).
  const std::string& ca_path() const { return ca_path_; }
  const std::string& ca_pem() const { return ca_pem_; }

 private:
  std::string ca_path_;
  std::string ca_pem_;
  SSL_CTX* context_ = nullptr;
};

}  // namespace athanor::server
