#include "platform/server/tls_identity.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <optional>

#include "common/error.h"
#include "common/log.h"

namespace athanor::server {

namespace {

constexpr std::int64_t kDay_s = 86400;
constexpr std::int64_t kAuthority_s = 3650 * kDay_s;
constexpr std::int64_t kServer_s = 820 * kDay_s;  // Apple's clients take no more than 825
constexpr std::int64_t kRenewBefore_s = 30 * kDay_s;
constexpr std::int64_t kBackdate_s = kDay_s;  // clients' clocks differ

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using KeyPointer = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using CertificatePointer = std::unique_ptr<X509, Freer<X509_free>>;
using BioPointer = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using ExtensionPointer = std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>>;

struct Pair {
  KeyPointer key;
  CertificatePointer certificate;
};

[[noreturn]] void openssl_failed(const char* doing) {
  char text[256] = "unknown";
  if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof text);
  throw Error(ErrorKind::kInternal, "{}: OpenSSL: {}", doing, text);
}

void require(bool done, const char* doing) {
  if (!done) openssl_failed(doing);
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<std::size_t>(size));
}

std::string pem_of(X509* certificate) {
  const BioPointer bio(BIO_new(BIO_s_mem()));
  require(PEM_write_bio_X509(bio.get(), certificate) == 1, "writing a certificate");
  return text_of(bio.get());
}

std::string pem_of(EVP_PKEY* key) {
  const BioPointer bio(BIO_new(BIO_s_mem()));
  require(PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1, "writing a key");
  return text_of(bio.get());
}

void add_extension(X509* certificate, X509* issuer, int id, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const ExtensionPointer extension(X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str()));
  require(extension && X509_add_ext(certificate, extension.get(), -1) == 1, "making a certificate");
}

// A new key with a certificate that `issuer` signs, or it itself.
Pair issue(const char* common_name, std::int64_t now_s, std::int64_t valid_s, const Pair* issuer,
           const std::string& alternative_names) {
  Pair made;
  made.key.reset(EVP_EC_gen("P-256"));
  made.certificate.reset(X509_new());
  require(made.key && made.certificate, "making a key");
  X509* const certificate = made.certificate.get();
  X509_set_version(certificate, 2);
  std::uint64_t serial = 0;
  require(RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) == 1, "making a serial number");
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1 | 1);
  const std::time_t from = now_s - kBackdate_s, until = now_s + valid_s;
  ASN1_TIME_set(X509_getm_notBefore(certificate), from);
  ASN1_TIME_set(X509_getm_notAfter(certificate), until);
  X509_set_pubkey(certificate, made.key.get());
  X509_NAME* const subject = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>("Athanor"), -1, -1, 0);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(common_name), -1, -1,
                             0);
  X509* const signer = issuer != nullptr ? issuer->certificate.get() : certificate;
  X509_set_issuer_name(certificate, X509_get_subject_name(signer));
  const bool authority = issuer == nullptr;
  add_extension(certificate, signer, NID_basic_constraints,
                authority ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE");
  add_extension(certificate, signer, NID_key_usage,
                authority ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
  add_extension(certificate, signer, NID_subject_key_identifier, "hash");
  // Python 3.13's strict checks want it on the authority's own certificate's children.
  if (!authority) {
    add_extension(certificate, signer, NID_authority_key_identifier, "keyid:always");
    add_extension(certificate, signer, NID_ext_key_usage, "serverAuth");
    add_extension(certificate, signer, NID_subject_alt_name, alternative_names);
  }
  EVP_PKEY* const signing_key = issuer != nullptr ? issuer->key.get() : made.key.get();
  require(X509_sign(certificate, signing_key, EVP_sha256()) > 0, "signing a certificate");
  return made;
}

// What is in the folder, when both files are there, whole, and belong together.
std::optional<Pair> load(Files& files, const std::string& base) {
  if (!files.stat(base + ".pem") || !files.stat(base + ".key")) return std::nullopt;
  const std::string certificate_pem = files.read_all(base + ".pem"), key_pem = files.read_all(base + ".key");
  const BioPointer certificate_bio(BIO_new_mem_buf(certificate_pem.data(), static_cast<int>(certificate_pem.size())));
  const BioPointer key_bio(BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size())));
  Pair pair;
  pair.certificate.reset(PEM_read_bio_X509(certificate_bio.get(), nullptr, nullptr, nullptr));
  pair.key.reset(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
  const bool whole =
      pair.certificate && pair.key && X509_check_private_key(pair.certificate.get(), pair.key.get()) == 1;
  ERR_clear_error();
  if (!whole) {
    log::warning("tls", "{}.pem or its key is damaged: making a new pair", base);
    return std::nullopt;
  }
  return pair;
}

bool valid_until(X509* certificate, std::int64_t time_s) {
  std::time_t time = time_s;
  return X509_cmp_time(X509_get0_notAfter(certificate), &time) > 0;
}

bool signed_by(X509* certificate, X509* authority) {
  EVP_PKEY* const key = X509_get0_pubkey(authority);
  const bool good = X509_check_issued(authority, certificate) == X509_V_OK && X509_verify(certificate, key) == 1;
  ERR_clear_error();
  return good;
}

void save(Files& files, const std::string& base, const Pair& pair) {
  files.replace(base + ".key", pem_of(pair.key.get()), 0600);
  files.replace(base + ".pem", pem_of(pair.certificate.get()), 0644);
}

bool is_address(const std::string& name) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, name.c_str(), bytes) == 1 || inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

// A wildcard stands for one label, so each depth at which AWS has hosts needs its own.
std::vector<std::string> names_of(const std::string& region, const std::vector<std::string>& more) {
  std::vector<std::string> names{"localhost", "127.0.0.1", "::1", "*.amazonaws.com"};
  names.push_back("*." + region + ".amazonaws.com");
  for (const std::string& between :
       {"s3." + region, std::string("s3"), "s3-control." + region, "s3.dualstack." + region, "sagemaker." + region,
        "ecr." + region, "dkr.ecr." + region}) {
    names.push_back("*." + between + ".amazonaws.com");
  }
  names.push_back(region + ".amazonaws.com");
  names.push_back("sagemaker." + region + ".api.aws");
  for (const std::string& name : more) {
    if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

std::string alternative_names_of(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    if (name.find_first_of(",\n\r ") != std::string::npos) {
      throw Error(ErrorKind::kInvalid, "making the server's certificate: '{}' is not a host name or address", name);
    }
    text += (text.empty() ? "" : ",") + std::string(is_address(name) ? "IP:" : "DNS:") + name;
  }
  return text;
}

bool covers(X509* certificate, const std::vector<std::string>& names) {
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    if (is_address(name)) return X509_check_ip_asc(certificate, name.c_str(), 0) == 1;
    // A wildcard is covered when a host below it is.
    const std::string host = name[0] == '*' ? "host" + name.substr(1) : name;
    return X509_check_host(certificate, host.c_str(), host.size(), 0, nullptr) == 1;
  });
}

}  // namespace

TlsIdentity::TlsIdentity(Files& files, const Clock& clock, std::string folder, std::string region,
                         std::vector<std::string> more_names)
    : ca_path_(folder + "/ca.pem") {
  files.make_folders(folder, 0700);
  const std::int64_t now_s = clock.wall_ms() / 1000;
  const std::string ca_base = folder + "/ca", server_base = folder + "/server";

  auto authority = load(files, ca_base);
  if (!authority || !valid_until(authority->certificate.get(), now_s + kServer_s)) {
    authority = issue("Athanor certificate authority of this machine", now_s, kAuthority_s, nullptr, "");
    save(files, ca_base, *authority);
  }
  const auto names = names_of(region, more_names);
  auto server = load(files, server_base);
  if (!server || !valid_until(server->certificate.get(), now_s + kRenewBefore_s) ||
      !signed_by(server->certificate.get(), authority->certificate.get()) ||
      !covers(server->certificate.get(), names)) {
    server = issue("athanor", now_s, kServer_s, &*authority, alternative_names_of(names));
    save(files, server_base, *server);
  }
  ca_pem_ = pem_of(authority->certificate.get());

  std::unique_ptr<SSL_CTX, Freer<SSL_CTX_free>> context(SSL_CTX_new(TLS_server_method()));
  require(context != nullptr, "making a TLS context");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  require(SSL_CTX_use_certificate(context.get(), server->certificate.get()) == 1 &&
              SSL_CTX_use_PrivateKey(context.get(), server->key.get()) == 1 &&
              SSL_CTX_add1_chain_cert(context.get(), authority->certificate.get()) == 1,
          "loading the server's certificate");
  context_ = context.release();
}

TlsIdentity::~TlsIdentity() { SSL_CTX_free(context_); }

}  // namespace athanor::server
