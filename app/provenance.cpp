#include "app/provenance.h"

#include <fmt/core.h>
#include <sys/utsname.h>

#include <filesystem>
#include <thread>

#include "app/revision.h"
#include "subquad/base/digest.h"
#include "subquad/base/file.h"

namespace subquad::app {
namespace {

namespace fs = std::filesystem;

// The value of the first line of /proc/cpuinfo with this name; "" without one.
std::string cpu_info(const std::string& name) {
  if (!fs::exists("/proc/cpuinfo")) return "";
  const std::string info = read_file("/proc/cpuinfo");
  const auto at = info.find(name + "\t");
  if (at == std::string::npos) return "";
  const auto from = info.find(": ", at) + 2;
  return info.substr(from, info.find('\n', from) - from);
}

}  // namespace

std::string machine() {
  const std::string cpu = cpu_info("model name");
  struct utsname u {};
  uname(&u);
  return (cpu.empty() ? "unknown processor" : cpu) + ", " +
         std::to_string(std::thread::hardware_concurrency()) + " cores, " + u.sysname + " " +
         u.machine;
}

std::string build_digest() {
  const MappedFile program(fs::read_symlink("/proc/self/exe"));
  return sha256(program.bytes());
}

Json manifest() {
  Json m = Json::object();
  m["version"] = SUBQUAD_VERSION;
  m["revision"] = kRevision;
  m["program_sha256"] = build_digest();
  m["compiler"] = __VERSION__;
  m["libraries"] = "fmt " + std::to_string(FMT_VERSION);
  m["machine"] = machine();
  const std::string flags = " " + cpu_info("flags") + " ";
  std::string sets;
  for (const char* set :
       {"sse4_1", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16"}) {
    if (flags.find(" " + std::string(set) + " ") != std::string::npos)
      sets += (sets.empty() ? "" : " ") + std::string(set);
  }
  m["instructions"] = sets;
  m["threads"] = 1;
  return m;
}

}  // namespace subquad::app
