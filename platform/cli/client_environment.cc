#include "platform/cli/client_environment.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace athanor::cli {
namespace {

constexpr std::array<const char*, 3> kSystemBundles = {"/etc/ssl/certs/ca-certificates.crt",  // Debian
                                                       "/etc/pki/tls/certs/ca-bundle.crt",    // Fedora
                                                       "/etc/ssl/cert.pem"};

void replace_if_changed(Files& files, const std::string& path, const std::string& contents) {
  if (files.stat(path) && files.read_all(path) == contents) return;
  files.replace(path, contents);
}

// Our CA and the system's, so that a client can speak to us and to the world.
std::string bundle(Files& files, const Place& place) {
  std::string contents = files.read_all(place.ca_file);
  for (const char* path : kSystemBundles) {
    if (!files.stat(path)) continue;
    contents += "\n" + files.read_all(path);
    break;
  }
  return contents;
}

// The SageMaker Python SDK's file of defaults, version 1.0 of its schema.
std::string sdk_defaults(const Place& place) {
  return fmt::format(
      "SchemaVersion: '1.0'\n"
      "SageMaker:\n"
      "  PythonSDK:\n"
      "    Modules:\n"
      "      TelemetryOptOut: true\n"
      "      Session:\n"
      "        DefaultS3Bucket: {}\n"
      "  TrainingJob:\n"
      "    RoleArn: {}\n",
      place.bucket, place.role_arn);
}

// Files that the variables name. Without a data folder (all came from the environment) only what is there is named.
struct ClientFiles {
  std::string ca_bundle;
  std::string defaults;
};

ClientFiles write_client_files(const Place& place) {
  if (place.data_dir.empty()) {
    const char* defaults = std::getenv("SAGEMAKER_USER_CONFIG_OVERRIDE");
    return {place.ca_file, defaults == nullptr ? "" : defaults};
  }
  SystemFiles system_files;
  Files& files = system_files;
  const std::string folder = place.data_dir + "/client";
  files.make_folders(folder);
  ClientFiles written{folder + "/ca-bundle.pem", folder + "/sagemaker-defaults.yaml"};
  replace_if_changed(files, written.ca_bundle, bundle(files, place));
  replace_if_changed(files, written.defaults, sdk_defaults(place));
  return written;
}

std::map<std::string, std::string> identity(const Place& place, const ClientFiles& files) {
  std::map<std::string, std::string> variables = {
      {"AWS_ACCESS_KEY_ID", place.credentials.access_key_id},
      {"AWS_SECRET_ACCESS_KEY", place.credentials.secret_access_key},
      {"AWS_REGION", place.region},
      {"AWS_DEFAULT_REGION", place.region},
      {"ATHANOR_BUCKET", place.bucket},
      {"ATHANOR_ROLE", place.role_arn},
  };
  if (!place.credentials.session_token.empty()) variables["AWS_SESSION_TOKEN"] = place.credentials.session_token;
  if (!files.ca_bundle.empty()) variables["AWS_CA_BUNDLE"] = files.ca_bundle;
  if (!files.defaults.empty()) variables["SAGEMAKER_USER_CONFIG_OVERRIDE"] = files.defaults;
  return variables;
}

}  // namespace

std::map<std::string, std::string> client_environment(const Place& place, bool secure) {
  std::map<std::string, std::string> variables = identity(place, write_client_files(place));
  variables["AWS_ENDPOINT_URL"] = secure ? place.secure_endpoint : place.endpoint;
  return variables;
}

std::map<std::string, std::string> exec_environment(const Place& place) {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view pair(*entry);
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view name = pair.substr(0, equals);
    const bool leads_elsewhere = name.starts_with("AWS_ENDPOINT_URL") || name == "AWS_PROFILE" ||
                                 name == "AWS_DEFAULT_PROFILE" || name == "AWS_SESSION_TOKEN" ||
                                 name == "AWS_ROLE_ARN" || name == "AWS_WEB_IDENTITY_TOKEN_FILE";
    if (!leads_elsewhere) variables.emplace(name, pair.substr(equals + 1));
  }
  const ClientFiles files = write_client_files(place);
  for (auto& [name, value] : identity(place, files)) variables[name] = value;
  if (!files.ca_bundle.empty()) {
    // botocore; requests; OpenSSL, Go, Python's ssl; curl; Node adds it to its own.
    for (const char* name :
         {"AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"}) {
      variables[name] = files.ca_bundle;
    }
  }
  // A proxy would resolve *.amazonaws.com on its own.
  for (const char* name : {"no_proxy", "NO_PROXY"}) {
    std::string& list = variables[name];
    if (list != "*") list += std::string(list.empty() ? "" : ",") + ".amazonaws.com,amazonaws.com";
  }
  variables["AWS_EC2_METADATA_DISABLED"] = "true";
  return variables;
}

}  // namespace athanor::cli
