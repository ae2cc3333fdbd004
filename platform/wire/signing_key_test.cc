#include "platform/wire/signing_key.h"

#include <gtest/gtest.h>

#include "common/hash.h"

namespace athanor::wire {
namespace {

TEST(HmacKey, AgreesWithOpenSsl) {
  for (const std::size_t key_size : {0, 1, 32, 63, 64, 65, 200}) {
    for (const std::size_t size : {0, 1, 55, 56, 63, 64, 65, 1000}) {
      const std::string key(key_size, 'k'), message(size, 'm');
      EXPECT_EQ(HmacKey(key).sign(message), hmac_sha256(key, message)) << key_size << " " << size;
    }
  }
}

TEST(SigningKeys, FollowsAChangedSecretAndStaysBounded) {
  SigningKeys keys;
  const Scope scope{"20130524", "us-east-1", "s3"};
  const auto first = keys.get("AKID", "one", scope);
  EXPECT_EQ(keys.get("AKID", "one", scope), first);
  EXPECT_NE(keys.get("AKID", "two", scope)->sign("x"), first->sign("x"));
  for (int i = 0; i < 3000; ++i) keys.get("AKID" + std::to_string(i), "one", scope);
  EXPECT_EQ(keys.get("AKID", "one", scope)->sign("x"), first->sign("x"));
}

}  // namespace
}  // namespace athanor::wire
