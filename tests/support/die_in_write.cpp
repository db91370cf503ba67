// Preloaded into a process, kills it in the middle of a write: the N-th write to a regular file
// (environment SUBQUAD_DIE_AT_WRITE) puts down half of its bytes, then nothing more happens. A
// worker takes the study that started it along, as a power cut would.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string_view>

namespace {

bool is_worker() {
  const int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
  char text[4096];
  const ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
  if (fd >= 0) close(fd);
  return n > 0 && std::string_view(text, static_cast<std::size_t>(n)).find("--run") !=
                      std::string_view::npos;
}

}  // namespace

extern "C" ssize_t write(int fd, const void* data, size_t count) {
  using Write = ssize_t (*)(int, const void*, size_t);
  static const auto real = reinterpret_cast<Write>(dlsym(RTLD_NEXT, "write"));
  static const char* const at = std::getenv("SUBQUAD_DIE_AT_WRITE");
  static std::atomic<long> writes{0};
  struct stat info {};
  if (!at || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) return real(fd, data, count);
  if (++writes < std::atol(at)) return real(fd, data, count);
  if (real(fd, data, count / 2) < 0) _exit(1);
  if (is_worker()) kill(getppid(), SIGKILL);
  kill(getpid(), SIGKILL);
  for (;;) pause();
}
