/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_IMAGE_H
#define SHIMPORT_IMAGE_H

/*
 * The image: the format, and the reader both sides use.
 *
 * An image stands for one root, one interpreter tag and one generation. It is a header, tables of fixed
 * records, and bytes; proto/FORMAT.md has the picture. Everything is little-endian, every offset counts
 * from the start of the image, nothing points.
 *
 * The reader borrows the mapped bytes and never changes them. image_open() checks the header and that each
 * table lies within the image, in constant time; each record is checked again when it is used, so an image
 * that lies about its records gives "not found" or -EBADMSG, never a read outside. It allocates nothing and
 * makes no system call. Any thread may read.
 */

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER != __LITTLE_ENDIAN
#error "images are little-endian and so must the machine be"
#endif

#define IMAGE_MAGIC "SHIMPORT"
#define IMAGE_VERSION 6u
#define IMAGE_NONE UINT32_MAX /* no directory, no entry */

/* Bytes of the image's string area. */
typedef struct ImageString {
        uint32_t offset; /* from the start of the string area */
        uint32_t length; /* bytes; a NUL that is not counted follows */
} ImageString;

typedef struct ImageTable {
        uint64_t offset; /* from the start of the image, a multiple of 16 */
        uint64_t size;   /* bytes */
} ImageTable;

typedef struct ImageHeader {
        uint8_t magic[8];
        uint32_t version;
        uint32_t header_size;
        uint64_t total_size;
        uint64_t generation;
        uint64_t root_dev;
        uint64_t root_ino;
        uint64_t hash_seed;
        uint32_t directory_count;
        uint32_t entry_count;
        uint32_t bucket_count; /* a power of two above entry_count */
        uint32_t module_count; /* entries with code */
        uint32_t text_count;   /* distinct strings of all frozen blocks */
        uint32_t left_out_count;
        ImageString tag;
        ImageString root_path;
        ImageTable directories; /* ImageDirectory[directory_count]; the first is the root itself */
        ImageTable entries;     /* ImageEntry[entry_count], those of a directory in a row */
        ImageTable buckets;     /* uint32_t[bucket_count]: entry number + 1, 0 is empty; linear probing */
        ImageTable strings;
        ImageTable texts;           /* the strings of frozen blocks, see thaw */
        ImageTable code;            /* marshalled code, for entries without a frozen block */
        ImageTable frozen;          /* frozen blocks, each a multiple of 16 */
        ImageTable patterns;        /* ImagePattern[pattern_count] */
        ImageTable pattern_buckets; /* uint32_t[pattern_bucket_count]: pattern number + 1, as `buckets` */
        ImageTable pattern_data;    /* texts, programs and names of the patterns */
        ImageTable distributions;   /* ImageDistribution[distribution_count], in stock's order */
        ImageTable points;          /* ImagePoint[point_count] */
        ImageTable files;           /* the texts of metadata files */
        uint64_t pattern_compiler;  /* which sources of `re` made the programs; 0: there are none */
        uint32_t pattern_count;
        uint32_t pattern_bucket_count; /* a power of two above pattern_count */
        uint32_t distribution_count;
        uint32_t point_count;
        uint32_t flags; /* IMAGE_* */
        uint32_t reserved;
} ImageHeader;

/* The `re` below this root is the one that `pattern_compiler` stands for. */
#define IMAGE_HAS_COMPILER 1u
/* The distributions are all that importlib.metadata finds in the root; otherwise stock must look. */
#define IMAGE_HAS_DISTRIBUTIONS 2u

typedef struct ImageDirectory {
        ImageString path;     /* relative to the root, "" for the root itself */
        uint32_t first_entry; /* its entries, sorted by name */
        uint32_t entry_count;
        uint32_t flags; /* IMAGE_DIRECTORY_* */
        uint32_t dev;   /* see image_dev() */
        uint64_t mtime; /* as it was listed, nanoseconds since the epoch, for validation by stat */
        uint64_t ino;
} ImageDirectory;

/* The entries are all that a finder could find there: a name that is not among them does not exist. */
#define IMAGE_DIRECTORY_COMPLETE 1u
/* Names come and go unseen by the watch: a finder compares mtime and inode first. */
#define IMAGE_DIRECTORY_VALIDATE 2u
/* What a distribution says of itself, "json-1.0.dist-info": its entries are files by their whole names, no modules. */
#define IMAGE_DIRECTORY_METADATA 4u

typedef enum ImageKind {
        IMAGE_KIND_STOCK = 0, /* the stock finder must answer for this name; `reason` says why */
        IMAGE_KIND_SOURCE = 1,
        IMAGE_KIND_SOURCELESS = 2,
        IMAGE_KIND_EXTENSION = 3,
        IMAGE_KIND_NAMESPACE = 4, /* a directory without __init__ */
        IMAGE_KIND_METADATA = 5,  /* a metadata directory, which `child` is */
        IMAGE_KIND_FILE = 6,      /* something in one; or an "egg-info" that is a file, in the root */
        _IMAGE_KIND_N
} ImageKind;

#define IMAGE_ENTRY_PACKAGE 1u /* the file is NAME/__init__SUFFIX, and NAME is the package's directory */
/* The file changes unseen by the watch: whoever uses it compares size, mtime and inode first. */
#define IMAGE_ENTRY_VALIDATE 2u
/* A source that had no valid pyc: stock would write one. */
#define IMAGE_ENTRY_UNCACHED 4u
/* A file whose text is in `files`. */
#define IMAGE_ENTRY_TEXT 8u

typedef struct ImageEntry {
        ImageString name;   /* what is imported: the last part of the module's name; or a file's whole name */
        ImageString file;   /* relative to the directory: "abc.py", "json/__init__.py" */
        ImageString cached; /* likewise, what spec.cached says: "__pycache__/abc.cpython-311.pyc", or "" */
        ImageString reason; /* why there is no code, for a person, or "" */
        uint32_t directory; /* where it stands */
        uint32_t child;     /* a package's own directory, or IMAGE_NONE where it is not part of the image */
        uint8_t kind;       /* ImageKind */
        uint8_t flags;      /* IMAGE_ENTRY_* */
        uint8_t reserved[2];
        uint32_t file_dev;      /* see image_dev() */
        uint64_t code_offset;   /* from the start of `code`, or of `files` */
        uint64_t code_size;     /* 0: none */
        uint64_t frozen_offset; /* from the start of `frozen` */
        uint64_t frozen_size;   /* 0: none */
        uint64_t file_size;     /* of the file as it was read, for validation by stat */
        uint64_t file_mtime;    /* nanoseconds since the epoch */
        uint64_t file_ino;
} ImageEntry;

/*
 * What re.compile() makes of a text and flags: the arguments of _sre.compile(). The text is as it lies in memory: bytes,
 * or a str's characters of 1, 2 or 4 bytes, in the least width that holds them all.
 */
typedef struct ImagePattern {
        uint64_t text_offset; /* from the start of `pattern_data`, a multiple of 4, like the two below */
        uint64_t code_offset; /* uint32_t[code_count] */
        uint64_t names_offset;
        uint32_t text_size; /* bytes */
        uint32_t code_count;
        uint32_t
                names_size; /* of each named group: its number, the length of its name, the name as UTF-8, 4-aligned */
        uint32_t names_count;
        uint32_t flags_asked; /* of re.compile() */
        uint32_t flags;       /* of the program */
        uint32_t groups;
        uint32_t width;   /* of a character; 0: the pattern is bytes */
        ImageString file; /* the module that the text is taken from, relative to the root */
} ImagePattern;

#define IMAGE_PATTERN_WIDTH_MAX 4u

/*
 * A snippet is a pattern as well: a text that exec(), eval() or compile() is given, by `flags_asked`. Its program is the
 * code, as marshal wrote it and zeros up to a multiple of 4; it has no names, and in `file` those of several modules with
 * newlines between. The lowest bits are those that compile() takes for future statements, from bit 17 on.
 */
#define IMAGE_PATTERN_SNIPPET 0x80000000u
#define IMAGE_PATTERN_EVAL 0x40000000u /* one expression, for eval() */

/* A named group as it lies in `pattern_data`; the name follows. */
typedef struct ImagePatternName {
        uint32_t group;
        uint32_t length;
} ImagePatternName;

/* A distribution that importlib.metadata finds in the root, in the order in which it does. */
typedef struct ImageDistribution {
        ImageString name;       /* "Django-3.2.dist-info" */
        ImageString key;        /* what it is looked up by, "django" */
        ImageString normalized; /* what PathDistribution._normalized_name is, or "": stock must say */
        uint32_t entry;         /* the name's in the root */
        uint32_t points_entry;  /* that of its entry_points.txt, or IMAGE_NONE */
        uint32_t first_point;
        uint32_t point_count;
        uint32_t flags; /* IMAGE_DISTRIBUTION_* */
        uint32_t reserved;
} ImageDistribution;

/* Its points are all that entry_points.txt holds; otherwise stock must parse it, if there is one. */
#define IMAGE_DISTRIBUTION_POINTS 1u

/* An entry point as importlib.metadata reads it, with the parts of its value where this version splits that at once:
 * "" is None. */
typedef struct ImagePoint {
        ImageString name, value, group;
        ImageString module, attr, extras;
} ImagePoint;

_Static_assert(sizeof(ImageString) == 8, "format");
_Static_assert(sizeof(ImageTable) == 16, "format");
_Static_assert(sizeof(ImagePattern) == 64, "format");
_Static_assert(sizeof(ImageHeader) == 336, "format");
_Static_assert(sizeof(ImageDirectory) == 40, "format");
_Static_assert(sizeof(ImageEntry) == 104, "format");
_Static_assert(sizeof(ImageDistribution) == 48, "format");
_Static_assert(sizeof(ImagePoint) == 48, "format");

/* An image that lies open: borrowed bytes and nothing else, so it may be copied. */
typedef struct Image {
        const uint8_t *base;
        size_t size;
        const ImageHeader *header;
} Image;

/* Why image_open() refuses. */
enum {
        _IMAGE_E_0,
        IMAGE_E_SHORT,   /* smaller than a header, or than the header says, or larger */
        IMAGE_E_MAGIC,   /* no image */
        IMAGE_E_VERSION, /* an image of another format */
        IMAGE_E_TABLE,   /* a table lies outside, or is not of the size its count asks for */
        _IMAGE_E_N
};

/**
 * image_open() - look at mapped bytes as an image
 * @base:       the bytes, 16-aligned; they must outlive the image
 * @size:       how many, from fstat(), never from a message
 * @ret_image:  the image
 *
 * Return: 0, or IMAGE_E_*.
 */
int image_open(const void *base, size_t size, Image *ret_image);

/* What IMAGE_E_* means, for a person. */
const char *image_strerror(int error);

/**
 * image_string() - the bytes of a string
 * @ret_length: may be NULL
 *
 * Return: the bytes, NUL-terminated, or NULL if the string lies outside.
 */
const char *image_string(const Image *image, ImageString string, size_t *ret_length);

/* The directory or entry of a number, or NULL if there is none. */
const ImageDirectory *image_directory(const Image *image, uint32_t number);
const ImageEntry *image_entry(const Image *image, uint32_t number);

/**
 * image_find() - look up a name in a directory
 *
 * Return: the entry's number, or IMAGE_NONE.
 */
uint32_t image_find(const Image *image, uint32_t directory, const char *name, size_t length);

/**
 * image_walk() - find the directory at a relative path
 * @path:   "json", "a/b"; "" is the root; no leading, trailing or double slash
 *
 * Goes through packages and to metadata directories only.
 *
 * Return: the directory's number, or IMAGE_NONE.
 */
uint32_t image_walk(const Image *image, const char *path, size_t length);

/* An entry's code as marshal wrote it, or its frozen block, or NULL if it has none or it lies outside. */
const uint8_t *image_code(const Image *image, const ImageEntry *entry, size_t *ret_size);
const uint8_t *image_frozen(const Image *image, const ImageEntry *entry, size_t *ret_size);

/* A pattern to look for: what was given to re.compile(). */
typedef struct ImagePatternKey {
        const void *text;
        size_t text_size;
        uint32_t width, flags;
} ImagePatternKey;

/* The pattern of a number, or NULL if there is none. */
const ImagePattern *image_pattern(const Image *image, uint32_t number);

/**
 * image_pattern_find() - look up a pattern
 * @hash:   image_pattern_hash() of the key: it is the same for all images
 *
 * Return: the pattern, or NULL.
 */
const ImagePattern *image_pattern_find(const Image *image, const ImagePatternKey *key, uint64_t hash);

/* Its text, its program, and the names of its groups, or NULL if they lie outside. */
const void *image_pattern_text(const Image *image, const ImagePattern *pattern);
const uint32_t *image_pattern_code(const Image *image, const ImagePattern *pattern);
const uint8_t *image_pattern_names(const Image *image, const ImagePattern *pattern);

/**
 * image_pattern_name() - the next name of a pattern's groups
 * @names:  from image_pattern_names()
 * @at:     where the next one lies; 0 is the first, and it is moved on
 *
 * Return: the name's bytes, not NUL-terminated, or NULL if there is none or it lies outside.
 */
const char *image_pattern_name(const ImagePattern *pattern, const uint8_t *names, size_t *at,
                               ImagePatternName *ret_name);

uint64_t image_pattern_hash(const ImagePatternKey *key);

/* A device number as records have it: Linux has no more bits than these. */
static inline uint32_t image_dev(uint64_t dev) {
        return (uint32_t)dev;
}

/* The text of a file, UTF-8; NULL: the image has none, or it lies outside. An empty text is no NULL. */
const char *image_text(const Image *image, const ImageEntry *entry, size_t *ret_size);

/* The distribution or entry point of a number, or NULL if there is none. */
const ImageDistribution *image_distribution(const Image *image, uint32_t number);
const ImagePoint *image_point(const Image *image, uint32_t number);

/* Does a file or directory of this name hold what a distribution says of itself? "X.dist-info" and "X.egg-info". */
bool image_name_is_metadata(const char *name, size_t length);

/* The hash of the bucket table: shared with the writer. */
uint64_t image_hash(uint64_t seed, uint32_t directory, const char *name, size_t length);

#endif
