// A WebSocket as a Link: binary messages, pings, a bounded queue of what is to be sent. Internal to http_*.cc.
#pragma once

#include "platform/server/http_server.h"
#include "platform/server/http_transport.h"

namespace athanor::server {

bool is_websocket_upgrade(const wire::Request& request);

// Answers the upgrade, hands the link to `handler`, and runs until the link has ended. Answers 400 to what is no proper
// upgrade. On the connection's thread.
wire::Awaitable<void> run_link(HttpTransport& transport, wire::Request head, const HttpOptions& options,
                               const HttpServer::LinkHandler& handler);

}  // namespace athanor::server
