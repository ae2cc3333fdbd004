#include "common/descriptor_passing.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "common/error.h"

namespace athanor {

SocketPair make_socket_pair(int type) {
  int ends[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) throw system_error(errno, "making a pair of sockets");
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

bool send_with_descriptors(int socket, std::string_view bytes, std::span<const int> descriptors) {
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsPerMessageMax * sizeof(int))] = {};
  iovec data{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    ATHANOR_ASSERT(descriptors.size() <= kDescriptorsPerMessageMax);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  for (;;) {
    const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    message.msg_control = nullptr;
    message.msg_controllen = 0;
    data.iov_base = static_cast<char*>(data.iov_base) + sent;
    data.iov_len -= static_cast<std::size_t>(sent);
    if (data.iov_len == 0) return true;
  }
}

Received receive_with_descriptors(int socket, std::size_t bytes_max, std::int64_t timeout_ms) {
  pollfd ready{socket, POLLIN, 0};
  for (;;) {
    const int count = ::poll(&ready, 1, static_cast<int>(timeout_ms));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw system_error(errno, "waiting for a process of ours");
    if (count == 0) throw Error(ErrorKind::kUnavailable, "a process of ours did not answer within {} ms", timeout_ms);
    break;
  }
  Received received;
  received.bytes.resize(bytes_max);
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsPerMessageMax * sizeof(int))];
  iovec data{received.bytes.data(), received.bytes.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = -1;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno != ECONNRESET) throw system_error(errno, "hearing from a process of ours");
  received.bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(header) + i * sizeof(int), sizeof number);
      received.descriptors.emplace_back(number);
    }
  }
  return received;
}

}  // namespace athanor
