#include "platform/storage/s3_uri.h"

#include <gtest/gtest.h>

#include "common/error.h"

namespace athanor::storage {
namespace {

TEST(S3Uri, IsTakenApartAndPutTogether) {
  struct Case {
    const char *text, *bucket, *key;
  };
  for (const Case& one :
       {Case{"s3://b", "b", ""}, Case{"s3://b/", "b", ""}, Case{"s3://b/k", "b", "k"}, Case{"s3://b/a/b/", "b", "a/b/"},
        Case{"s3://b//k", "b", "/k"}, Case{"s3://b/a b?#%", "b", "a b?#%"}}) {
    const S3Uri uri = S3Uri::parse(one.text);
    EXPECT_EQ(uri.bucket, one.bucket) << one.text;
    EXPECT_EQ(uri.key, one.key) << one.text;
    EXPECT_EQ(S3Uri::parse(uri.text()).key, one.key);
  }
  for (const char* text : {"", "b/k", "s3:/b/k", "https://b/k", "S3://b/k", "s3://", "s3:///k"}) {
    EXPECT_THROW(S3Uri::parse(text), Error) << text;
  }
}

TEST(S3Uri, JoinsNamesAsBelowAFolder) {
  EXPECT_EQ(S3Uri::parse("s3://b").below("x").text(), "s3://b/x");
  EXPECT_EQ(S3Uri::parse("s3://b/p").below("x/y").text(), "s3://b/p/x/y");
  EXPECT_EQ(S3Uri::parse("s3://b/p/").below("x").text(), "s3://b/p/x");
}

}  // namespace
}  // namespace athanor::storage
