#include "platform/server/endpoint_file.h"

#include "common/error.h"
#include "common/json.h"

namespace athanor::server {
namespace {

std::string path_in(const std::string& data_dir) { return data_dir + "/endpoint"; }

}  // namespace

void write_endpoint_file(Files& files, const std::string& data_dir, const EndpointFile& endpoint) {
  const json::object contents = {
      {"address", endpoint.address},
      {"port", endpoint.port},
      {"pid", endpoint.pid},
      {"region", endpoint.region},
      {"account", endpoint.account},
      {"role_arn", endpoint.role_arn},
      {"bucket", endpoint.bucket},
      {"access_key_id", endpoint.access_key_id},
      {"secret_access_key", endpoint.secret_access_key},
      {"ca_file", endpoint.ca_file},
  };
  files.replace(path_in(data_dir), json::serialize(contents) + "\n", 0600);
}

std::optional<EndpointFile> read_endpoint_file(Files& files, const std::string& data_dir) {
  const std::string path = path_in(data_dir);
  if (!files.stat(path)) return {};
  const std::string text = files.read_all(path);
  try {
    const json::value parsed = json::parse(text, path);
    const json::object& from = parsed.as_object();
    EndpointFile endpoint;
    endpoint.address = json::get_string(from, "address");
    endpoint.port = static_cast<std::uint16_t>(json::get_int(from, "port"));
    endpoint.pid = json::get_int(from, "pid");
    endpoint.region = json::get_string(from, "region");
    endpoint.account = json::get_string(from, "account");
    endpoint.role_arn = json::get_string(from, "role_arn");
    endpoint.bucket = json::get_string(from, "bucket");
    endpoint.access_key_id = json::get_string(from, "access_key_id");
    endpoint.secret_access_key = json::get_string(from, "secret_access_key");
    endpoint.ca_file = json::get_string(from, "ca_file");
    return endpoint;
  } catch (const std::exception& error) {
    throw Error(ErrorKind::kCorrupt, "Reading {}: {}. Remove it and start `athanor up` again.", path, error.what());
  }
}

}  // namespace athanor::server
