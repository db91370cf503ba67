// Files: reading, memory mapping, and writing so that a crash leaves the old content or the new
// one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace subquad {

// Whole content. Errors name the path and the system's reason.
std::string read_file(const std::string& path);

// The same of a regular file of at most `most_bytes`: whoever wrote it decides neither how much memory
// is taken (a device, a sparse file) nor how long we wait (a pipe). Errors: format if it is larger.
std::string read_regular_file(const std::string& path, std::size_t most_bytes);

// Writes to a temporary file beside `path`, syncs it, renames it over `path`, syncs the folder. Into
// a device or a pipe (/dev/null) it writes directly, and through a link to what it leads to.
// A full disk throws Error(out_of_space) and leaves the old file as it was.
void write_file_atomically(const std::string& path, std::string_view content);

// The same for content that comes in parts: what is not committed leaves nothing behind.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::string_view content);
  void overwrite(std::int64_t offset, std::string_view content);  // of what is written
  void commit();                                                  // once

 private:
  std::string path_;
  bool in_place_;
  std::string temporary_;
  int fd_;
};

// Appends a line and syncs. Half a line that a killed process left at the end goes first: it was
// never acknowledged.
void append_line(const std::string& path, std::string_view line);

// Syncs a folder, so that renames inside it are durable.
void sync_folder(const std::string& path);

// Read-only mapping of a file; empty files give an empty span.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Exclusive advisory lock on a file (created if missing); held until destruction, also released
// when the process dies.
class FileLock {
 public:
  // Throws Error(io) with `busy_message` if another process holds it.
  FileLock(const std::string& path, const std::string& busy_message);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace subquad
