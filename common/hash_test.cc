#include "common/hash.h"

#include <gtest/gtest.h>

#include "common/error.h"

namespace athanor {
namespace {

// FIPS 180-4 and RFC 4231 examples.
TEST(Hash, KnownAnswers) {
  EXPECT_EQ(to_hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(hmac_sha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(Hash, Base64RoundTripsAndRefusesTheRest) {
  for (const std::string text : {"", "f", "fo", "foo", "foob", "fooba", "foobar"}) {
    EXPECT_EQ(from_base64(to_base64(text)), text);
  }
  EXPECT_EQ(to_base64("foob"), "Zm9vYg==");
  for (const char* bad : {"Zg", "Zg=", "Z===", "Zm9v!A==", "Zh=="}) EXPECT_THROW(from_base64(bad), Error) << bad;
}

}  // namespace
}  // namespace athanor
