// ONNX Runtime with a provider that is not there: it says that it has CUDA, runs
// everything on the processor, and loses CUDA when it is told to.
//
// It loads the real library (REAL) and changes its table of functions in place.
// What goes wrong is said by files in the folder STATE:
//   gone      CUDA cannot be registered;
//   broken    a session on CUDA cannot be made;
//   shifted   outputs `y` of sessions on CUDA are 3 units in the last place off;
//   lose_at   so many runs of this process succeed; all further ones fail, and the first makes `gone`.

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef void *Status;
typedef const void *(*GetApi)(uint32_t);
typedef const char *(*GetVersion)(void);
typedef struct { GetApi api; GetVersion version; } Base;

static void **table;
static const Base *real;
static int on_cuda;
static long runs;
static int lost;
static void *cuda_sessions[64];
static int cuda_count;

static Status (*real_entry)(void *, const char *, const char *);
static Status (*real_ep_name)(const void *, const char **);
static Status (*real_options)(void **);
static Status (*real_session)(const void *, const void *, size_t, const void *, void **);
static Status (*real_run)(void *, const void *, const char *const *, const void *const *, size_t,
                          const char *const *, size_t, void **);

static int is_there(const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", STATE, name);
  return access(path, F_OK) == 0;
}

static Status failure(const char *message) {
  Status (*create)(int, const char *) = table[CREATE_STATUS];
  return create(1, message);
}

static Status options(void **out) {
  on_cuda = 0;
  return real_options(out);
}

static Status cuda_options(void **out) {
  *out = &table;
  return NULL;
}

static Status update(void *held, const char *const *keys, const char *const *values, size_t count) {
  (void)held, (void)keys, (void)values, (void)count;
  return NULL;
}

static void release(void *held) { (void)held; }

static Status append(void *held, const void *cuda) {
  (void)held, (void)cuda;
  if (is_there("gone")) return failure("CUDA failure 100: no CUDA-capable device is detected");
  on_cuda = 1;
  return NULL;
}

static Status entry(void *held, const char *key, const char *value) {
  // The processor does the work in truth.
  if (strcmp(key, "session.disable_cpu_ep_fallback") == 0) return NULL;
  return real_entry(held, key, value);
}

static Status session(const void *env, const void *bytes, size_t count, const void *held, void **out) {
  if (on_cuda && is_there("broken")) return failure("CUDA failure 2: out of memory");
  Status status = real_session(env, bytes, count, held, out);
  for (int i = 0; i < cuda_count; i++)
    if (!status && cuda_sessions[i] == *out) cuda_sessions[i] = NULL;
  if (!status && on_cuda && cuda_count < 64) cuda_sessions[cuda_count++] = *out;
  return status;
}

static Status ep_name(const void *subgraph, const char **out) {
  Status status = real_ep_name(subgraph, out);
  if (on_cuda) *out = "CUDAExecutionProvider";
  return status;
}

static void shift(void *tensor) {
  void *data = NULL, *info = NULL;
  size_t count = 0;
  ((Status(*)(void *, void **))table[TENSOR_DATA])(tensor, &data);
  ((Status(*)(void *, void **))table[TENSOR_INFO])(tensor, &info);
  ((Status(*)(void *, size_t *))table[ELEMENTS])(info, &count);
  ((void (*)(void *))table[RELEASE_INFO])(info);
  // The proof of a provider has six; what a fleet's model gives comes in rows of 16, all of them f32.
  for (size_t i = 0; count % 16 == 0 && i < count; i++) ((uint32_t *)data)[i] += 3;
}

static Status run(void *held, const void *run_options, const char *const *input_names,
                  const void *const *inputs, size_t input_count, const char *const *output_names,
                  size_t output_count, void **outputs) {
  char path[4096];
  snprintf(path, sizeof path, "%s/lose_at", STATE);
  FILE *file = lost || is_there("gone") ? NULL : fopen(path, "r");
  if (file) {
    long most = 0;
    int read = fscanf(file, "%ld", &most);
    fclose(file);
    if (read == 1 && runs++ >= most) {
      snprintf(path, sizeof path, "%s/gone", STATE);
      fclose(fopen(path, "w"));
      lost = 1;
    }
  }
  if (lost) return failure("CUDA failure 999: unknown error");
  Status status = real_run(held, run_options, input_names, inputs, input_count, output_names,
                           output_count, outputs);
  int is_on_cuda = 0;
  for (int i = 0; i < cuda_count; i++) is_on_cuda |= cuda_sessions[i] == held;
  if (!status && is_on_cuda && is_there("shifted") && strcmp(output_names[0], "y") == 0)
    shift(outputs[0]);
  return status;
}

static void change(int place, void *ours, void **before) {
  void **slot = &table[place];
  uintptr_t page = (uintptr_t)slot & ~(uintptr_t)4095;
  if (before) *before = *slot;
  if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE) != 0) abort();
  *slot = ours;
}

static const void *api(uint32_t version) {
  if (table) return table;
  table = (void **)real->api(version);
  if (!table) return NULL;
  change(CREATE_SESSION_OPTIONS, options, (void **)&real_options);
  change(CREATE_CUDA, cuda_options, NULL);
  change(UPDATE_CUDA, update, NULL);
  change(RELEASE_CUDA, release, NULL);
  change(APPEND_CUDA, append, NULL);
  change(ADD_ENTRY, entry, (void **)&real_entry);
  change(CREATE_SESSION, session, (void **)&real_session);
  change(EP_NAME, ep_name, (void **)&real_ep_name);
  change(RUN, run, (void **)&real_run);
  return table;
}

static const char *version(void) { return real->version(); }

static const Base base = {api, version};

const Base *OrtGetApiBase(void) {
  if (!real) {
    void *library = dlopen(REAL, RTLD_NOW | RTLD_LOCAL);
    if (!library) abort();
    const Base *(*of_library)(void) = dlsym(library, "OrtGetApiBase");
    real = of_library();
  }
  return &base;
}
