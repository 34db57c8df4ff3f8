/* SPDX-License-Identifier: MIT */

#include <string.h>
#include <sys/mman.h>

#include "image_file.h"
#include "linger.h"
#include "memfd.h"
#include "util.h"

static int refused(const char *reason, const char **ret_reason) {
        *ret_reason = reason;
        return IMAGE_FILE_E_REFUSED;
}

bool image_file_string_is(const ImageFile *file, ImageString string, const void *bytes, size_t size) {
        size_t length;
        const char *found = image_string(&file->image, string, &length);

        return found && length == size && memcmp(found, bytes, size) == 0;
}

int image_file_vouch(ImageFile *file, uint32_t note_size) {
        const ImageHeader *header = file->image.header;
        int r;

        r = staleness_new(header->generation, header->directory_count, header->entry_count, note_size,
                          &file->state_fd, &file->state);
        if (r < 0)
                return r;
        r = linger_open(file->state_fd);
        file->handed_fd = r < 0 ? -1 : r;
        return staleness_vouch(&file->state);
}

void image_file_populate(const ImageFile *file) {
        (void)madvise((void *)file->image.base, file->image.size, MADV_POPULATE_READ);
}

void image_file_leave(ImageFile *file) {
        if (file->state.header)
                staleness_disown(&file->state);
        staleness_done(&file->state);
        image_file_done(file);
}

bool image_file_is_mapped(ImageFile *file) {
        bool mapped = linger_probe_consume(steal_fd(&file->handed_fd), &file->handed_fd);

        if (!linger_has_readers(file->former_fd))
                file->former_fd = fd_close(file->former_fd);
        return mapped || file->former_fd >= 0;
}

void image_file_done(ImageFile *file) {
        if (file->state.header) {
                staleness_supersede(&file->state);
                staleness_disown(&file->state);
        }
        staleness_done(&file->state);
        fd_close(file->state_fd);
        fd_close(file->handed_fd);
        fd_close(file->former_fd);
        if (file->image.base)
                munmap((void *)file->image.base, file->image.size);
        fd_close(file->fd);
        *file = IMAGE_FILE_NONE;
}

int image_file_open_consume(int fd_, const ImageExpected *expected, ImageFile *ret_file,
                            const char **ret_reason) {
        _cleanup_(image_file_done)
                ImageFile file = { .fd = fd_, .state_fd = -1, .handed_fd = -1, .former_fd = -1 };
        MemfdInfo info;
        const void *base;
        int r;

        r = memfd_check(file.fd, sizeof(ImageHeader), &info);
        if (r == MEMFD_E_UNSEALED)
                return refused("the builder's image is not sealed", ret_reason);
        if (r == MEMFD_E_SIZE)
                return refused("the builder's image is of no possible size", ret_reason);
        if (r < 0)
                return r;
        if (!expected->any && info.owner != expected->owner)
                return refused("the builder's image belongs to another user", ret_reason);
        r = memfd_map(file.fd, info.size, &base);
        if (r < 0)
                return r;
        file.owner = info.owner;
        file.image = (Image){ .base = base, .size = info.size };
        r = image_open(base, info.size, &file.image);
        if (r)
                return refused(image_strerror(r), ret_reason);
        if (expected->any) {
                *ret_file = file;
                file = IMAGE_FILE_NONE;
                return 0;
        }
        if (file.image.header->root_dev != expected->dev || file.image.header->root_ino != expected->ino)
                return refused("the builder's image is of another directory", ret_reason);
        if (!image_file_string_is(&file, file.image.header->tag, expected->tag, expected->tag_size))
                return refused("the executable is another interpreter than the one that asked", ret_reason);
        *ret_file = file;
        file = IMAGE_FILE_NONE;
        return 0;
}
