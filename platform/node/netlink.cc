#include "platform/node/netlink.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/error.h"

namespace athanor::node {

// One message being put together: header, fixed part, attributes; nested attributes by open()/close().
class Netlink::Request {
 public:
  Request(std::uint16_t type, std::uint16_t flags) {
    auto* head = header();
    head->nlmsg_type = type;
    head->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    head->nlmsg_len = NLMSG_HDRLEN;
  }

  template <typename T>
  void put(const T& fixed) {
    append(&fixed, sizeof fixed);
  }
  void attribute(std::uint16_t type, const void* data, std::size_t size) {
    const rtattr attribute{static_cast<std::uint16_t>(RTA_LENGTH(size)), type};
    append(&attribute, sizeof attribute);
    append(data, size);
  }
  void attribute(std::uint16_t type, const std::string& text) { attribute(type, text.c_str(), text.size() + 1); }
  void attribute(std::uint16_t type, std::uint32_t number) { attribute(type, &number, sizeof number); }

  std::size_t open(std::uint16_t type) {
    const std::size_t at = header()->nlmsg_len;
    attribute(type, nullptr, 0);
    return at;
  }
  void close(std::size_t at) {
    reinterpret_cast<rtattr*>(bytes_.data() + at)->rta_len = static_cast<std::uint16_t>(header()->nlmsg_len - at);
  }

  nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(bytes_.data()); }

 private:
  void append(const void* data, std::size_t size) {
    const std::size_t at = header()->nlmsg_len;
    ATHANOR_ASSERT(at + NLMSG_ALIGN(size) <= bytes_.size());
    if (size > 0) std::memcpy(bytes_.data() + at, data, size);
    header()->nlmsg_len = static_cast<std::uint32_t>(at + NLMSG_ALIGN(size));
  }

  alignas(nlmsghdr) std::array<char, 1024> bytes_{};
};

Netlink::Netlink() : socket_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)) {
  if (!socket_) throw system_error(errno, "talking to the kernel about networks");
}

void Netlink::run(Request& request, std::string_view doing) {
  nlmsghdr* message = request.header();
  message->nlmsg_seq = ++sequence_;
  if (::send(socket_.get(), message, message->nlmsg_len, 0) < 0) throw system_error(errno, std::string(doing));
  alignas(nlmsghdr) std::array<char, 4096> reply;
  const ssize_t got = ::recv(socket_.get(), reply.data(), reply.size(), 0);
  if (got < 0) throw system_error(errno, std::string(doing));
  const auto* head = reinterpret_cast<const nlmsghdr*>(reply.data());
  if (static_cast<std::size_t>(got) < NLMSG_LENGTH(sizeof(nlmsgerr)) || head->nlmsg_type != NLMSG_ERROR) {
    throw Error(ErrorKind::kInternal, "{}: the kernel's answer makes no sense", std::string(doing));
  }
  const int failure = reinterpret_cast<const nlmsgerr*>(NLMSG_DATA(head))->error;
  if (failure != 0) throw system_error(-failure, std::string(doing));
}

void Netlink::make_bridge(const std::string& name, int index) {
  Request request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  request.put(ifinfomsg{.ifi_family = AF_UNSPEC, .ifi_index = index});
  request.attribute(IFLA_IFNAME, name);
  const auto info = request.open(IFLA_LINKINFO);
  request.attribute(IFLA_INFO_KIND, std::string("bridge"));
  request.close(info);
  run(request, "making the job's bridge");
}

void Netlink::make_pair(const std::string& name, int index, const std::string& peer_name, int peer_index,
                        int peer_namespace) {
  Request request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  request.put(ifinfomsg{.ifi_family = AF_UNSPEC, .ifi_index = index});
  request.attribute(IFLA_IFNAME, name);
  const auto info = request.open(IFLA_LINKINFO);
  request.attribute(IFLA_INFO_KIND, std::string("veth"));
  const auto data = request.open(IFLA_INFO_DATA);
  const auto peer = request.open(VETH_INFO_PEER);
  request.put(ifinfomsg{.ifi_family = AF_UNSPEC, .ifi_index = peer_index});
  request.attribute(IFLA_IFNAME, peer_name);
  request.attribute(IFLA_NET_NS_FD, static_cast<std::uint32_t>(peer_namespace));
  request.close(peer);
  request.close(data);
  request.close(info);
  run(request, "making the instance's network interface " + name);
}

void Netlink::add_address(int index, std::uint32_t address, int prefix_length) {
  Request request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  ifaddrmsg fixed{};
  fixed.ifa_family = AF_INET;
  fixed.ifa_prefixlen = static_cast<std::uint8_t>(prefix_length);
  fixed.ifa_index = static_cast<std::uint32_t>(index);
  request.put(fixed);
  const std::uint32_t wire_order = htonl(address);
  request.attribute(IFA_LOCAL, wire_order);
  request.attribute(IFA_ADDRESS, wire_order);
  run(request, "giving the instance its address");
}

void Netlink::set_up(int index, int master) {
  Request request(RTM_NEWLINK, 0);
  request.put(ifinfomsg{.ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP});
  if (master > 0) request.attribute(IFLA_MASTER, static_cast<std::uint32_t>(master));
  run(request, "switching a network interface on");
}

}  // namespace athanor::node
