/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_BLOCK_H
#define SHIMPORT_BLOCK_H

/*
 * The frozen block and the table of texts: the format that freeze writes and thaw reads.
 *
 * A block is one module's code. It is a list of instructions for building objects rather than a picture of
 * them: thaw writes every header, count and pointer itself, from values it has checked, so a damaged block
 * can give wrong content but never a pointer that leads outside. Everything is a 32-bit little-endian word:
 *
 *      +-------------+------------------+------------------------------------------+
 *      | BlockHeader | external[count]  | record, record, ..., the last is the code |
 *      +-------------+------------------+------------------------------------------+
 *
 * What the objects refer to stands in one table. Externals are what the process has or makes for itself:
 * texts, small integers, None and other singletons; external i is numbered -1 - i. The objects that the
 * records build follow, numbered 0, 1, 2, ... A record refers to externals and to objects before it, so the
 * table is complete wherever it is read, nothing is cyclic, and one unsigned comparison checks a reference.
 *
 * A record begins with a word that holds its kind in the low five bits and a count in the others. Bytes are
 * padded to whole words. Most objects stay as long as the process. Those of a module's own code and of class
 * bodies, which run once, are passing: ordinary objects that are freed when nothing refers to them.
 *
 *      BLOCK_TUPLE      count of items     references
 *      BLOCK_NAMES      count of items     references, all to strings
 *      BLOCK_BYTES      bytes              bytes
 *      BLOCK_ASCII      characters         bytes          strings not interned; those are texts
 *      BLOCK_LATIN1     characters         bytes
 *      BLOCK_UCS2       characters         halves of words
 *      BLOCK_UCS4       characters         words
 *      BLOCK_INT        digits * 2 + sign  a word for each digit, as the interpreter keeps them
 *      BLOCK_FLOAT      1                  two words
 *      BLOCK_COMPLEX    2                  four words
 *      BLOCK_FROZENSET  count of items     references, in the order in which marshal would add them
 *      BLOCK_SLICE      3                  references: start, stop, step
 *      BLOCK_CODE       code units         BlockCode, then the bytecode as a fresh code object holds it
 *
 * The texts are one table for the whole image, `count` records of BlockText and then their bytes.
 */

#include <stdint.h>

#define BLOCK_MAGIC 0x315a4653u /* "SFZ1" */

typedef enum BlockKind {
        BLOCK_TUPLE,
        BLOCK_NAMES,
        BLOCK_BYTES,
        BLOCK_ASCII,
        BLOCK_LATIN1,
        BLOCK_UCS2,
        BLOCK_UCS4,
        BLOCK_INT,
        BLOCK_FLOAT,
        BLOCK_COMPLEX,
        BLOCK_FROZENSET,
        BLOCK_SLICE,
        BLOCK_CODE,
        _BLOCK_KIND_N
} BlockKind;

#define BLOCK_KIND_BITS 5u /* BLOCK_PASSING with them */
#define BLOCK_COUNT_MAX (UINT32_MAX >> BLOCK_KIND_BITS)

#define BLOCK_PASSING 16u

typedef struct BlockHeader {
        uint32_t magic;
        uint32_t words;     /* of the whole block, this header with them */
        uint32_t externals; /* how many */
        uint32_t objects;   /* how many records */
        uint32_t memory;    /* what the objects that stay occupy, in units of BLOCK_UNIT bytes */
        uint32_t flags;     /* BLOCK_FILENAME_* */
        uint32_t reserved[2];
} BlockHeader;

#define BLOCK_UNIT 8u

/* The most that a record asks for: a string of one character, in two words. More is damage. */
#define BLOCK_UNITS_PER_WORD 5u

/* References are signed. */
#define BLOCK_WORDS_MAX (UINT32_MAX / 16)

/* A fresh code object has its file name interned: whether it has is a matter of the version. */
#define BLOCK_FILENAME_INTERNED 1u

/* An external: what it is in the upper four bits, a payload in the others. */
typedef enum BlockExternal {
        BLOCK_EXTERNAL_TEXT, /* payload: its number */
        BLOCK_EXTERNAL_INT,  /* payload: a value that fits, in two's complement */
        BLOCK_EXTERNAL_BYTE, /* payload: the one byte of a bytes object */
        BLOCK_EXTERNAL_EMPTY_BYTES,
        BLOCK_EXTERNAL_EMPTY_TUPLE,
        BLOCK_EXTERNAL_NONE,
        BLOCK_EXTERNAL_TRUE,
        BLOCK_EXTERNAL_FALSE,
        BLOCK_EXTERNAL_ELLIPSIS,
        BLOCK_EXTERNAL_STOP_ITERATION,
        _BLOCK_EXTERNAL_N
} BlockExternal;

#define BLOCK_PAYLOAD_BITS 28u
#define BLOCK_PAYLOAD_MAX ((1u << BLOCK_PAYLOAD_BITS) - 1)

typedef struct BlockCode {
        /* references */
        int32_t consts, names, exceptiontable, localsplusnames, localspluskinds, name, qualname, linetable;
        /* the fields of these names; all others follow from these */
        int32_t flags, argcount, posonlyargcount, kwonlyargcount, stacksize, firstlineno, firsttraceable;
} BlockCode;

typedef struct BlockText {
        uint32_t offset; /* from the start of the table, a multiple of 4 */
        uint32_t length; /* characters */
        uint8_t width;   /* bytes of a character: 1, 2, 4 */
        uint8_t flags;   /* BLOCK_TEXT_* */
        uint16_t reserved;
} BlockText;

#define BLOCK_TEXT_ASCII 1u
#define BLOCK_TEXT_INTERNED 2u
#define BLOCK_TEXT_NAME (BLOCK_TEXT_ASCII | BLOCK_TEXT_INTERNED) /* almost all of them */

_Static_assert(sizeof(BlockHeader) == 32, "format");
_Static_assert(sizeof(BlockCode) == 60, "format");
_Static_assert(sizeof(BlockText) == 12, "format");

/* The words that so many bytes take. */
static inline uint64_t block_words(uint64_t bytes) {
        return (bytes + 3) / 4;
}

#endif
