/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "image_writer.h"
#include "memfd.h"
#include "util.h"

struct ImageWriter {
        Buffer directories, entries, strings, texts, patterns, pattern_data, distributions, points;
        Area code, frozen, files;
        uint32_t directory_count, entry_count, module_count, left_out_count, text_count, pattern_count;
        uint64_t pattern_compiler;
        bool has_compiler;
        ImageString reason; /* the last */
        uint32_t distribution_count, point_count;
        bool has_distributions;
};

static int writer_string(ImageWriter *writer, const char *string, ImageString *ret_string) {
        size_t length = string ? strlen(string) : 0;
        ImageString result = { .offset = writer->strings.size, .length = length };
        int r;

        if (!length) { /* the first byte of the area is the empty string */
                *ret_string = (ImageString){ 0 };
                return 0;
        }
        if (writer->strings.size + length + 1 > UINT32_MAX)
                return -EFBIG;
        r = buffer_append(&writer->strings, string, length + 1);
        if (r < 0)
                return r;
        *ret_string = result;
        return 0;
}

int image_writer_new(ImageWriter **ret_writer) {
        _cleanup_(image_writer_freep) ImageWriter *writer = calloc(1, sizeof(*writer));
        int r;

        if (!writer)
                return -ENOMEM;
        r = buffer_append(&writer->strings, "", 1);
        if (r < 0)
                return r;
        *ret_writer = steal_pointer(&writer);
        return 0;
}

ImageWriter *image_writer_free(ImageWriter *writer) {
        if (!writer)
                return NULL;
        free(writer->directories.data);
        free(writer->entries.data);
        free(writer->strings.data);
        free(writer->texts.data);
        area_done(&writer->code);
        area_done(&writer->frozen);
        free(writer->patterns.data);
        free(writer->pattern_data.data);
        area_done(&writer->files);
        free(writer->distributions.data);
        free(writer->points.data);
        free(writer);
        return NULL;
}

static ImageEntry *writer_entries(ImageWriter *writer) {
        return (ImageEntry *)writer->entries.data;
}

static const char *writer_text(const ImageWriter *writer, ImageString string) {
        return (const char *)writer->strings.data + string.offset;
}

int image_writer_add_directory(ImageWriter *writer, const char *path, unsigned flags, uint32_t *ret_number) {
        ImageDirectory directory = { .flags = flags };
        int r;

        if ((writer->directory_count == 0) != (*path == '\0') || *path == '/')
                return -EINVAL;
        if (writer->directory_count == UINT32_MAX - 1)
                return -EFBIG;
        r = writer_string(writer, path, &directory.path);
        if (r < 0)
                return r;
        r = buffer_append(&writer->directories, &directory, sizeof(directory));
        if (r < 0)
                return r;
        *ret_number = writer->directory_count++;
        return 0;
}

void image_writer_stat_directory(ImageWriter *writer, uint32_t number, uint64_t mtime, uint64_t ino,
                                 uint64_t dev) {
        ImageDirectory *directory = &((ImageDirectory *)writer->directories.data)[number];

        directory->mtime = mtime;
        directory->ino = ino;
        directory->dev = image_dev(dev);
}

/* Many entries in a row have the same. */
static int writer_reason(ImageWriter *writer, const char *reason, ImageString *ret_string) {
        size_t length = reason ? strlen(reason) : 0;
        int r;

        if (!length) {
                *ret_string = (ImageString){ 0 };
                return 0;
        }
        if (length != writer->reason.length ||
            memcmp(writer_text(writer, writer->reason), reason, length) != 0) {
                r = writer_string(writer, reason, &writer->reason);
                if (r < 0)
                        return r;
        }
        *ret_string = writer->reason;
        return 0;
}

/* Its code and its frozen block, or a file's text. */
static int writer_code(ImageWriter *writer, const ImageWriterEntry *entry, ImageEntry *record) {
        bool is_file = record->kind == IMAGE_KIND_FILE;
        int r;

        record->code_size = entry->code_size;
        record->frozen_size = entry->frozen_size;
        r = area_add(is_file ? &writer->files : &writer->code, entry->code, entry->code_size,
                     &record->code_offset);
        if (r >= 0)
                r = area_add(&writer->frozen, entry->frozen, entry->frozen_size, &record->frozen_offset);
        if (r >= 0)
                writer->module_count += !is_file && (entry->code_size || entry->frozen_size);
        return r;
}

int image_writer_add_entry(ImageWriter *writer, const ImageWriterEntry *entry) {
        ImageEntry record = {
                .directory = entry->directory,
                .child = entry->child,
                .kind = entry->kind,
                .flags = entry->flags,
                .file_size = entry->file_size,
                .file_mtime = entry->file_mtime,
                .file_ino = entry->file_ino,
                .file_dev = image_dev(entry->file_dev),
        };
        int r;

        if (entry->directory >= writer->directory_count || !entry->name || !*entry->name)
                return -EINVAL;
        if (writer->entry_count >= UINT32_MAX / 4)
                return -EFBIG;
        r = writer_string(writer, entry->name, &record.name);
        if (r >= 0)
                r = writer_string(writer, entry->file, &record.file);
        if (r >= 0)
                r = writer_string(writer, entry->cached, &record.cached);
        if (r >= 0)
                r = writer_reason(writer, entry->reason, &record.reason);
        if (r >= 0)
                r = writer_code(writer, entry, &record);
        if (r >= 0)
                r = buffer_append(&writer->entries, &record, sizeof(record));
        if (r < 0)
                return r;
        writer->entry_count++;
        writer->left_out_count += entry->kind == IMAGE_KIND_STOCK;
        return 0;
}

static int take_table(const Image *image, const ImageTable *table, Buffer *buffer) {
        buffer->size = 0;
        return buffer_append(buffer, image->base + table->offset, table->size);
}

/* Do the strings that the writer itself reads lie inside, and the numbers? */
static bool entry_is_sound(const Image *image, const ImageEntry *entry) {
        return image_string(image, entry->name, NULL) && entry->directory < image->header->directory_count;
}

int image_writer_take_index(ImageWriter *writer, const Image *image) {
        const ImageHeader *header = image->header;
        int r;

        if (header->entry_count >= UINT32_MAX / 4 || header->strings.size > UINT32_MAX)
                return -EFBIG;
        for (uint32_t i = 0; i < header->entry_count; i++)
                if (!entry_is_sound(image, image_entry(image, i)))
                        return -EBADMSG;
        for (uint32_t i = 0; i < header->distribution_count; i++)
                if (!image_string(image, image_distribution(image, i)->name, NULL))
                        return -EBADMSG;
        r = take_table(image, &header->directories, &writer->directories);
        if (r >= 0)
                r = take_table(image, &header->entries, &writer->entries);
        if (r >= 0)
                r = take_table(image, &header->strings, &writer->strings);
        if (r >= 0)
                r = take_table(image, &header->distributions, &writer->distributions);
        if (r >= 0)
                r = take_table(image, &header->points, &writer->points);
        if (r >= 0)
                r = take_table(image, &header->files, &writer->files.bytes);
        if (r < 0)
                return r;
        writer->directory_count = header->directory_count;
        writer->entry_count = header->entry_count;
        writer->left_out_count = header->left_out_count;
        writer->distribution_count = header->distribution_count;
        writer->point_count = header->point_count;
        writer->has_distributions = header->flags & IMAGE_HAS_DISTRIBUTIONS;
        for (uint32_t i = 0; i < header->directory_count; i++) /* counted again when they are arranged */
                ((ImageDirectory *)writer->directories.data)[i].entry_count = 0;
        for (uint32_t i = 0; i < header->entry_count; i++) {
                ImageEntry *entry = &writer_entries(writer)[i];

                if (entry->kind != IMAGE_KIND_FILE)
                        entry->code_offset = entry->code_size = entry->frozen_offset = entry->frozen_size = 0;
        }
        return 0;
}

int image_writer_set_code(ImageWriter *writer, uint32_t number, const ImageWriterEntry *entry) {
        ImageEntry record;
        int r;

        if (number >= writer->entry_count)
                return -EINVAL;
        record = writer_entries(writer)[number];
        record.flags =
                (uint8_t)((record.flags & ~IMAGE_ENTRY_UNCACHED) | (entry->flags & IMAGE_ENTRY_UNCACHED));
        r = writer_reason(writer, entry->reason, &record.reason);
        if (r >= 0)
                r = writer_code(writer, entry, &record);
        if (r >= 0)
                writer_entries(writer)[number] = record;
        return r;
}

int image_writer_add_distribution(ImageWriter *writer, const ImageWriterDistribution *distribution) {
        ImageDistribution record = {
                .points_entry = IMAGE_NONE,
                .first_point = writer->point_count,
                .flags = distribution->has_points ? IMAGE_DISTRIBUTION_POINTS : 0,
        };
        int r;

        if (!distribution->name || !*distribution->name)
                return -EINVAL;
        if (writer->distribution_count >= UINT32_MAX / 4)
                return -EFBIG;
        r = writer_string(writer, distribution->name, &record.name);
        if (r >= 0)
                r = writer_string(writer, distribution->key, &record.key);
        if (r >= 0)
                r = writer_string(writer, distribution->normalized, &record.normalized);
        if (r >= 0)
                r = buffer_append(&writer->distributions, &record, sizeof(record));
        if (r < 0)
                return r;
        writer->distribution_count++;
        return 0;
}

static ImageDistribution *writer_distributions(ImageWriter *writer) {
        return (ImageDistribution *)writer->distributions.data;
}

int image_writer_add_point(ImageWriter *writer, const ImageWriterPoint *point) {
        const char *const strings[] = { point->name,   point->value, point->group,
                                        point->module, point->attr,  point->extras };
        ImageString record[ELEMENTSOF(strings)];
        int r = 0;

        _Static_assert(sizeof(record) == sizeof(ImagePoint), "its strings are all that a point is");
        if (writer->distribution_count == 0)
                return -EINVAL;
        if (writer->point_count >= UINT32_MAX / 4)
                return -EFBIG;
        for (size_t i = 0; i < ELEMENTSOF(strings) && r >= 0; i++)
                r = writer_string(writer, strings[i], &record[i]);
        if (r >= 0)
                r = buffer_append(&writer->points, record, sizeof(record));
        if (r < 0)
                return r;
        writer->point_count++;
        writer_distributions(writer)[writer->distribution_count - 1].point_count++;
        return 0;
}

void image_writer_has_distributions(ImageWriter *writer) {
        writer->has_distributions = true;
}

int image_writer_set_texts(ImageWriter *writer, const void *texts, size_t size, uint32_t count) {
        writer->texts.size = 0;
        writer->text_count = count;
        return buffer_append(&writer->texts, texts, size);
}

static bool writer_has_pattern(const ImageWriter *writer, const ImagePatternKey *key) {
        const ImagePattern *patterns = (const ImagePattern *)writer->patterns.data;

        for (uint32_t i = 0; i < writer->pattern_count; i++)
                if (patterns[i].flags_asked == key->flags && patterns[i].width == key->width &&
                    patterns[i].text_size == key->text_size &&
                    memcmp(writer->pattern_data.data + patterns[i].text_offset, key->text, key->text_size) ==
                            0)
                        return true;
        return false;
}

/* Append to the patterns' data, 4-aligned. */
static int writer_pattern_data(ImageWriter *writer, const void *data, size_t size, uint64_t *ret_offset) {
        int r = buffer_pad(&writer->pattern_data, 4);

        *ret_offset = writer->pattern_data.size;
        return r < 0 ? r : buffer_append(&writer->pattern_data, data, size);
}

int image_writer_add_pattern(ImageWriter *writer, const ImageWriterPattern *pattern) {
        ImagePattern record = {
                .text_size = (uint32_t)pattern->key.text_size,
                .code_count = pattern->code_count,
                .names_size = pattern->names_size,
                .names_count = pattern->names_count,
                .flags_asked = pattern->key.flags,
                .flags = pattern->flags,
                .groups = pattern->groups,
                .width = pattern->key.width,
        };
        int r;

        if (pattern->key.width > IMAGE_PATTERN_WIDTH_MAX || pattern->key.text_size > UINT32_MAX ||
            writer->pattern_count >= UINT32_MAX / 4)
                return -EINVAL;
        if (writer_has_pattern(writer, &pattern->key))
                return -EEXIST;
        r = writer_string(writer, pattern->file, &record.file);
        if (r >= 0)
                r = writer_pattern_data(writer, pattern->key.text, pattern->key.text_size,
                                        &record.text_offset);
        if (r >= 0)
                r = writer_pattern_data(writer, pattern->code, pattern->code_count * sizeof(uint32_t),
                                        &record.code_offset);
        if (r >= 0)
                r = writer_pattern_data(writer, pattern->names, pattern->names_size, &record.names_offset);
        if (r >= 0)
                r = buffer_append(&writer->patterns, &record, sizeof(record));
        if (r < 0)
                return r;
        writer->pattern_count++;
        return 0;
}

void image_writer_set_compiler(ImageWriter *writer, uint64_t compiler, bool here) {
        writer->pattern_compiler = compiler;
        writer->has_compiler = here;
}

static int compare_entries(const void *a, const void *b, void *userdata) {
        const ImageEntry *x = a, *y = b;

        if (x->directory != y->directory)
                return x->directory < y->directory ? -1 : 1;
        return strcmp(writer_text(userdata, x->name), writer_text(userdata, y->name));
}

/* Sorts the entries and tells each directory which are its own, and each package's entry which directory. */
static int writer_arrange(ImageWriter *writer) {
        ImageEntry *entries = writer_entries(writer);
        ImageDirectory *directories = (ImageDirectory *)writer->directories.data;

        if (writer->entry_count)
                qsort_r(entries, writer->entry_count, sizeof(*entries), compare_entries, writer);
        for (uint32_t i = 0; i < writer->entry_count; i++) {
                ImageDirectory *directory = &directories[entries[i].directory];

                if (i > 0 && compare_entries(&entries[i - 1], &entries[i], writer) == 0)
                        return -EEXIST;
                if (directory->entry_count++ == 0)
                        directory->first_entry = i;
                if (entries[i].child != IMAGE_NONE && entries[i].child >= writer->directory_count)
                        return -EINVAL;
        }
        return 0;
}

/* The number of a name in a directory, of entries that are arranged. */
static uint32_t writer_find(ImageWriter *writer, uint32_t directory, const char *name) {
        const ImageDirectory *record = &((ImageDirectory *)writer->directories.data)[directory];
        uint32_t low = record->first_entry, high = low + record->entry_count;

        while (low < high) {
                uint32_t middle = low + (high - low) / 2;
                int r = strcmp(writer_text(writer, writer_entries(writer)[middle].name), name);

                if (r == 0)
                        return middle;
                if (r < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return IMAGE_NONE;
}

/* Tells each distribution which entries are its own. */
static int writer_distribute(ImageWriter *writer) {
        for (uint32_t i = 0; i < writer->distribution_count; i++) {
                ImageDistribution *distribution = &writer_distributions(writer)[i];
                uint32_t child;

                distribution->entry = writer_find(writer, 0, writer_text(writer, distribution->name));
                if (distribution->entry == IMAGE_NONE)
                        return -EINVAL;
                child = writer_entries(writer)[distribution->entry].child;
                if (child != IMAGE_NONE)
                        distribution->points_entry = writer_find(writer, child, "entry_points.txt");
        }
        return 0;
}

/* Makes a hash table of uint32_t, a power of two above twice as many: at least half of it stays empty. Return: 0 or -ENOMEM. */
static int buckets_new(Buffer *buckets, uint32_t least, uint32_t entries, uint32_t *ret_count) {
        uint32_t count = least;
        int r;

        while (count < entries * 2)
                count *= 2;
        r = buffer_reserve(buckets, count * sizeof(uint32_t));
        if (r < 0)
                return r;
        buckets->size = count * sizeof(uint32_t);
        memset(buckets->data, 0, buckets->size);
        *ret_count = count;
        return 0;
}

static void buckets_put(Buffer *buckets, uint32_t count, uint64_t hash, uint32_t number) {
        uint32_t *table = (uint32_t *)buckets->data, at = (uint32_t)hash & (count - 1);

        while (table[at])
                at = (at + 1) & (count - 1);
        table[at] = number + 1;
}

static int writer_buckets(ImageWriter *writer, uint64_t seed, Buffer *buckets, uint32_t *ret_count) {
        const ImageEntry *entries = writer_entries(writer);
        uint32_t count;
        int r;

        r = buckets_new(buckets, 16, writer->entry_count, &count);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < writer->entry_count; i++)
                buckets_put(buckets, count,
                            image_hash(seed, entries[i].directory, writer_text(writer, entries[i].name),
                                       entries[i].name.length),
                            i);
        *ret_count = count;
        return 0;
}

static int writer_pattern_buckets(const ImageWriter *writer, Buffer *buckets, uint32_t *ret_count) {
        const ImagePattern *patterns = (const ImagePattern *)writer->patterns.data;
        uint32_t count;
        int r;

        r = buckets_new(buckets, 4, writer->pattern_count, &count);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < writer->pattern_count; i++) {
                ImagePatternKey key = {
                        .text = writer->pattern_data.data + patterns[i].text_offset,
                        .text_size = patterns[i].text_size,
                        .width = patterns[i].width,
                        .flags = patterns[i].flags_asked,
                };

                buckets_put(buckets, count, image_pattern_hash(&key), i);
        }
        *ret_count = count;
        return 0;
}

int image_writer_write(ImageWriter *writer, const ImageIdentity *identity, int fd) {
        _cleanup_(buffer_done) Buffer buckets = { 0 }, pattern_buckets = { 0 };
        ImageHeader header = {
                .version = IMAGE_VERSION,
                .header_size = sizeof(header),
                .generation = identity->generation,
                .root_dev = identity->root_dev,
                .root_ino = identity->root_ino,
                .hash_seed = identity->hash_seed,
                .directory_count = writer->directory_count,
                .entry_count = writer->entry_count,
                .module_count = writer->module_count,
                .left_out_count = writer->left_out_count,
                .text_count = writer->text_count,
                .pattern_count = writer->pattern_count,
                .pattern_compiler = writer->pattern_compiler,
                .distribution_count = writer->distribution_count,
                .point_count = writer->point_count,
                .flags = (writer->has_compiler ? IMAGE_HAS_COMPILER : 0) |
                         (writer->has_distributions ? IMAGE_HAS_DISTRIBUTIONS : 0),
        };
        struct {
                ImageTable *table;
                Buffer *buffer;
        } parts[] = {
                { &header.directories, &writer->directories },
                { &header.entries, &writer->entries },
                { &header.buckets, &buckets },
                { &header.distributions, &writer->distributions },
                { &header.points, &writer->points },
                { &header.strings, &writer->strings },
                { &header.texts, &writer->texts },
                { &header.code, &writer->code.bytes },
                { &header.patterns, &writer->patterns },
                { &header.pattern_buckets, &pattern_buckets },
                { &header.pattern_data, &writer->pattern_data },
                { &header.frozen, &writer->frozen.bytes },
                { &header.files, &writer->files.bytes },
        };
        uint64_t offset = sizeof(header);
        int r;

        if (writer->directory_count == 0)
                return -EINVAL;
        memcpy(header.magic, IMAGE_MAGIC, sizeof(header.magic));
        r = writer_string(writer, identity->tag, &header.tag);
        if (r >= 0)
                r = writer_string(writer, identity->root_path, &header.root_path);
        if (r >= 0)
                r = writer_arrange(writer);
        if (r >= 0)
                r = writer_distribute(writer);
        if (r >= 0)
                r = writer_buckets(writer, identity->hash_seed, &buckets, &header.bucket_count);
        if (r >= 0)
                r = writer_pattern_buckets(writer, &pattern_buckets, &header.pattern_bucket_count);
        if (r < 0)
                return r;

        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                /* Frozen blocks and files begin on a page: whoever reads the one does not drag in the other. */
                bool apart = parts[i].table == &header.frozen || parts[i].table == &header.files;
                uint64_t align = apart ? 4096 : 16;

                offset = (offset + align - 1) / align * align;
                *parts[i].table = (ImageTable){ .offset = offset, .size = parts[i].buffer->size };
                offset += parts[i].buffer->size;
        }
        header.total_size = offset;

        r = memfd_resize(fd, header.total_size);
        if (r >= 0)
                r = memfd_write(fd, 0, &header, sizeof(header));
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(parts); i++)
                r = memfd_write(fd, parts[i].table->offset, parts[i].buffer->data, parts[i].buffer->size);
        return r < 0 ? r : memfd_seal(fd);
}

int image_writer_seal(ImageWriter *writer, const ImageIdentity *identity, int *ret_fd) {
        _cleanup_(fd_closep) int fd = -1;
        int r;

        r = memfd_new("shimport-image", &fd);
        if (r >= 0)
                r = image_writer_write(writer, identity, fd);
        if (r < 0)
                return r;
        *ret_fd = steal_fd(&fd);
        return 0;
}
