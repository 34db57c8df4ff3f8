/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_IMAGE_WRITER_H
#define SHIMPORT_IMAGE_WRITER_H

/*
 * The writer of images: collects directories and entries in memory, then writes them into a memfd and seals
 * it. A builder uses it, and the tests do. One thread. What is added is copied.
 *
 * Directories are numbered in the order added, the root first. The entries of a directory may be added in any
 * order; they are sorted when the image is written.
 */

#include "image.h"

typedef struct ImageWriter ImageWriter;

/* A new entry as the writer takes it: NULL strings are empty strings. */
typedef struct ImageWriterEntry {
        uint32_t directory;
        uint32_t child; /* IMAGE_NONE, or set later by image_writer_adopt() */
        ImageKind kind;
        unsigned flags;
        const char *name, *file, *cached, *reason;
        const void *code; /* marshalled; or a file's text */
        size_t code_size;
        const void *frozen;
        size_t frozen_size;
        uint64_t file_size, file_mtime, file_ino, file_dev;
} ImageWriterEntry;

/* Return: 0 or -ENOMEM. */
int image_writer_new(ImageWriter **ret_writer);
ImageWriter *image_writer_free(ImageWriter *writer);

static inline void image_writer_freep(ImageWriter **writer) {
        image_writer_free(*writer);
}

/**
 * image_writer_add_directory() - add a directory
 * @path:       relative to the root, "" for the root, which comes first
 * @flags:      IMAGE_DIRECTORY_*
 *
 * Return: 0, -EINVAL, -EFBIG (a table would overflow) or -ENOMEM.
 */
int image_writer_add_directory(ImageWriter *writer, const char *path, unsigned flags, uint32_t *ret_number);

/* What a directory, which must exist, looked like when it was listed. */
void image_writer_stat_directory(ImageWriter *writer, uint32_t number, uint64_t mtime, uint64_t ino,
                                 uint64_t dev);

/* Return: as above; -EINVAL if the directory does not exist. */
int image_writer_add_entry(ImageWriter *writer, const ImageWriterEntry *entry);

/**
 * image_writer_take_index() - begin with the directories, entries and distributions of another image, without any code
 *
 * The writer must be empty; numbers stay as they are.
 *
 * Return: 0, -EBADMSG (the image lies about its records), -EFBIG or -ENOMEM.
 */
int image_writer_take_index(ImageWriter *writer, const Image *image);

/* Give an entry of a taken index what it has no code for, or its code: the reason, code, frozen block and whether it has
 * no pyc (IMAGE_ENTRY_UNCACHED among the flags) of `entry`. Return: as image_writer_add_entry(). */
int image_writer_set_code(ImageWriter *writer, uint32_t number, const ImageWriterEntry *entry);

/* A distribution as the writer takes it; NULL strings are empty strings. */
typedef struct ImageWriterDistribution {
        const char *name, *key, *normalized;
        bool has_points;
} ImageWriterDistribution;

typedef struct ImageWriterPoint {
        const char *name, *value, *group;
        const char *module, *attr, *extras;
} ImageWriterPoint;

/**
 * image_writer_add_distribution() - add a distribution, in the order in which they are found
 *
 * Its name is that of an entry of the root, which may be added later.
 *
 * Return: 0, -EINVAL, -EFBIG or -ENOMEM.
 */
int image_writer_add_distribution(ImageWriter *writer, const ImageWriterDistribution *distribution);

/* Add an entry point of the distribution that was added last. Return: likewise. */
int image_writer_add_point(ImageWriter *writer, const ImageWriterPoint *point);

/* The distributions added are all of the root's. */
void image_writer_has_distributions(ImageWriter *writer);

/* Set the table of strings that the frozen blocks share. Return: 0 or -ENOMEM. */
int image_writer_set_texts(ImageWriter *writer, const void *texts, size_t size, uint32_t count);

/* A pattern and its program, as the writer takes them. */
typedef struct ImageWriterPattern {
        ImagePatternKey key;
        uint32_t flags, groups;
        const uint32_t *code;
        uint32_t code_count;
        const void *names; /* as they lie in the image */
        uint32_t names_size, names_count;
        const char *file;
} ImageWriterPattern;

/* Return: 0, -EEXIST if it was added before, -EINVAL, -EFBIG or -ENOMEM. */
int image_writer_add_pattern(ImageWriter *writer, const ImageWriterPattern *pattern);

/* Say which `re` the programs are made by, and whether that one lies below this root. */
void image_writer_set_compiler(ImageWriter *writer, uint64_t compiler, bool here);

typedef struct ImageIdentity {
        uint64_t generation;
        uint64_t root_dev, root_ino;
        uint64_t hash_seed;
        const char *root_path;
        const char *tag;
} ImageIdentity;

/**
 * image_writer_write() - write the image into an empty memfd and seal it
 * @fd:         borrowed
 *
 * Return: 0, or a negative errno of the memfd calls, -EEXIST for a name twice in one directory, -ENOMEM.
 */
int image_writer_write(ImageWriter *writer, const ImageIdentity *identity, int fd);

/**
 * image_writer_seal() - likewise, into a new memfd
 *
 * Return: 0, or a negative errno of the memfd calls, -EEXIST for a name twice in one directory, -ENOMEM.
 */
int image_writer_seal(ImageWriter *writer, const ImageIdentity *identity, int *ret_fd);

#endif
