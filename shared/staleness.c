/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "memfd.h"
#include "staleness.h"
#include "util.h"

#ifndef F_SEAL_FUTURE_WRITE /* Linux 5.1 */
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static size_t words(uint32_t count) {
        return ((size_t)count + 31) / 32;
}

/* Where the note begins. */
static size_t note_offset(uint32_t directory_count, uint32_t entry_count) {
        size_t size =
                sizeof(StalenessHeader) + (words(directory_count) + words(entry_count)) * sizeof(uint32_t);

        return (size + 7) / 8 * 8;
}

static Staleness staleness_at(void *base, size_t size, uint32_t directory_count, uint32_t entry_count) {
        _Atomic uint32_t *bits = (void *)((uint8_t *)base + sizeof(StalenessHeader));

        return (Staleness){
                .header = base,
                .size = size,
                .directories = bits,
                .entries = bits + words(directory_count),
                .note = (uint8_t *)base + note_offset(directory_count, entry_count),
        };
}

static int mutex_prepare(pthread_mutex_t *mutex) {
        pthread_mutexattr_t attributes;
        int r;

        r = pthread_mutexattr_init(&attributes);
        if (r)
                return -r;
        r = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        r = r ?: pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        r = r ?: pthread_mutex_init(mutex, &attributes);
        pthread_mutexattr_destroy(&attributes);
        return -r;
}

int staleness_new(uint64_t generation, uint32_t directory_count, uint32_t entry_count, uint32_t note_size,
                  int *ret_fd, Staleness *ret_staleness) {
        size_t size = note_offset(directory_count, entry_count) + note_size;
        _cleanup_(staleness_done) Staleness staleness = { 0 };
        _cleanup_close_ int fd = -1;
        void *base;
        int r;

        r = memfd_new("shimport-state", &fd);
        if (r >= 0)
                r = memfd_resize(fd, size);
        if (r >= 0)
                r = syscalls_mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, &base);
        if (r < 0)
                return r;
        staleness = staleness_at(base, size, directory_count, entry_count);
        memcpy(staleness.header->magic, STALENESS_MAGIC, sizeof(staleness.header->magic));
        staleness.header->version = STALENESS_VERSION;
        staleness.header->header_size = sizeof(StalenessHeader);
        staleness.header->total_size = size;
        staleness.header->generation = generation;
        staleness.header->directory_count = directory_count;
        staleness.header->entry_count = entry_count;
        staleness.header->note_size = note_size;
        r = mutex_prepare(&staleness.header->alive);
        if (r >= 0)
                r = syscalls_add_seals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
        if (r < 0)
                return r;
        *ret_fd = steal_fd(&fd);
        *ret_staleness = staleness;
        staleness = (Staleness){ 0 }; /* NOLINT(clang-analyzer-deadcode.DeadStores): for the cleanup */
        return 0;
}

int staleness_map(int fd, uint64_t generation, uint32_t directory_count, uint32_t entry_count,
                  Staleness *ret_staleness) {
        size_t least = note_offset(directory_count, entry_count), size;
        const StalenessHeader *header;
        struct stat st;
        void *base;
        int r;

        r = syscalls_get_seals(fd);
        if (r < 0)
                return r == -EINVAL ? STALENESS_E_OTHER : r;
        if ((r & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW)) /* it could fault one day */
                return STALENESS_E_OTHER;
        r = syscalls_fstat(fd, &st);
        if (r < 0)
                return r;
        if (st.st_size < 0 || (uint64_t)st.st_size < least ||
            (uint64_t)st.st_size > least + STALENESS_NOTE_MAX)
                return STALENESS_E_OTHER;
        size = (size_t)st.st_size;
        r = syscalls_mmap(size, PROT_READ, MAP_SHARED, fd, &base);
        if (r < 0)
                return r;
        header = base;
        if (memcmp(header->magic, STALENESS_MAGIC, sizeof(header->magic)) != 0 ||
            header->version != STALENESS_VERSION || header->header_size != sizeof(*header) ||
            header->generation != generation || header->directory_count != directory_count ||
            header->entry_count != entry_count || header->note_size != size - least) {
                munmap(base, size);
                return STALENESS_E_OTHER;
        }
        *ret_staleness = staleness_at(base, size, directory_count, entry_count);
        return 0;
}

void staleness_done(Staleness *staleness) {
        if (staleness->header)
                munmap(staleness->header, staleness->size);
        *staleness = (Staleness){ 0 };
}

int staleness_vouch(Staleness *staleness) {
        int r = pthread_mutex_trylock(&staleness->header->alive);

        if (r == EOWNERDEAD)
                r = pthread_mutex_consistent(&staleness->header->alive);
        return -r;
}

void staleness_disown(Staleness *staleness) {
        pthread_mutex_unlock(&staleness->header->alive);
}

void staleness_supersede(Staleness *staleness) {
        atomic_store_explicit(&staleness->header->superseded, 1, memory_order_release);
}

static void mark(Staleness *staleness, _Atomic uint32_t *bits, uint32_t number) {
        uint32_t bit = 1u << (number % 32);

        if (!(atomic_fetch_or_explicit(&bits[number / 32], bit, memory_order_release) & bit))
                atomic_fetch_add_explicit(&staleness->header->stale_count, 1, memory_order_relaxed);
}

void staleness_mark_directory(Staleness *staleness, uint32_t number) {
        if (number < staleness->header->directory_count)
                mark(staleness, staleness->directories, number);
}

void staleness_mark_entry(Staleness *staleness, uint32_t number) {
        if (number < staleness->header->entry_count)
                mark(staleness, staleness->entries, number);
}

void staleness_mark_all(Staleness *staleness) {
        for (uint32_t i = 0; i < staleness->header->directory_count; i++)
                mark(staleness, staleness->directories, i);
        for (uint32_t i = 0; i < staleness->header->entry_count; i++)
                mark(staleness, staleness->entries, i);
}

void staleness_copy(Staleness *to, const Staleness *from) {
        for (uint32_t i = 0; i < from->header->directory_count; i++)
                if (staleness_directory(from, i))
                        staleness_mark_directory(to, i);
        for (uint32_t i = 0; i < from->header->entry_count; i++)
                if (staleness_entry(from, i))
                        staleness_mark_entry(to, i);
}
