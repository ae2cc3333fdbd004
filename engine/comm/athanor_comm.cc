#include "engine/comm/athanor_comm.h"

#include <exception>
#include <memory>
#include <string>

#include "common/error.h"
#include "engine/comm/communicator.h"

struct athanor_comm {
  std::unique_ptr<athanor::comm::Communicator> communicator;
  std::string error;
};

namespace {

using athanor::Error;
using athanor::ErrorKind;

thread_local std::string open_error;

athanor_comm_status status_of(const Error& error) {
  switch (error.kind()) {
    case ErrorKind::kInvalid:
    case ErrorKind::kNotFound: return ATHANOR_COMM_INVALID;
    case ErrorKind::kConflict:
    case ErrorKind::kDenied:
    case ErrorKind::kUnavailable: return ATHANOR_COMM_UNAVAILABLE;
    case ErrorKind::kCorrupt: return ATHANOR_COMM_CORRUPT;
    case ErrorKind::kExhausted:
    case ErrorKind::kInternal: break;
  }
  return ATHANOR_COMM_INTERNAL;
}

// Exceptions stop here: a C caller cannot take them.
template <typename Operation>
athanor_comm_status guarded(std::string& error, Operation operation) {
  try {
    operation();
    error.clear();
    return ATHANOR_COMM_OK;
  } catch (const Error& failure) {
    error = failure.what();
    return status_of(failure);
  } catch (const std::exception& failure) {
    error = failure.what();
    return ATHANOR_COMM_INTERNAL;
  }
}

void require_cpu(athanor_comm_device device, const void* stream) {
  if (device.kind != ATHANOR_COMM_CPU) {
    throw Error(ErrorKind::kInvalid, "the TCP transport takes buffers of the CPU, not of device kind {}",
                static_cast<int>(device.kind));
  }
  if (stream != nullptr) throw Error(ErrorKind::kInvalid, "the CPU has no streams: pass NULL");
}

void require(bool condition, const char* text) {
  if (!condition) throw Error(ErrorKind::kInvalid, "{}", text);
}

}  // namespace

athanor_comm_status athanor_comm_open(const athanor_comm_options* options, athanor_comm** out) {
  if (out == nullptr) return ATHANOR_COMM_INVALID;
  *out = nullptr;
  return guarded(open_error, [&] {
    require(options != nullptr, "athanor_comm_open needs options");
    require(options->struct_size == sizeof(athanor_comm_options),
            "athanor_comm_options.struct_size must be sizeof(athanor_comm_options) of the library's header");
    athanor::comm::CommOptions chosen;
    chosen.rank = options->rank;
    chosen.world_size = options->world_size;
    chosen.rendezvous = options->rendezvous == nullptr ? "" : options->rendezvous;
    chosen.generation = options->generation;
    chosen.connect_timeout_ms = options->connect_timeout_ms;
    chosen.timeout_ms = options->timeout_ms;
    auto comm = std::make_unique<athanor_comm>();
    comm->communicator = std::make_unique<athanor::comm::Communicator>(chosen);
    *out = comm.release();
  });
}

void athanor_comm_close(athanor_comm* comm) { delete comm; }

int32_t athanor_comm_rank(const athanor_comm* comm) { return comm->communicator->rank(); }
int32_t athanor_comm_world_size(const athanor_comm* comm) { return comm->communicator->world_size(); }

const char* athanor_comm_error(const athanor_comm* comm) {
  return comm == nullptr ? open_error.c_str() : comm->error.c_str();
}

athanor_comm_status athanor_comm_all_reduce(athanor_comm* comm, void* buffer, size_t count, athanor_comm_type type,
                                            athanor_comm_operation operation, athanor_comm_device device,
                                            void* stream) {
  if (comm == nullptr) return ATHANOR_COMM_INVALID;
  return guarded(comm->error, [&] {
    require_cpu(device, stream);
    require(type == ATHANOR_COMM_FLOAT32, "an all-reduce takes float32");
    require(operation == ATHANOR_COMM_SUM, "an all-reduce takes the sum");
    require(buffer != nullptr || count == 0, "an all-reduce needs a buffer");
    comm->communicator->all_reduce_sum({static_cast<float*>(buffer), count});
  });
}

athanor_comm_status athanor_comm_broadcast(athanor_comm* comm, void* buffer, size_t bytes, int32_t root,
                                           athanor_comm_device device, void* stream) {
  if (comm == nullptr) return ATHANOR_COMM_INVALID;
  return guarded(comm->error, [&] {
    require_cpu(device, stream);
    require(buffer != nullptr || bytes == 0, "a broadcast needs a buffer");
    comm->communicator->broadcast(buffer, bytes, root);
  });
}

athanor_comm_status athanor_comm_barrier(athanor_comm* comm, athanor_comm_device device, void* stream) {
  if (comm == nullptr) return ATHANOR_COMM_INVALID;
  return guarded(comm->error, [&] {
    require_cpu(device, stream);
    comm->communicator->barrier();
  });
}
