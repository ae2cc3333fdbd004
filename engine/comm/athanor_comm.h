/* Collectives between the ranks of one job: the C API of engine/comm.
 *
 * A communicator connects `world_size` processes (ranks 0 … world_size-1) that all open it with the same rendezvous
 * address, world size and generation. Rank 0 listens at the address; the others retry until it answers or
 * `connect_timeout_ms` is over. Ranks that differ in world size or generation, and two living processes that say that
 * they are one rank, are an error on both sides that says why; but rank 0 only sends away the ranks of an earlier
 * generation (theirs is the error) and goes on waiting for those of its own.
 *
 * Every rank must call the same collectives in the same order with the same sizes; a mismatch is an error on at least
 * one rank, never silent. A collective returns when its result is in `buffer`. The result of an all-reduce is bitwise
 * the same on all ranks and from run to run: element i is summed in an order fixed by (i, count, world_size).
 *
 * Errors: a call returns ATHANOR_COMM_OK or another status, and athanor_comm_error() the reason as a sentence that
 * names the peer. After an error the communicator is spent: every later call fails at once, and the peers are told by
 * their closed connections, so that none of them hangs.
 *
 * Threads: one call at a time per communicator.
 *
 * Devices: `device` says where `buffer` lives, and `stream` is that device's stream in whose order the operation runs.
 * The TCP transport takes ATHANOR_COMM_CPU with stream NULL, and refuses anything else by name.
 */
#ifndef ATHANOR_COMM_H
#define ATHANOR_COMM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct athanor_comm athanor_comm;

typedef enum {
  ATHANOR_COMM_OK = 0,
  ATHANOR_COMM_INVALID = 1,     /* the call is wrong: repeating it will not help */
  ATHANOR_COMM_UNAVAILABLE = 2, /* a peer died, did not answer in time, or refused us */
  ATHANOR_COMM_CORRUPT = 3, /* a peer sent what the protocol does not allow, or ranks called different collectives */
  ATHANOR_COMM_INTERNAL = 4
} athanor_comm_status;

typedef enum { ATHANOR_COMM_CPU = 0, ATHANOR_COMM_CUDA = 1 } athanor_comm_device_kind;

typedef struct {
  athanor_comm_device_kind kind;
  int32_t index; /* which one of its kind; 0 for the CPU */
} athanor_comm_device;

typedef enum { ATHANOR_COMM_FLOAT32 = 0 } athanor_comm_type;
typedef enum { ATHANOR_COMM_SUM = 0 } athanor_comm_operation;

typedef struct {
  size_t struct_size; /* sizeof(athanor_comm_options): lets the struct grow */
  int32_t rank;
  int32_t world_size;         /* 1 … 4096 */
  const char* rendezvous;     /* "HOST:PORT" or "[IPV6]:PORT"; may be NULL when world_size is 1 */
  uint64_t generation;        /* the job's restart count */
  int64_t connect_timeout_ms; /* bound of athanor_comm_open; 0 means 120,000 */
  int64_t timeout_ms;         /* longest wait in a collective without a byte moving; 0 means 600,000 */
} athanor_comm_options;

/* On failure *out is NULL and athanor_comm_error(NULL) tells this thread why. */
athanor_comm_status athanor_comm_open(const athanor_comm_options* options, athanor_comm** out);
void athanor_comm_close(athanor_comm* comm); /* NULL is allowed */

int32_t athanor_comm_rank(const athanor_comm* comm);
int32_t athanor_comm_world_size(const athanor_comm* comm);

/* Why the last call failed; of the last failed open of this thread when `comm` is NULL. Valid until the next call. */
const char* athanor_comm_error(const athanor_comm* comm);

/* buffer[i] becomes the sum of buffer[i] over all ranks, i in [0, count). */
athanor_comm_status athanor_comm_all_reduce(athanor_comm* comm, void* buffer, size_t count, athanor_comm_type type,
                                            athanor_comm_operation operation, athanor_comm_device device, void* stream);
/* `bytes` bytes of rank `root`'s buffer to everybody's. */
athanor_comm_status athanor_comm_broadcast(athanor_comm* comm, void* buffer, size_t bytes, int32_t root,
                                           athanor_comm_device device, void* stream);
/* Returns on no rank before every rank has called it. */
athanor_comm_status athanor_comm_barrier(athanor_comm* comm, athanor_comm_device device, void* stream);

#ifdef __cplusplus
}
#endif

#endif
