#include "engine/cli/model_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "common/temporary_folder.h"

namespace athanor::llm {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kRoom = 1 << 20;

struct Member {
  std::string name;
  std::string content;
  unsigned type = AE_IFREG;
  std::string link = {};  // what a link leads to
};

// An archive of these in model.tar.gz.
std::string archive_of(const TemporaryFolder& folder, const std::vector<Member>& members) {
  const std::string path = folder / "model.tar.gz";
  archive* writer = archive_write_new();
  archive_write_set_format_pax_restricted(writer);
  archive_write_add_filter_gzip(writer);
  EXPECT_EQ(archive_write_open_filename(writer, path.c_str()), ARCHIVE_OK);
  for (const Member& member : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, member.name.c_str());
    archive_entry_set_filetype(entry, member.type);
    archive_entry_set_perm(entry, 0600);
    archive_entry_set_size(entry, static_cast<la_int64_t>(member.content.size()));
    if (member.type == AE_IFLNK) archive_entry_set_symlink(entry, member.link.c_str());
    if (member.type == AE_IFREG && !member.link.empty()) archive_entry_set_hardlink(entry, member.link.c_str());
    EXPECT_GE(archive_write_header(writer, entry), ARCHIVE_WARN) << archive_error_string(writer);
    const auto size = static_cast<la_ssize_t>(member.content.size());
    if (size > 0) {
      EXPECT_EQ(archive_write_data(writer, member.content.data(), member.content.size()), size);
    }
    archive_entry_free(entry);
  }
  EXPECT_EQ(archive_write_close(writer), ARCHIVE_OK);
  archive_write_free(writer);
  return path;
}

std::string unpacked_into(const TemporaryFolder& folder) {
  std::filesystem::create_directories(folder / "into");
  return folder / "into";
}

// What it throws, which must be of this kind.
std::string refusal(const std::string& archive, const std::string& into, ErrorKind kind, std::uint64_t room = kRoom) {
  SystemFiles files;
  try {
    unpack_model(files, archive, into, room);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(archive));
    return error.what();
  }
  ADD_FAILURE() << archive << " was unpacked";
  return "";
}

TEST(ModelArchive, IsKnownByItsName) {
  for (const char* name : {"/a/model.tar.gz", "model.tgz", "model.tar"}) EXPECT_TRUE(is_model_archive(name)) << name;
  for (const char* name : {"/a.tar.gz/model.gguf", "model.gz", "tar"}) EXPECT_FALSE(is_model_archive(name)) << name;
}

TEST(ModelArchive, GivesItsFilesBack) {
  const TemporaryFolder folder;
  SystemFiles files;
  std::string large(300'000, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 2654435761U >> 13);
  const std::string archive = archive_of(folder, {{"./", "", AE_IFDIR},
                                                  {"./config.json", "{}"},
                                                  {"model.safetensors", large},
                                                  {"checkpoints/", "", AE_IFDIR},
                                                  {"a/b/c", ""},
                                                  {"émigré", "x"}});
  const std::string into = unpacked_into(folder);
  unpack_model(files, archive, into, kRoom);
  EXPECT_EQ(files.read_all(into + "/config.json"), "{}");
  EXPECT_EQ(files.read_all(into + "/model.safetensors"), large);
  EXPECT_EQ(files.read_all(into + "/a/b/c"), "");
  EXPECT_EQ(files.read_all(into + "/émigré"), "x");
  EXPECT_EQ(files.list(into).size(), 4U);
}

TEST(ModelArchive, StaysInItsFolderAndTakesOnlyRegularFiles) {
  for (const auto& [members, why] : std::vector<std::pair<std::vector<Member>, const char*>>{
           {{{"../outside", "x"}}, "\"../outside\" leads out"},
           {{{"a/../../outside", "x"}}, "leads out"},
           {{{"/outside", "x"}}, "\"/outside\" leads out"},
           {{{"../outside", "", AE_IFDIR}}, "leads out"},
           {{{"link", "", AE_IFLNK, ".."}, {"link/outside", "x"}}, "\"link\" is no regular file"},
           {{{"a", "x"}, {"b", "", AE_IFREG, "a"}}, "\"b\" is no regular file"},
           {{{"pipe", "", AE_IFIFO}}, "\"pipe\" is no regular file"},
           {{{"a", "x"}, {"./a", "y"}}, "\"a\" is in it twice"},
           {{{"./", "", AE_IFDIR}}, "holds no files"}}) {
    const TemporaryFolder folder;
    EXPECT_THAT(refusal(archive_of(folder, members), unpacked_into(folder), ErrorKind::kInvalid), HasSubstr(why));
    EXPECT_FALSE(SystemFiles().stat(folder / "outside"));
  }
}

TEST(ModelArchive, IsNoLargerThanTheRoomThatThereIs) {
  const TemporaryFolder folder;
  SystemFiles files;
  const std::string archive =
      archive_of(folder, {{"first", std::string(60'000, 'a')}, {"second", std::string(40'001, 'b')}});
  ASSERT_LT(files.stat(archive)->size, 2000U) << "what counts is what it becomes";
  const std::string into = unpacked_into(folder);
  EXPECT_THAT(refusal(archive, into, ErrorKind::kExhausted, 100'000),
              HasSubstr("its files have 100001 bytes, and there is room for 100000"));
  EXPECT_FALSE(files.stat(into + "/second"));
  files.remove_all(into);
  unpack_model(files, archive, unpacked_into(folder), 100'001);
  EXPECT_GT(room_in(folder.path()), 0U);
  EXPECT_THROW(room_in(folder / "none"), Error);
}

TEST(ModelArchive, ThatIsDamagedOrNoneIsRefused) {
  const TemporaryFolder folder;
  SystemFiles files;
  const std::string into = unpacked_into(folder);
  std::string noise(50'000, '\0');
  for (std::size_t i = 0; i < noise.size(); ++i) noise[i] = static_cast<char>(i * i * 2654435761U >> 11);
  const std::string whole = files.read_all(archive_of(folder, {{"model.safetensors", noise}}));
  refusal(folder.put("model.tar.gz", whole.substr(0, whole.size() / 2)), into, ErrorKind::kCorrupt);
  files.remove_all(into);
  unpacked_into(folder);
  EXPECT_THAT(refusal(folder.put("model.tar.gz", "PK\x03\x04 is another format"), into, ErrorKind::kCorrupt),
              HasSubstr("a whole tar archive"));
  refusal(folder / "none.tar.gz", into, ErrorKind::kNotFound);
}

}  // namespace
}  // namespace athanor::llm
