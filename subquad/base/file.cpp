#include "subquad/base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "subquad/base/error.h"

namespace subquad {
namespace {

[[noreturn]] void fail_io(const std::string& doing, const std::string& path) {
  const int reason = errno;
  const bool full = reason == ENOSPC || reason == EDQUOT || reason == EFBIG;
  fail(full ? ErrorCode::out_of_space : ErrorCode::io, "cannot ", doing, " ", path, ": ",
       std::strerror(reason),
       full ? ". Nothing was lost: free some space and run the same command again" : "");
}

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags, const char* doing)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {
    if (fd_ < 0) fail_io(doing, path);
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

void write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_io("write", path);
    content.remove_prefix(static_cast<std::size_t>(n));
  }
}

// Up to the end, or just beyond `most_bytes`.
std::string read_all(int fd, const std::string& path,
                     std::size_t most_bytes = std::string::npos - 1) {
  std::string content;
  char buffer[1 << 16];
  while (content.size() <= most_bytes) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_io("read", path);
    if (n == 0) break;
    content.append(buffer, static_cast<std::size_t>(n));
  }
  return content;
}

std::size_t regular_size(int fd, const std::string& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) fail_io("inspect", path);
  require(S_ISREG(info.st_mode), ErrorCode::io, path, " is not a regular file");
  return static_cast<std::size_t>(info.st_size);
}

std::string folder_of(const std::string& path) {
  const auto slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

// A device or a pipe: renaming over it would put a file in its place.
bool is_special(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

// What a link leads to, if that is there: a link is written through, not replaced.
std::string target_of(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_symlink(path, error)) return path;
  const auto target = std::filesystem::canonical(path, error);
  return error ? path : target.string();
}

}  // namespace

std::string read_file(const std::string& path) {
  const Descriptor file(path, O_RDONLY, "read");
  return read_all(file.get(), path);
}

std::string read_regular_file(const std::string& path, std::size_t most_bytes) {
  const Descriptor file(path, O_RDONLY | O_NONBLOCK, "read");
  const std::size_t size = regular_size(file.get(), path);
  require(size <= most_bytes, ErrorCode::format, path, ": ", size, " bytes, wanted at most ",
          most_bytes);
  std::string content = read_all(file.get(), path, most_bytes);
  require(content.size() <= most_bytes, ErrorCode::format, path, ": grows while it is read");
  return content;
}

AtomicFile::AtomicFile(const std::string& path)
    : path_(target_of(path)),
      in_place_(is_special(path_)),
      temporary_(in_place_ ? path_ : path_ + ".tmp-" + std::to_string(::getpid())),
      fd_(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
  if (fd_ < 0) fail_io("write", temporary_);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (!in_place_) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::string_view content) { write_all(fd_, content, temporary_); }

void AtomicFile::overwrite(std::int64_t offset, std::string_view content) {
  if (::lseek(fd_, offset, SEEK_SET) < 0) fail_io("seek in", temporary_);
  write_all(fd_, content, temporary_);
  if (::lseek(fd_, 0, SEEK_END) < 0) fail_io("seek in", temporary_);
}

void AtomicFile::commit() {
  if (!in_place_) {
    if (::fsync(fd_) != 0) fail_io("sync", temporary_);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_io("rename to", path_);
  }
  ::close(fd_);
  fd_ = -1;
  if (!in_place_) sync_folder(folder_of(path_));
}

void write_file_atomically(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

namespace {

// Bytes up to and with the last line end: what follows was never acknowledged.
off_t whole_lines(int file, off_t size, const std::string& path) {
  char c = 0;
  for (; size > 0; --size) {
    if (::pread(file, &c, 1, size - 1) != 1) fail_io("read", path);
    if (c == '\n') break;
  }
  return size;
}

}  // namespace

void append_line(const std::string& path, std::string_view line) {
  const Descriptor file(path, O_RDWR | O_CREAT | O_APPEND, "append to");
  struct stat before {};
  if (::fstat(file.get(), &before) != 0) fail_io("inspect", path);
  const off_t whole = whole_lines(file.get(), before.st_size, path);
  if (whole < before.st_size && ::ftruncate(file.get(), whole) != 0) fail_io("shorten", path);
  before.st_size = whole;
  const std::string content = std::string(line).append("\n");
  try {
    write_all(file.get(), content, path);
    if (::fsync(file.get()) != 0) fail_io("sync", path);
  } catch (...) {  // never leave half a line behind
    if (::ftruncate(file.get(), before.st_size) != 0) errno = 0;
    throw;
  }
}

void sync_folder(const std::string& path) {
  const Descriptor folder(path, O_RDONLY | O_DIRECTORY, "open folder");
  if (::fsync(folder.get()) != 0 && errno != EINVAL) fail_io("sync folder", path);
}

MappedFile::MappedFile(const std::string& path) {
  const Descriptor file(path, O_RDONLY | O_NONBLOCK, "read");  // a pipe is refused, not waited for
  size_ = regular_size(file.get(), path);
  if (size_ == 0) return;
  void* p = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (p == MAP_FAILED) fail_io("map", path);
  data_ = static_cast<const std::byte*>(p);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

FileLock::FileLock(const std::string& path, const std::string& busy_message) {
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) fail_io("lock", path);
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd_);
    fd_ = -1;
    fail(ErrorCode::io, busy_message);
  }
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace subquad
