#include <cstdio>
#include <cstdlib>
#include <cstring>
#include "platform/node/network.h"
int main(int, char** v) {
  athanor::node::NetworkHolderOptions o{v[2], std::atoi(v[3]), "127.0.0.1", 9100};
  try { athanor::node::run_network_holder(o); } catch (const std::exception& e) { std::fprintf(stderr, "%s\n", e.what()); return 1; }
}
