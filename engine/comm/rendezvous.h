// How the ranks of one job find each other and close the ring.
//
//   rank r > 0                                rank 0
//   listens at a port of its own              listens at the rendezvous port
//   connects to the rendezvous     hello →    checks generation, world size and rank
//   again when the connection is lost         waits for all
//                                ← table      addresses and ports of all ranks
//   connects to rank r+1            link →    (rank N-1 connects to rank 0's rendezvous port)
//   accepts rank r-1               ← link
//
// A hello that does not fit is answered with the reason, so that the refused side can say it too; one that will not mend
// itself ends the meeting, and all who have come are told why. Only a rank of an earlier generation is sent away while
// rank 0 goes on waiting, and says so if it waits in vain. Two living processes of one rank do not fit; a rank may come
// again when it lost its connection, or was started anew. Connections that do not speak the protocol are dropped.
// Everything is bounded by one deadline.
#pragma once

#include "engine/comm/communicator.h"
#include "engine/comm/socket.h"

namespace athanor::comm {

struct Ring {
  Peer next;
  Peer previous;
};

// Returns with both links established. Needs world_size > 1 and valid options.
Ring meet(const CommOptions& options);

}  // namespace athanor::comm
