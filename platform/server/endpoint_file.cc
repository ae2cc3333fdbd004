#include "platform/server/endpoint_file.h"

#include "common/error.h"
#include "common/json.h"

namespace athanor::server {
namespace {

std::string path_of(const std::string& data_dir) { return data_dir + "/endpoint"; }

std::string url(const char* scheme, const Endpoint& endpoint) {
  const bool is_v6 = endpoint.address.find(':') != std::string::npos;
  const bool anywhere = endpoint.address == "0.0.0.0" || endpoint.address == "::";
  const std::string host = anywhere ? "127.0.0.1" : is_v6 ? "[" + endpoint.address + "]" : endpoint.address;
  return fmt::format("{}://{}:{}", scheme, host, endpoint.port);
}

}  // namespace

std::string Endpoint::http() const { return url("http", *this); }
std::string Endpoint::https() const { return url("https", *this); }

void write_endpoint(Files& files, const std::string& data_dir, const Endpoint& endpoint) {
  json::object object;
  object["address"] = endpoint.address;
  object["port"] = endpoint.port;
  object["pid"] = endpoint.pid;
  object["region"] = endpoint.region;
  object["account"] = endpoint.account;
  object["access_key_id"] = endpoint.access_key_id;
  object["secret_access_key"] = endpoint.secret_access_key;
  object["role_arn"] = endpoint.role_arn;
  object["bucket"] = endpoint.bucket;
  object["ca_path"] = endpoint.ca_path;
  files.replace(path_of(data_dir), json::serialize(object) + "\n", 0600);
}

std::optional<Endpoint> read_endpoint(const std::string& data_dir) {
  SystemFiles files;
  const std::string path = path_of(data_dir);
  if (!files.stat(path)) return std::nullopt;
  const json::value value = json::parse(files.read_all(path), path);
  const json::object& object = value.as_object();
  Endpoint endpoint;
  endpoint.address = json::get_string(object, "address");
  endpoint.port = static_cast<std::uint16_t>(json::get_int(object, "port"));
  endpoint.pid = json::get_int(object, "pid");
  endpoint.region = json::get_string(object, "region");
  endpoint.account = json::get_string(object, "account");
  endpoint.access_key_id = json::get_string(object, "access_key_id");
  endpoint.secret_access_key = json::get_string(object, "secret_access_key");
  endpoint.role_arn = json::get_string(object, "role_arn");
  endpoint.bucket = json::get_string(object, "bucket");
  endpoint.ca_path = json::get_string(object, "ca_path");
  return endpoint;
}

}  // namespace athanor::server
