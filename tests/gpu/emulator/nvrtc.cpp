/* libnvrtc.so.12: compiles kernels with g++ for the emulated driver; the "PTX" names the file.
 *
 * What was compiled is kept in EMULATED_KERNELS (else beside this library) under a number made from source, header and
 * compiler. The header that all kernels share is compiled once. EMULATED_NVRTC is the version (12.0). For a test of the
 * tests, EMULATED_REPLACE=OLD=NEW replaces text in every kernel. */
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <functional>
#include <iostream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

enum Result { SUCCESS = 0, COMPILATION = 6 };
struct Program { std::string source, header, name, ptx, log; };

static const char *COMPILE = "g++ -std=c++17 " EMULATED_OPTIMISATION " -fPIC -fwrapv -fno-strict-aliasing -w -pipe";

static bool exists(const std::string &path) { return access(path.c_str(), R_OK) == 0; }
static std::string read(const std::string &path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}
static std::string key(const std::string &text) {
  uint64_t hash[] = {14695981039346656037u, 1099511628211u};
  for (unsigned char c : text)
    for (int i = 0; i < 2; i++) hash[i] = (hash[i] ^ (c + i)) * (1099511628211u + 2 * i);
  char name[33];
  snprintf(name, sizeof name, "%016lx%016lx", hash[0], hash[1]);
  return name;
}
static std::string here() {
  Dl_info info;
  dladdr((void *)here, &info);
  std::string path = info.dli_fname;
  return path.substr(0, path.rfind('/'));
}

/* Runs g++ to make `output`, which other processes may be making as well. */
static bool make(const std::string &options, const std::string &source, const std::string &output, std::string &log) {
  std::string part = output + "." + std::to_string(getpid()), in = part + ".cpp";
  std::ofstream(in) << source;
  std::string command = "env -u LD_PRELOAD " + std::string(COMPILE) + " " + options + " '" + in + "' -o '" + part + "' 2> '" + part + ".log'";
  bool well = system(command.c_str()) == 0 && rename(part.c_str(), output.c_str()) == 0;
  log = read(part + ".log");
  unlink((part + ".log").c_str());
  unlink(in.c_str());
  return well;
}

/* CUDA's words that C++ has no macro for: shared memory of a size that the launch names. */
static std::string in_cpp(const std::string &text) {
  static const std::regex dynamic("extern\\s+__shared__\\s+([\\w ]+?)\\s+(\\w+)\\s*\\[\\s*\\]\\s*;");
  return std::regex_replace(text, dynamic, "$1 *$2 = ($1 *)emulated_dynamic;");
}

static void replace(std::string &text, const std::string &from, const std::string &to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) text.replace(at, from.size(), to);
}

static Result compile(Program &program) {
  std::string mutation = getenv("EMULATED_REPLACE") ? getenv("EMULATED_REPLACE") : "";
  if (size_t at = mutation.find('='); at != std::string::npos)
    replace(program.source, mutation.substr(0, at), mutation.substr(at + 1));
  const char *named = getenv("EMULATED_KERNELS");
  std::string folder = named && *named ? named : here() + "/kernels";
  mkdir(folder.c_str(), 0755);
  std::string common = "#include \"" + here() + "/shim.h\"\n" + in_cpp(program.header);
  std::string header_key = key(COMPILE + read(here() + "/shim.h") + common);
  std::string header = folder + "/" + header_key + ".h", library = folder + "/" + key(header_key + program.source) + ".so";
  if (!exists(library)) {
    if (!exists(header + ".gch")) {
      std::string part = header + "." + std::to_string(getpid());
      std::ofstream(part) << "#pragma once\n" << common;
      rename(part.c_str(), header.c_str());
      if (!make("-x c++-header", "#include \"" + header + "\"\n", header + ".gch", program.log)) return COMPILATION;
    }
    std::string text = in_cpp(program.source), entries, shared = "#include \"" + program.name + "\"";
    replace(text, shared, "");
    static const std::regex kernel("(?:KERNEL|__global__)\\s+void\\s+(?:__launch_bounds__\\s*\\([^)]*\\)\\s*)?(\\w+)\\s*\\(");
    std::set<std::string> names;
    for (std::sregex_iterator i(text.begin(), text.end(), kernel), end; i != end; ++i) names.insert((*i)[1]);
    for (auto &name : names)
      entries += "emulated_kernel emulated_" + name + " = emulated_entry<" + name + ">::made();\n";
    if (text.find("__syncthreads") + 1 || text.find("local_barrier") + 1) entries += "int emulated_has_barriers;\n";
    text += "\nextern \"C\" {\n" + entries + "}\n";
    if (!make("-shared -x c++ -include '" + header + "'", text, library, program.log)) return COMPILATION;
  }
  program.ptx = "//emulated " + library + "\n";
  return SUCCESS;
}

extern "C" {
Result nvrtcVersion(int *major, int *minor) {
  const char *version = getenv("EMULATED_NVRTC");
  return sscanf(version ? version : "12.0", "%d.%d", major, minor) == 2 ? SUCCESS : COMPILATION;
}
static const std::array<int, 6> ARCHITECTURES = {50, 60, 70, 80, 86, 90};
Result nvrtcGetNumSupportedArchs(int *count) { return *count = ARCHITECTURES.size(), SUCCESS; }
Result nvrtcGetSupportedArchs(int *all) { return std::copy(ARCHITECTURES.begin(), ARCHITECTURES.end(), all), SUCCESS; }
const char *nvrtcGetErrorString(Result result) { return result ? "a kernel does not compile" : "success"; }

Result nvrtcCreateProgram(Program **program, const char *source, const char *, int count, const char *const *headers,
                          const char *const *names) {
  *program = new Program{source, count ? headers[0] : "", count ? names[0] : "", "", ""};
  return count <= 1 ? SUCCESS : COMPILATION;
}
Result nvrtcCompileProgram(Program *program, int, const char *const *) {
  Result result = compile(*program);
  if (result) std::cerr << "emulated CUDA: a kernel does not compile: " << program->log << std::endl;
  return result;
}
Result nvrtcDestroyProgram(Program **program) { return delete *program, *program = nullptr, SUCCESS; }
Result nvrtcGetProgramLogSize(Program *program, size_t *size) { return *size = program->log.size() + 1, SUCCESS; }
Result nvrtcGetProgramLog(Program *program, char *log) { return strcpy(log, program->log.c_str()), SUCCESS; }
Result nvrtcGetPTXSize(Program *program, size_t *size) { return *size = program->ptx.size() + 1, SUCCESS; }
Result nvrtcGetPTX(Program *program, char *ptx) { return strcpy(ptx, program->ptx.c_str()), SUCCESS; }
}
