#include "platform/api/sts.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/error.h"
#include "platform/api/xml_text.h"
#include "platform/wire/http.h"

namespace athanor::api {

namespace {

constexpr std::string_view kNamespace = "https://sts.amazonaws.com/doc/2011-06-15/";
constexpr std::string_view kVersion = "2011-06-15";

std::map<std::string, std::string> parse_form(std::string_view text) {
  std::string form(text);
  std::replace(form.begin(), form.end(), '+', ' ');
  try {
    std::map<std::string, std::string> fields;
    for (auto& [name, value] : wire::parse_query(form)) fields[std::move(name)] = std::move(value);
    return fields;
  } catch (const Error& error) {
    throw ServiceError("MalformedQueryString",
                       fmt::format("The query string contains a syntax error: {}", error.what()));
  }
}

}  // namespace

std::string sts_reply(std::string_view form, const Caller& caller, std::string_view request_id) {
  const auto fields = parse_form(form);
  const auto field = [&](const char* name) {
    const auto found = fields.find(name);
    return found == fields.end() ? std::string() : found->second;
  };
  const std::string action = field("Action");
  if (action.empty()) {
    throw ServiceError("MissingAction", "Could not find operation to perform: the form has no Action.");
  }
  if (action != "GetCallerIdentity" || field("Version") != kVersion) {
    throw ServiceError("InvalidAction",
                       fmt::format("Could not find operation {} for version {}", action, field("Version")));
  }
  return fmt::format(
      "<GetCallerIdentityResponse xmlns=\"{}\">\n  <GetCallerIdentityResult>\n    <Arn>{}</Arn>\n    "
      "<UserId>{}</UserId>\n"
      "    <Account>{}</Account>\n  </GetCallerIdentityResult>\n  <ResponseMetadata>\n    <RequestId>{}</RequestId>\n"
      "  </ResponseMetadata>\n</GetCallerIdentityResponse>\n",
      kNamespace, escape_xml(caller.arn), escape_xml(caller.id), escape_xml(caller.account), escape_xml(request_id));
}

std::string sts_error(const ServiceError& error, std::string_view request_id) {
  return fmt::format(
      "<ErrorResponse xmlns=\"{}\">\n  <Error>\n    <Type>Sender</Type>\n    <Code>{}</Code>\n    "
      "<Message>{}</Message>\n"
      "  </Error>\n  <RequestId>{}</RequestId>\n</ErrorResponse>\n",
      kNamespace, escape_xml(error.code()), escape_xml(error.what()), escape_xml(request_id));
}

}  // namespace athanor::api
