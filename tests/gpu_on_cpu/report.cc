// Findings and what they say: source lines, threads, and the reports of the sanitizers' runtimes.
#include <link.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <set>

#include "tests/gpu_on_cpu/internal.h"
#include "tests/gpu_on_cpu/sanitizers.h"

namespace unroll::gpu_on_cpu {
namespace {

constexpr size_t kMaxNotes = 20;

std::vector<Finding>& notes() {
  static auto* all = new std::vector<Finding>;
  return *all;
}

// Reports of AddressSanitizer, kept raw because its callback may not allocate.
char sanitizer_text[16384];
size_t sanitizer_length = 0;

void keep_sanitizer_report(const char* text) {
  if (!current) {
    std::fputs(text, stderr);
    _exit(99);
  }
  size_t n = std::strlen(text);
  if (sanitizer_length + n >= sizeof sanitizer_text) return;
  std::memcpy(sanitizer_text + sanitizer_length, text, n + 1);
  sanitizer_length += n;
}

// "asan: use-after-poison ...; kernel at file:line" from a full report.
void note_sanitizer_report() {
  if (!sanitizer_length) return;
  const std::string text(sanitizer_text, sanitizer_length);
  sanitizer_length = 0;
  size_t begin = text.find("AddressSanitizer: ");
  begin = begin == std::string::npos ? 0 : begin + 18;
  std::string summary = "asan: " + text.substr(begin, text.find(" on address", begin) - begin);
  const size_t verb = text.find("of size");
  if (verb != std::string::npos) {
    const size_t line = text.rfind('\n', verb) + 1;
    summary += ", " + text.substr(line, text.find(" at ", verb) - line);
  }
  for (int frame = 0; frame < 3; ++frame) {
    const std::string head = "    #" + std::to_string(frame) + " ";
    const size_t at = text.find(head);
    if (at == std::string::npos) break;
    std::string one = text.substr(at, text.find('\n', at) - at);
    const size_t in = one.find(" in ");
    summary += "\n   " + (in == std::string::npos ? one : one.substr(in));
  }
  note("asan", summary);
}

uintptr_t load_bias() {
  static const uintptr_t bias = [] {
    uintptr_t value = 0;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* out) {
          *static_cast<uintptr_t*>(out) = info->dlpi_addr;
          return 1;  // the first is the program itself
        },
        &value);
    return value;
  }();
  return bias;
}

struct Frame {
  std::string function, line;
};
// The source line of an address and the lines it was inlined into, innermost first.
const std::vector<Frame>& frames_of(const void* code) {
  static auto* known = new std::map<const void*, std::vector<Frame>>;
  auto [it, fresh] = known->try_emplace(code);
  if (!fresh) return it->second;
  char command[256];
  std::snprintf(command, sizeof command, "addr2line -f -C -i -e /proc/%d/exe 0x%zx 2>/dev/null",
                int(getpid()), size_t(reinterpret_cast<uintptr_t>(code) - load_bias()));
  if (FILE* pipe = popen(command, "r")) {
    char function[4096], line[4096];
    while (std::fgets(function, sizeof function, pipe) && std::fgets(line, sizeof line, pipe)) {
      function[std::strcspn(function, "\n")] = 0;
      line[std::strcspn(line, "\n ")] = 0;
      it->second.push_back({function, line});
    }
    pclose(pipe);
  }
  return it->second;
}

std::string file_part(const std::string& line) { return line.substr(0, line.rfind(':')); }

// The wrappers of gpu.h and the standard library are not where the mistake is.
bool is_wrapper(const std::string& file) {
  return file.find("gpu_on_cpu/gpu_host.h") != std::string::npos ||
         file.find("/usr/") != std::string::npos || file[0] == '?';
}

struct SiteTable {
  std::set<std::string> seen;
  std::string path;
  SiteTable() {
    if (const char* p = std::getenv("UNROLL_GPU_SITES")) path = p;
  }
  ~SiteTable() {
    if (path.empty()) return;
    std::ofstream out(path, std::ios::app);
    for (const std::string& s : seen) out << s << "\n";
  }
};

}  // namespace

const char* name_of(Order order) {
  static const char* const kNames[] = {"ascend", "descend", "randwarp", "random", "lockstep"};
  return kNames[int(order)];
}

Options& options() {
  static Options* made = [] {
    auto* o = new Options;
    if (const char* order = std::getenv("UNROLL_GPU_ORDER"); order && *order) {
      bool known = false;
      for (Order candidate : kOrders)
        if (std::strcmp(order, name_of(candidate)) == 0) {
          o->order = candidate;
          known = true;
        }
      if (!known) {
        std::fprintf(
            stderr, "UNROLL_GPU_ORDER is '%s'; use ascend, descend, randwarp, random or lockstep\n",
            order);
        _exit(2);
      }
    }
    if (const char* seed = std::getenv("UNROLL_GPU_SEED"); seed && *seed)
      o->seed = std::strtoull(seed, nullptr, 10);
    if (const char* mutate = std::getenv("UNROLL_GPU_MUTATE")) o->mutate = mutate;
    return o;
  }();
  return *made;
}

bool asan_build() { return __asan_poison_memory_region != nullptr; }

void fail(const std::string& kind, const std::string& text) {
  if (!current) throw Finding(kind, text);
  run->fatal = std::make_unique<Finding>(kind, text);
  Fiber* mine = current->fiber;
  current = nullptr;
  switch_fiber(*mine, run->main, /*from_ends=*/false);
  std::abort();  // never resumed
}

void note(const std::string& kind, const std::string& text) {
  for (const Finding& f : notes())
    if (text == f.what()) return;
  if (notes().size() < kMaxNotes) notes().emplace_back(kind, text);
}

std::unique_ptr<Finding> take_noted() {
  note_sanitizer_report();
  if (notes().empty()) return nullptr;
  std::string text;
  for (const Finding& f : notes()) text += (text.empty() ? "" : "\n") + std::string(f.what());
  auto all = std::make_unique<Finding>(notes().front().kind(), text);
  notes().clear();
  return all;
}

std::string text_of(Site site) { return std::string(site.file) + ":" + std::to_string(site.line); }

std::string text_of(dim3 d) {
  if (d.y <= 1 && d.z <= 1 && !(d.y == 1 && d.x == 0)) return std::to_string(d.x);
  return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")";
}

std::string text_of(const Thread& t) {
  return "block " + std::to_string(t.block->number) + " thread " + std::to_string(t.number);
}

std::string line_of_address(const void* code) {
  std::string text;
  for (const Frame& f : frames_of(code)) {
    if (is_wrapper(file_part(f.line))) continue;
    text += (text.empty() ? "" : " inlined at ") + f.line;
  }
  if (!text.empty()) return text;
  return frames_of(code).empty() ? "an unknown line" : frames_of(code).front().line;
}

std::string function_of_address(const void* code) {
  const auto& frames = frames_of(code);
  return frames.empty() ? "a kernel" : frames.back().function;
}

bool site_is_off(const char* kind, Site site) {
  static auto* table = new SiteTable;
  static bool keeps = [] {
    if (table->path.empty()) return false;
    std::atexit([] { delete table; });
    return true;
  }();
  if (keeps) table->seen.insert(std::string(kind) + " " + text_of(site));
  const std::string& target = options().mutate;
  if (target.empty()) return false;
  const std::string here = text_of(site);
  return here.size() >= target.size() &&
         here.compare(here.size() - target.size(), target.size(), target) == 0 &&
         (here.size() == target.size() || here[here.size() - target.size() - 1] == '/');
}

void install_sanitizer_callbacks() {
  static const bool done = [] {
    if (__asan_set_error_report_callback) __asan_set_error_report_callback(keep_sanitizer_report);
    return true;
  }();
  (void)done;
}

}  // namespace unroll::gpu_on_cpu

// AddressSanitizer goes on after a report, so that it becomes a finding with the others.
extern "C" const char* __asan_default_options() {
  return "halt_on_error=0:detect_stack_use_after_return=0:detect_leaks=0";
}

// Called by UndefinedBehaviorSanitizer after each report.
extern "C" void __ubsan_on_report() {
  using namespace unroll::gpu_on_cpu;
  const char *kind = "", *message = "", *file = "";
  unsigned line = 0, column = 0;
  char* address = nullptr;
  if (__ubsan_get_current_report_data)
    __ubsan_get_current_report_data(&kind, &message, &file, &line, &column, &address);
  if (!in_kernel()) _exit(99);
  note("ubsan",
       std::string("ubsan: ") + kind + " at " + file + ":" + std::to_string(line) + ": " + message);
}
