/* A host that keeps a library to its word: every buffer of the call lies between pages that nobody
 * may touch. `glue.h` says which network it is. Reads three samples of every input and of every
 * output wanted from the file that its argument names; prints how many checks failed.
 */
#define _GNU_SOURCE
#include <fenv.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "glue.h"

#define BATCH 3
#define PORTS (INPUTS + OUTPUTS)
#define CHECK(what) ((what) ? (void)0 : (void)(failed++, printf("line %d: %s\n", __LINE__, #what)))

static const size_t sizes[PORTS] = SIZES, elements[PORTS] = ELEMENTS;
static const int modes[4] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
static unsigned char *given[PORTS];
static void *at[PORTS];
static int failed, stages;

typedef struct {
    void (*task)(void *, int);
    void *arg;
    int number;
    pthread_t thread;
} job;

static void *work(void *memory)
{
    job *own = memory;
    fesetround(modes[own->number % 4]);
    own->task(own->arg, own->number);
    return fegetround() == modes[own->number % 4] ? own : NULL;
}

/* The last task begins first, and every thread has another rounding mode. */
static void parallel_for(void *host, int n, void (*task)(void *, int), void *arg)
{
    job jobs[8];
    void *fine;
    int i;
    CHECK(host == &stages && n >= 1 && n <= 8);
    stages++;
    for (i = n - 1; i >= 0; i--) {
        jobs[i].task = task;
        jobs[i].arg = arg;
        jobs[i].number = i;
        CHECK(pthread_create(&jobs[i].thread, NULL, work, &jobs[i]) == 0);
    }
    for (i = 0; i < n; i++) {
        pthread_join(jobs[i].thread, &fine);
        CHECK(fine != NULL);
    }
}

/* `size` bytes; the page behind them, or the one before, is out of bounds. */
static unsigned char *guarded(size_t size, size_t align, int at_end)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page + page;
    unsigned char *memory =
        mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(memory + page, room, PROT_READ | PROT_WRITE);
    return memory + page + (at_end ? (room - size) / align * align : 0);
}

static void clear(void)
{
    int k;
    for (k = INPUTS; k < PORTS; k++) memset(at[k], 0xCD, BATCH * sizes[k]);
}

/* Whether `samples` of each output are the wanted ones, and nothing behind them was written. */
static int right(size_t samples)
{
    size_t i;
    int k;
    for (k = INPUTS; k < PORTS; k++) {
        if (memcmp(at[k], given[k], samples * sizes[k]) != 0) return 0;
        for (i = samples * sizes[k]; i < BATCH * sizes[k]; i++)
            if (((unsigned char *)at[k])[i] != 0xCD) return 0;
    }
    return 1;
}

static void refused(net_io *io, const net_opts *opts, net_status wanted)
{
    SET_PORTS(*io, at);
    CHECK(net_run_ex(io, opts) == wanted);
}

static void mistakes(net_io io, net_opts opts, unsigned char *room)
{
    int k;
    void *kept;
    opts.struct_bytes++, refused(&io, &opts, NET_E_ABI), opts.struct_bytes--;
    io.struct_bytes--, refused(&io, &opts, NET_E_ABI), io.struct_bytes++;
    opts.threads = 0, refused(&io, &opts, NET_E_ARG);
    opts.threads = -1, refused(&io, &opts, NET_E_ARG);
    opts.threads = 1025, refused(&io, &opts, NET_E_ARG), opts.threads = 1;
    io.batch = (size_t)-1, refused(&io, &opts, NET_E_ARG);
    io.batch = (size_t)1 << 31, refused(&io, &opts, NET_E_ARG), io.batch = BATCH;
    io.workspace_bytes--, refused(&io, &opts, NET_E_SIZE), io.workspace_bytes++;
    opts.threads = 2, refused(&io, &opts, NET_E_SIZE), opts.threads = 1;
    io.workspace = NULL, refused(&io, &opts, NET_E_ARG);
    io.workspace = room + NET_ALIGN / 2, refused(&io, &opts, NET_E_ALIGN), io.workspace = room;
    for (k = 0; k < PORTS; k++) {
        kept = at[k];
        at[k] = NULL, refused(&io, &opts, NET_E_ARG);
        at[k] = room, refused(&io, &opts, NET_E_ARG);
        at[k] = room + NET_WORKSPACE_BYTES - 4, refused(&io, &opts, NET_E_ARG);
        if (elements[k] > 1) at[k] = (char *)kept + 1, refused(&io, &opts, NET_E_ALIGN);
        at[k] = kept;
        if (k >= INPUTS) at[k] = at[PORTS - 1 - k + INPUTS], refused(&io, &opts, NET_E_ARG);
        at[k] = kept;
    }
    CHECK(net_run_ex(NULL, &opts) == NET_E_ARG);
    CHECK(right(0));
}

static void promises(int at_end)
{
    unsigned char *room = guarded(NET_WORKSPACE_BYTES, NET_ALIGN, at_end);
    net_io io = {sizeof io};
    net_opts opts = {sizeof opts};
    int k;
    for (k = 0; k < PORTS; k++) {
        at[k] = guarded(BATCH * sizes[k], elements[k], at_end);
        if (k < INPUTS) memcpy(at[k], given[k], BATCH * sizes[k]);
    }
    SET_PORTS(io, at);
    io.workspace = room;
    io.workspace_bytes = NET_WORKSPACE_BYTES;
    for (io.batch = 0; io.batch <= BATCH; io.batch++) {
        clear();
        CHECK(net_run_ex(&io, NULL) == NET_OK);
        CHECK(right(io.batch));
    }
    io.batch = BATCH;
    opts.host = &stages;
    for (k = 0; k < 8; k++) {
        fesetround(modes[k % 4]);
        opts.threads = k % 4 + 1;
        opts.parallel_for = k < 4 ? NULL : parallel_for;
        io.workspace_bytes = NET_WORKSPACE_BYTES_FOR(k < 4 ? 1 : opts.threads);
        io.workspace = guarded(io.workspace_bytes, NET_ALIGN, at_end);
        clear();
        CHECK(net_run_ex(&io, &opts) == NET_OK);
        CHECK(fegetround() == modes[k % 4]);
        fesetround(FE_TONEAREST);
        CHECK(right(BATCH));
    }
    clear();
    io.workspace = room;
    io.workspace_bytes = NET_WORKSPACE_BYTES;
    mistakes(io, opts, room);
}

int main(int argc, char **argv)
{
    FILE *file = fopen(argv[argc - 1], "rb");
    int k;
    for (k = 0; k < PORTS; k++) {
        given[k] = malloc(BATCH * sizes[k]);
        if (fread(given[k], 1, BATCH * sizes[k], file) != BATCH * sizes[k]) return 2;
    }
    promises(0);
    promises(1);
    CHECK(stages > 0);
    printf("%d failed\n", failed);
    return 0;
}
