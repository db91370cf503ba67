#include "subquad/data/corpus.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <vector>

#include "subquad/base/digest.h"
#include "subquad/base/rng.h"
#include "subquad/base/text.h"
#include "subquad/data/split.h"

namespace subquad {
namespace {

namespace fs = std::filesystem;
constexpr const char* kSplits[] = {"train", "validation", "test"};

bool is_utf8(const std::string& s) {
  for (std::size_t i = 0; i < s.size();) {
    const auto c = static_cast<unsigned char>(s[i]);
    if (c == 0) return false;  // binary, and our separator
    const std::size_t n = c < 0x80                ? 1
                          : c >= 0xC2 && c < 0xE0 ? 2
                          : c >= 0xE0 && c < 0xF0 ? 3
                          : c >= 0xF0 && c < 0xF5 ? 4
                                                  : 0;
    if (n == 0 || i + n > s.size()) return false;
    for (std::size_t k = 1; k < n; ++k) {
      if ((static_cast<unsigned char>(s[i + k]) & 0xC0) != 0x80) return false;
    }
    i += n;
  }
  return true;
}

bool skipped_component(const std::string& name) {
  static const std::set<std::string> names = {
      "vendor", "_vendor",  "third_party", "3rdparty",     "thirdparty", "deps",
      "extern", "external", "bundled",     "node_modules", "dist",       "build",
      "min",    "testdata", "fixtures",    "typeshed",     "__pycache__"};
  return names.contains(name) || (name.size() > 1 && name[0] == '.');
}

bool source_extension(const fs::path& p) {
  static const std::set<std::string> known = {
      ".py", ".c",   ".h",  ".cc",    ".cpp", ".hpp",   ".hh",  ".cxx", ".hxx", ".ipp",
      ".go", ".rs",  ".js", ".mjs",   ".ts",  ".java",  ".rb",  ".pl",  ".pm",  ".lua",
      ".sh", ".hs",  ".ml", ".scala", ".kt",  ".swift", ".cs",  ".php", ".r",   ".R",
      ".jl", ".sql", ".el", ".lisp",  ".scm", ".tcl",   ".f90", ".adb", ".ads", ".cmake"};
  return known.contains(p.extension().string()) &&
         p.filename().string().find(".min.") == std::string::npos;
}

struct File {
  std::string path, project;  // path relative to the source
};

std::vector<File> list_files(const CorpusOptions& o) {
  std::vector<File> files;
  require(fs::exists(o.source), ErrorCode::io, "no folder or file ", o.source,
          "; give --data DIR, or run ./setup compare once, which builds the default corpus");
  if (fs::is_regular_file(o.source)) return {{"", fs::path(o.source).filename()}};
  for (auto it = fs::recursive_directory_iterator(o.source,
                                                  fs::directory_options::skip_permission_denied);
       it != fs::recursive_directory_iterator(); ++it) {
    const fs::path relative = fs::relative(it->path(), o.source);
    if (it->is_directory() && !it->is_symlink() && skipped_component(it->path().filename())) {
      it.disable_recursion_pending();
      continue;
    }
    if (!it->is_regular_file() || it->is_symlink()) continue;
    if (o.code && !source_extension(it->path())) continue;
    const auto first = relative.begin();
    files.push_back({relative, std::next(first) == relative.end() ? "." : first->string()});
  }
  std::sort(files.begin(), files.end(),
            [](const File& a, const File& b) { return a.path < b.path; });
  return files;
}

// Which files they are, without reading them: the resolved path of the source, and of every file
// its path below it, size, modification time, device, inode and change time. Size and modification
// time alone do not tell files apart: copies keep them, and unpacked packages share one time. The
// change time is the kernel's and cannot be put back, so a rewritten file is noticed too (unless
// within one step of that clock, some milliseconds).
std::string fingerprint(const CorpusOptions& o, const std::vector<File>& files) {
  const auto nanoseconds = [](const timespec& t) {
    return std::to_string(t.tv_sec) + "." + std::to_string(t.tv_nsec);
  };
  const std::string source = fs::canonical(o.source).string();
  Sha256 hash;
  hash.update(std::string("corpus 3 ") + (o.code ? "code " : "text ") +
              std::to_string(o.most_bytes) + " " + std::to_string(source.size()) + " " + source +
              "\n");
  for (const File& f : files) {
    const fs::path p = f.path.empty() ? fs::path(o.source) : fs::path(o.source) / f.path;
    struct ::stat s {};
    require(::stat(p.c_str(), &s) == 0, ErrorCode::io, "cannot read the size and times of ",
            p.string(), ": ", std::generic_category().message(errno),
            "; it may have been removed while the corpus was listed");
    // Lengths before names: no name can pass for the fields behind it.
    hash.update(std::to_string(f.path.size()) + " " + f.path + " " + std::to_string(s.st_size) +
                " " + nanoseconds(s.st_mtim) + " " + nanoseconds(s.st_ctim) + " " +
                std::to_string(s.st_dev) + " " + std::to_string(s.st_ino) + "\n");
  }
  return hash.finish();
}

std::string without_whitespace(const std::string& s) {
  std::string out;
  out.reserve(s.size());
  for (char c : s) {
    if (!std::isspace(static_cast<unsigned char>(c))) out += c;
  }
  return out;
}

// Whether the first ten lines say that a program wrote this.
bool generated(const std::string& text) {
  std::size_t end = 0;
  for (int line = 0; line < 10 && end < text.size(); ++line) {
    end = std::min(text.find('\n', end), text.size() - 1) + 1;
  }
  std::string head = text.substr(0, end);
  std::transform(head.begin(), head.end(), head.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* mark : {"@generated", "do not edit", "autogenerated", "auto-generated",
                           "automatically generated", "generated by"}) {
    if (head.find(mark) != std::string::npos) return true;
  }
  return false;
}

// More than fits: documents in the order of their names' digests, which is a fair sample of all
// folders, the last one cut at a line.
void keep_within(std::vector<Document>& documents, std::int64_t most_bytes,
                 std::map<std::string, std::int64_t>& dropped) {
  std::int64_t total = 0;
  for (const Document& d : documents) total += static_cast<std::int64_t>(d.text.size()) + 1;
  if (total <= most_bytes) return;
  std::vector<Document*> order;
  for (Document& d : documents) order.push_back(&d);
  std::stable_sort(order.begin(), order.end(), [](const Document* a, const Document* b) {
    return stream_id("limit/" + a->name) < stream_id("limit/" + b->name);
  });
  std::int64_t room = most_bytes;
  for (Document* d : order) {
    const auto size = static_cast<std::int64_t>(d->text.size()) + 1;
    if (size > room && room > 1024) {
      d->text.resize(line_border(d->text, static_cast<std::size_t>(room) - 1024));
      ++dropped["the end, beyond the size limit"];
    } else if (size > room) {
      d->text.clear();
      ++dropped["beyond the size limit"];
      continue;
    }
    room -= static_cast<std::int64_t>(d->text.size()) + 1;
  }
  std::erase_if(documents, [](const Document& d) { return d.text.empty(); });
}

// Whether the cached shards are what their index says, to the last bit.
bool intact(const Json& index, const std::string& folder) {
  for (const char* split : kSplits) {
    const std::string path = folder + "/" + split + ".bin";
    if (!fs::exists(path)) return false;
    const MappedFile file(path);
    const auto bytes = file.bytes();
    const Json& want = index.at("splits").at(split);
    if (static_cast<std::int64_t>(bytes.size()) != want.at("bytes").as_int() ||
        sha256({reinterpret_cast<const char*>(bytes.data()), bytes.size()}) !=
            want.at("sha256").as_string()) {
      return false;
    }
  }
  return true;
}

Json build(const CorpusOptions& o, const std::vector<File>& files, const std::string& folder,
           const std::string& print) {
  std::map<std::string, std::int64_t> dropped;
  std::vector<Document> documents;
  std::set<std::string> seen;
  for (const File& f : files) {
    const std::string path = f.path.empty() ? o.source : (fs::path(o.source) / f.path).string();
    if (o.code && (fs::file_size(path) > 200000 || fs::file_size(path) < 200)) {
      ++dropped["size outside 200 B to 200 kB"];
      continue;
    }
    std::string text = read_file(path);
    if (!is_utf8(text)) {
      ++dropped["not UTF-8, or a zero byte"];
      continue;
    }
    if (o.code) {
      if (generated(text)) {  // the mark may stand in the comment that is stripped next
        ++dropped["generated"];
        continue;
      }
      text = strip_leading_comment(text);
      if (const std::string rule = broken_rule(text); !rule.empty()) {
        ++dropped[rule];
        continue;
      }
    }
    if (text.empty()) continue;
    // Of equal texts the first stays: none is in two splits.
    if (!seen.insert(sha256(without_whitespace(text))).second) {
      ++dropped["duplicate"];
      continue;
    }
    documents.push_back({f.path, std::move(text), f.project, 0});
  }
  keep_within(documents, o.most_bytes, dropped);
  std::set<std::string> projects;
  for (const Document& d : documents) projects.insert(d.project);
  const auto used = static_cast<std::int64_t>(documents.size());
  const std::string how = assign_splits(documents);
  std::string content[3];
  std::int64_t counts[3] = {0, 0, 0};
  for (const Document& d : documents) {
    content[d.split] += d.text;
    content[d.split] += '\0';
    ++counts[d.split];
  }
  Json index = Json::object();
  index["format"] = 1;
  index["fingerprint"] = print;
  index["split"] = how;
  index["projects"] = static_cast<std::int64_t>(projects.size());
  Json& rules = index["dropped"] = Json::object();
  std::string reasons;
  for (const auto& [rule, count] : dropped) {
    rules[rule] = count;
    reasons += "\n  " + count_of(count, "file") + ": " + rule;
  }
  for (int s = 0; s < 3; ++s) {
    require(content[s].size() > 1024, ErrorCode::invalid_argument, "the ", kSplits[s], " split of ",
            o.source, " has ", content[s].size(), " bytes, wanted at least 1 kB. Of ",
            count_of(static_cast<std::int64_t>(files.size()), "file"), " ", used,
            used == 1 ? " was used" : " were used", reasons.empty() ? "" : "; left out:", reasons,
            reasons.empty() ? ". " : "\n", "Give a folder with more text, 20 kB or more.");
    index["splits"][kSplits[s]]["documents"] = counts[s];
    index["splits"][kSplits[s]]["bytes"] = static_cast<std::int64_t>(content[s].size());
    index["splits"][kSplits[s]]["sha256"] = sha256(content[s]);
  }
  std::error_code error;
  fs::create_directories(folder, error);
  require(!error, ErrorCode::io, "cannot create the corpus cache ", folder, ": ", error.message());
  for (int s = 0; s < 3; ++s) write_file_atomically(folder + "/" + kSplits[s] + ".bin", content[s]);
  write_file_atomically(folder + "/index.json",
                        index.dump(1) + "\n");  // last: it makes the cache valid
  return index;
}

}  // namespace

std::string strip_leading_comment(const std::string& text) {
  std::size_t at = 0;
  if (text.starts_with("#!")) at = std::min(text.find('\n'), text.size() - 1) + 1;
  const std::size_t head = at;
  for (;;) {
    std::size_t line = at;
    while (line < text.size() &&
           (text[line] == ' ' || text[line] == '\t' || text[line] == '\n' || text[line] == '\r'))
      ++line;
    const std::string_view rest = std::string_view(text).substr(line);
    if (rest.starts_with("/*")) {
      const auto end = rest.find("*/");
      if (end == std::string_view::npos) break;
      at = line + end + 2;
    } else if (rest.starts_with("//") || rest.starts_with("--") || rest.starts_with(";") ||
               (rest.starts_with("#") && !rest.starts_with("#include") &&
                !rest.starts_with("#if") && !rest.starts_with("#define") &&
                !rest.starts_with("#pragma") && !rest.starts_with("#["))) {
      const auto end = rest.find('\n');
      at = end == std::string_view::npos ? text.size() : line + end + 1;
    } else {
      break;
    }
  }
  if (at == head) return text;
  // Only a licence or header goes; a comment without such words stays.
  std::string comment = text.substr(head, at - head);
  std::transform(comment.begin(), comment.end(), comment.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* word :
       {"licen", "copyright", "spdx", "warranty", "redistribut", "all rights reserved"}) {
    if (comment.find(word) == std::string::npos) continue;
    while (at < text.size() && (text[at] == '\n' || text[at] == '\r')) ++at;
    return text.substr(0, head) + text.substr(at);
  }
  return text;
}

std::string broken_rule(const std::string& text) {
  if (text.size() < 200) return "size outside 200 B to 200 kB";
  std::size_t lines = 1, longest = 0, current = 0;
  for (char c : text) {
    if (c == '\n') {
      ++lines;
      current = 0;
    } else {
      longest = std::max(longest, ++current);
    }
  }
  if (longest > 1000 || text.size() / lines > 120) return "over-long lines";
  std::size_t letters = 0, digits = 0;
  const std::size_t n = std::min<std::size_t>(text.size(), 20000);
  for (std::size_t i = 0; i < n; ++i) {
    letters += std::isalpha(static_cast<unsigned char>(text[i])) ? 1 : 0;
    digits += std::isdigit(static_cast<unsigned char>(text[i])) ? 1 : 0;
  }
  if (letters * 10 < n * 3) return "fewer than 30 % letters";
  if (digits * 10 > n * 4) return "mostly numbers";
  return generated(text) ? "generated" : "";
}

std::string default_corpus_cache() {
  const char* set = std::getenv("SUBQUAD_DATA");
  return set ? set : "data/cache";
}

ByteCorpus::ByteCorpus(const CorpusOptions& options) {
  const auto files = list_files(options);
  require(!files.empty(), ErrorCode::invalid_argument, options.source, " holds no ",
          options.code ? "source files" : "files", "; give a folder with some");
  const std::string print = fingerprint(options, files),
                    folder = options.cache + "/" + print.substr(0, 16);
  bool cached = false;
  if (fs::exists(folder + "/index.json")) {
    index_ = Json::read(folder + "/index.json");
    cached = index_.get("fingerprint", "") == print;
    if (cached && !intact(index_, folder)) {
      std::fprintf(stderr, "subquad: the cached corpus %s is damaged; it is built again\n",
                   folder.c_str());
      cached = false;
    }
  }
  if (!cached) index_ = build(options, files, folder, print);
  for (int s = 0; s < 3; ++s) {
    files_[static_cast<std::size_t>(s)] = MappedFile(folder + "/" + kSplits[s] + ".bin");
  }
}

std::span<const std::uint8_t> ByteCorpus::split(int which) const {
  const auto bytes = files_[static_cast<std::size_t>(which)].bytes();
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

}  // namespace subquad
