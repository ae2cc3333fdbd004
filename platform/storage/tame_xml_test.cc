#include "platform/storage/tame_xml.h"

#include <gtest/gtest.h>

#include <string>

namespace athanor::storage {
namespace {

std::string times(int count, const std::string& text) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

TEST(TameXml, BoundsTheDepthWhateverHidesIt) {
  struct Case {
    const char* what;
    std::string xml;
    bool tame;
  };
  const Case kCases[] = {
      {"nothing", "", true},
      {"a document", "<?xml version=\"1.0\"?><A><B>x</B><B/><C a=\"1\"/></A>", true},
      {"as deep as may be", times(16, "<a>") + times(16, "</a>"), true},
      {"deeper", times(17, "<a>") + times(17, "</a>"), false},
      {"deep and not closed", times(1'000'000, "<a>"), false},
      {"wide", "<A>" + times(100'000, "<b/><c>x</c>") + "</A>", true},
      {"a DTD", "<!DOCTYPE a [<!ENTITY b \"c\">]><a/>", false},
      {"a comment with tags", "<A><!-- <b><b></A> --></A>", true},
      {"ends in comments do not count", times(17, "<a><!--</a>-->"), false},
      {"ends in CDATA do not count", times(17, "<a><![CDATA[</a>]]>"), false},
      {"ends in instructions do not count", times(17, "<a><?b </a>?>"), false},
      {"ends in attributes do not count", times(17, "<a b=\"</a>\">"), false},
      {"nor between the other quotes", times(17, "<a b='</a>'>"), false},
      {"a slash at the end of an attribute closes nothing", times(17, "<a b=\"/\">"), false},
      {"a bracket in an attribute", times(100, "<a b=\">\"/>"), true},
      {"more ends than beginnings", "</a>" + times(17, "<a>"), false},
      {"cut off in a tag", "<a", false},
      {"cut off in a comment", "<!-- ", false},
  };
  for (const Case& test : kCases) EXPECT_EQ(is_tame_xml(test.xml), test.tame) << test.what;
}

}  // namespace
}  // namespace athanor::storage
