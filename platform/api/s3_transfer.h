// Bodies between connections and disks: coroutines on I/O threads, hashing and writing on workers.
#pragma once

#include <memory>

#include "platform/api/on_worker.h"
#include "platform/storage/object_store.h"
#include "platform/wire/http.h"
#include "platform/wire/verified_body.h"

namespace athanor::api {

// Pulls all of `from` into `into`. Small bodies are hashed where they are read; of large ones each piece is hashed and
// stored by two workers while the next is read. Throws S3Error IncompleteBody when the client broke off, EntityTooLarge
// beyond `bytes_max`.
wire::Awaitable<void> receive(wire::VerifiedBody& from, std::shared_ptr<storage::IncomingBody> into,
                              boost::asio::thread_pool& workers, std::uint64_t bytes_max);

}  // namespace athanor::api
